"""Histograms of oriented gradients (HOG): which edges an image has, and where, however bright it is.

Dalal & Triggs, "Histograms of Oriented Gradients for Human Detection" (CVPR 2005), in the square-root form of Arandjelović &
Zisserman, "Three things everyone should know to improve object retrieval" (CVPR 2012).
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

BINS = 8  # directions of a gradient
CELLS_A_SIDE = 7  # about


def hog(x: Tensor) -> Tensor:
    """HOG descriptors of images, float32 `(B, C, S, S)` -> unit vectors `(B, D)`, whose products are cosines; 0 if blank.

    D is 392 for 28x28 pixels. Colours are averaged.
    """
    cell = max(1, round(x.shape[-1] / CELLS_A_SIDE))
    overlap = cell // 4
    right, down = _gradients(x)
    magnitude = torch.hypot(right, down)
    least = magnitude.clamp_min(1e-12)
    right.div_(least)
    down.div_(least)
    bins = torch.empty(BINS, *right.shape, dtype=torch.float32)
    for i, share in enumerate(bins):
        angle = 2 * math.pi * i / BINS
        # a gradient's share in each bin: the cosine of the angle between them, to the fourth power
        torch.add(right * math.cos(angle), down * math.sin(angle), out=share)
        share.clamp_min_(0).square_().square_().mul_(magnitude)
    cells = avg_pool2d(bins.permute(0, 3, 1, 2), cell + 2 * overlap, cell, padding=overlap)  # (BINS, B, c, c)
    return normalize(normalize(cells.transpose(0, 1).flatten(1).contiguous()).sqrt())


def _gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel's, to the right and down, of grey images: `(S, S, B)`, so that a step is over all images at once."""
    grey = x.mean(1).permute(1, 2, 0).contiguous()
    grey = torch.cat([grey[:1], grey, grey[-1:]])
    grey = torch.cat([grey[:, :1], grey, grey[:, -1:]], dim=1)
    a, b, c = grey[:-2], grey[1:-1], grey[2:]
    right = (a[:, 2:] - a[:, :-2]).sub_(b[:, :-2], alpha=2).add_(b[:, 2:], alpha=2).sub_(c[:, :-2]).add_(c[:, 2:])
    down = (
        (-a[:, :-2]).sub_(a[:, 1:-1], alpha=2).sub_(a[:, 2:]).add_(c[:, :-2]).add_(c[:, 1:-1], alpha=2).add_(c[:, 2:])
    )
    return right.div_(8), down.div_(8)
