"""Histograms of gradients: what an image's outlines and textures look like, however bright they are.

Dalal & Triggs, "Histograms of Oriented Gradients for Human Detection" (CVPR 2005), in the square-root form of Arandjelović &
Zisserman, "Three things everyone should know to improve object retrieval" (CVPR 2012).
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, normalize, pad

BINS, CELLS = 8, 7  # directions, and about so many cells a side
SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


def outlines(x: Tensor) -> Tensor:
    """Images, float32 `(B, C, S, S)` -> vectors of length 1, whose products are cosines, `(B, D)`; 0 for a blank image.

    D is 392 for 28x28 pixels. Colours are averaged.
    """
    side = x.shape[-1]
    sobel = x.new_tensor(SOBEL) / 8
    grey = pad(x.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    right, down = conv2d(grey, torch.stack([sobel, sobel.T])[:, None]).unbind(1)  # (B, S, S)
    size = torch.hypot(right, down)
    right, down = right / size.clamp_min(1e-12), down / size.clamp_min(1e-12)
    turns = [2 * math.pi * i / BINS for i in range(BINS)]
    # how well the gradient's direction fits each of the bins', to the fourth power
    bins = [(right * math.cos(t) + down * math.sin(t)).clamp_min_(0).square_().square_().mul_(size) for t in turns]
    cell = max(1, round(side / CELLS))
    overlap = cell // 4
    cells = avg_pool2d(torch.stack(bins, 1), cell + 2 * overlap, cell, padding=overlap)
    return normalize(normalize(cells.flatten(1)).sqrt())
