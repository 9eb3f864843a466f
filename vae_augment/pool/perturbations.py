"""Small deformations that keep what an image shows: two images are alike if one, slightly deformed, looks like the other."""

import math
from collections.abc import Iterator

from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

# (degrees, shift right, shift down in parts of the side, scale, shear); safe for digits, garments and most objects: no flips
DEFORMATIONS = (
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
GAMMAS = (0.6, 0.8, 1.25, 1.6)  # darker and brighter cloth


def deformed(x: Tensor) -> Iterator[Tensor]:
    """Images `(B, C, S, S)` in [0, 1] -> the same images, then under each deformation, then each gamma."""
    yield x
    for degrees, right, down, scale, shear in DEFORMATIONS:
        cos, sin = math.cos(math.radians(degrees)) * scale, math.sin(math.radians(degrees)) * scale
        matrix = x.new_tensor([[cos, shear - sin, 2 * right], [sin, cos, 2 * down]])
        grid = affine_grid(matrix.expand(len(x), 2, 3), list(x.shape), align_corners=False)
        yield grid_sample(x, grid, align_corners=False)
    for gamma in GAMMAS:
        yield x**gamma
