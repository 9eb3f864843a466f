"""Small deformations that keep what an image shows: two images are alike if one, slightly deformed, looks like the other."""

import math
from collections.abc import Iterator

from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

# (degrees, shift right, shift down in parts of the side, scale, shear); safe for digits, garments and most objects: no flips
DEFORMATIONS = (
    (0, 0, 0, 1, 0),
    (0, 1 / 28, 0, 1, 0),
    (0, -1 / 28, 0, 1, 0),
    (0, 0, 1 / 28, 1, 0),
    (0, 0, -1 / 28, 1, 0),
    (10, 0, 0, 1, 0),
    (-10, 0, 0, 1, 0),
    (0, 0, 0, 1.1, 0),
    (0, 0, 0, 0.9, 0),
    (0, 0, 0, 1, 0.2),
    (0, 0, 0, 1, -0.2),
)


def deformed(x: Tensor) -> Iterator[Tensor]:
    """Images `(B, C, S, S)` -> the same images under each deformation, the identity first."""
    for degrees, right, down, scale, shear in DEFORMATIONS:
        cos, sin = math.cos(math.radians(degrees)) * scale, math.sin(math.radians(degrees)) * scale
        matrix = x.new_tensor([[cos, shear - sin, 2 * right], [sin, cos, 2 * down]])
        grid = affine_grid(matrix.expand(len(x), 2, 3), list(x.shape), align_corners=False)
        yield (
            grid_sample(x, grid, align_corners=False) if (degrees, right, down, scale, shear) != (0, 0, 0, 1, 0) else x
        )
