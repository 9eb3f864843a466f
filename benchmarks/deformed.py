"""Large pools of real images, deformed: what `benchmarks.scale` measures large banks on.

Each image is real, under an affine map of its own (up to 12 degrees, 6 % of the side, a tenth of the size, 8 degrees of shear), a
gamma of 0.8 to 1.25 and noise of four grey levels. Copy r of image i is drawn from a generator seeded with r.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

CHUNK = 1000
DEGREES, SHIFT, SCALE, SHEAR, GAMMA, NOISE = 12.0, 0.06, 0.1, 8.0, 1.25, 4.0


def deformed(images: Tensor, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """So many images, made of these `(N, C, S, S)`, uint8: parts of them, and the places of what they were made of.

    The first N are one of each, the next N another of each, and so on.
    """
    for start in range(0, count, len(images)):
        generator = torch.Generator().manual_seed(start // len(images))
        here = torch.arange(min(len(images), count - start))
        for places in here.split(CHUNK):
            yield _moved(images[places].float(), generator), places


def _moved(x: Tensor, generator: torch.Generator) -> Tensor:
    def drawn(most: float) -> Tensor:
        return (torch.rand(len(x), generator=generator) * 2 - 1) * most

    angle, shear = drawn(math.radians(DEGREES)), drawn(math.radians(SHEAR)).tan()
    scale, right, down = 1 + drawn(SCALE), drawn(2 * SHIFT), drawn(2 * SHIFT)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    matrix = torch.stack([torch.stack([cos, shear - sin, right], 1), torch.stack([sin, cos, down], 1)], 1)
    moved = grid_sample(
        x, affine_grid(matrix, list(x.shape), align_corners=False), padding_mode="border", align_corners=False
    )
    gamma = (drawn(1.0) * math.log(GAMMA)).exp()[:, None, None, None]
    lit = moved.clamp(0, 255).div(255).pow(gamma).mul(255)
    return (lit + NOISE * torch.randn(lit.shape, generator=generator)).round_().clamp_(0, 255).byte()
