"""LatentBank: latents of a pool of images, kept beside the weights."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .vae import VAE

LARGEST_BANK = 10_000


@dataclass(frozen=True, eq=False)
class LatentBank:
    """Posterior means of a pool's images. It holds no labels, and never anything of a test set.

    Args:
        latents: `(N, *latent_shape)`, float16 as stored, in latent (not whitened) units.
    """

    latents: Tensor

    @classmethod
    @torch.no_grad()
    def from_images(cls, vae: VAE, images: Tensor, size: int = LARGEST_BANK) -> "LatentBank":
        """Encode at most `size` of the images, float32 in [0, 1] or uint8 `(N, C, S, S)`, evenly spaced."""
        count = min(size, len(images))
        chosen = images[torch.arange(count) * len(images) // max(count, 1)]
        parts = [vae.encode(_unit(part)).mean for part in chosen.split(1000)]
        return cls(torch.cat(parts).half() if parts else torch.empty(0, *vae.latent_shape, dtype=torch.float16))

    def whitened(self, vae: VAE) -> Tensor:
        """The latents as jitters see them, float32 `(N, *latent_shape)`."""
        return (self.latents.float() - vae.latent_mean) / vae.latent_std

    def __len__(self) -> int:
        return len(self.latents)

    def __repr__(self) -> str:
        return f"LatentBank({len(self)} latents of shape {tuple(self.latents.shape[1:])})"


def _unit(images: Tensor) -> Tensor:
    return images.float() / 255 if images.dtype == torch.uint8 else images
