"""Statistics of latents: measured on images, those of a user or, until there are such, shipped ones."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.fft import irfft2

from ..vae import Codec, Whitened

SHIPPED = 16  # images
CONTRAST, SATURATION = 0.22, 0.35  # of photographs, roughly: the spread of pixels, and how far channels differ
LEAST_STD = 1e-3  # of the mean one: a channel that never moves is not divided by nothing
CHUNK = 32  # images at a time


class Statistics(NamedTuple):
    """Of images' latents.

    Args:
        mean, std: of each channel `(L, 1, 1)`, or of each dimension `(L,)` of a vector.
        count: how many images of a user they are of; 0: of the shipped ones.
    """

    mean: Tensor
    std: Tensor
    count: int


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
    """Images to measure on where there are none: smooth random ones with the spectrum of photographs, always the same.

    The amplitude of a photograph's waves falls with their frequency, as 1/f (Field, J. Opt. Soc. Am. A, 1987).
    """
    generator = torch.Generator().manual_seed(0)
    waves = torch.randn(2, count, channels + 1, size, size // 2 + 1, generator=generator, dtype=torch.float32)
    y, x = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None]
    amplitude = 1 / (y.square() + x.square()).sqrt().clamp_min(1 / size)
    fields = irfft2(torch.complex(waves[0], waves[1]) * amplitude, s=(size, size))  # (count, channels + 1, S, S)
    grey, colours = fields[:, :1], fields[:, 1:]
    mixed = grey + SATURATION * colours
    return (0.45 + CONTRAST * mixed / mixed.std()).clamp(0, 1)
