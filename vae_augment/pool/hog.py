"""Histograms of oriented gradients (HOG): which edges an image has, and where, however bright it is.

Dalal & Triggs, "Histograms of Oriented Gradients for Human Detection" (CVPR 2005), in the square-root form of Arandjelović &
Zisserman, "Three things everyone should know to improve object retrieval" (CVPR 2012).
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, normalize, pad

BINS = 8  # directions of a gradient
CELLS_A_SIDE = 7  # about
SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


def hog(x: Tensor) -> Tensor:
    """HOG descriptors of images, float32 `(B, C, S, S)` -> unit vectors `(B, D)`, whose products are cosines; 0 if blank.

    D is 392 for 28x28 pixels. Colours are averaged.
    """
    side = x.shape[-1]
    sobel = x.new_tensor(SOBEL) / 8
    grey = pad(x.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    right, down = conv2d(grey, torch.stack([sobel, sobel.T])[:, None]).unbind(1)  # (B, S, S)
    magnitude = torch.hypot(right, down)
    right, down = right / magnitude.clamp_min(1e-12), down / magnitude.clamp_min(1e-12)
    angles = [2 * math.pi * i / BINS for i in range(BINS)]
    # a gradient's share in each bin: the cosine of the angle between them, to the fourth power
    bins = [
        (right * math.cos(a) + down * math.sin(a)).clamp_min_(0).square_().square_().mul_(magnitude) for a in angles
    ]
    cell = max(1, round(side / CELLS_A_SIDE))
    overlap = cell // 4
    cells = avg_pool2d(torch.stack(bins, 1), cell + 2 * overlap, cell, padding=overlap)
    return normalize(normalize(cells.flatten(1)).sqrt())
