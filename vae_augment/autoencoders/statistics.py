"""Statistics of latents: measured on images, those of a user or, until there are such, shipped ones."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..vae import Codec, Whitened

SHIPPED = 8  # images: a large network takes a CPU seconds for each
LEAVES, SMALLEST, LARGEST, COLOURFUL = 300, 0.06, 0.5, 0.8  # radii as parts of the image; how far channels differ
LEAST_STD = 1e-3  # of the mean one: a channel that never moves is not divided by nothing
CHUNK = 32  # images at a time


class Statistics(NamedTuple):
    """Of images' latents.

    Args:
        mean, std: of each channel `(L, 1, 1)`, or of each dimension `(L,)` of a vector.
        images: how many images of a user they are of; 0: of the shipped ones.
    """

    mean: Tensor
    std: Tensor
    images: int


@torch.no_grad()
def latent_statistics(codec: Codec, images: Tensor) -> Statistics:
    """Mean and std of these images' latents.

    Args:
        codec: in eval mode, on the device of the images.
        images: float32 `(N, C, S, S)` in [0, 1].
    """
    parts = images.split(min(CHUNK, Whitened(codec).chunk))
    latents = torch.cat([codec.encode(part)[0] for part in parts]).double()  # (N, *latent_shape)
    over = [0, *range(2, latents.ndim)]
    mean, std = latents.mean(over, keepdim=True)[0], latents.std(over, keepdim=True)[0]
    return Statistics(mean.float(), std.clamp_min(LEAST_STD * float(std.mean())).float(), len(images))


def shipped_images(channels: int, size: int, count: int = SHIPPED) -> Tensor:
    """Images to measure on where there are none, always the same: leaves, discs of many sizes that cover one another.

    Such images have edges, flat areas and a spectrum like photographs' (Lee, Mumford & Huang, IJCV 2001).

    Example:
        >>> shipped_images(3, 64).shape
        torch.Size([8, 3, 64, 64])
    """
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float32, device="cpu")

    line = torch.linspace(0, 1, size, dtype=torch.float32, device="cpu")
    images = torch.zeros(count, channels, size, size, dtype=torch.float32, device="cpu")
    for _ in range(LEAVES):
        # as many of each octave as fit: their density falls with the cube of the radius
        radius = SMALLEST / random(count, 1, 1).clamp_min((SMALLEST / LARGEST) ** 2).sqrt()
        y, x = line[:, None] - random(count, 1, 1), line - random(count, 1, 1)
        colour = random(count, 1, 1, 1) + COLOURFUL * (random(count, channels, 1, 1) - 0.5)
        images = torch.where((y.square() + x.square() < radius.square())[:, None], colour, images)
    return images.clamp_(0, 1)
