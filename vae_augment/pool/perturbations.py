"""Small perturbations of an image that keep what it shows."""

import math
from collections.abc import Iterator

from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

# (degrees, shift right, shift down in parts of the side, scale, shear). No flips: digits and garments do not survive them
AFFINE = (
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


def perturbations(x: Tensor) -> Iterator[Tensor]:
    """Images `(B, C, S, S)` in [0, 1] -> the same images, then under each affine map, then each gamma."""
    yield x
    for degrees, right, down, scale, shear in AFFINE:
        cos, sin = math.cos(math.radians(degrees)) * scale, math.sin(math.radians(degrees)) * scale
        matrix = x.new_tensor([[cos, shear - sin, 2 * right], [sin, cos, 2 * down]])
        grid = affine_grid(matrix[None], [1, *x.shape[1:]], align_corners=False)  # the same for all
        yield grid_sample(x, grid.expand(len(x), -1, -1, -1), align_corners=False)
    for gamma in GAMMAS:
        yield x**gamma
