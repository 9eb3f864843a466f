"""The VAE: encode(x) -> Posterior(mean, std); decode(z) -> x. Kingma & Welling, "Auto-Encoding Variational Bayes" (2014)."""

import json

import torch
from torch import Tensor, nn

from .codec import Posterior, fingerprint_of
from .config import VAEConfig
from .layers import AffineStem, WindowConv


class VAE(nn.Module):
    """A small convolutional VAE on patches, with one hidden layer on each side.

    So shallow on purpose: at equal training time it draws better than deeper ones, and where a pipeline computes one image
    at a time, each layer costs more in calls than in arithmetic (`fused.py`).

    `latent_mean` and `latent_std` are the statistics of the training images' aggregate posterior, per dimension; the
    trainer sets them at its end. Until then they are 0 and 1.

    Example:
        >>> import torch
        >>> vae = VAE(VAEConfig(channels=1, size=28, latent_dim=32))
        >>> mean, std = vae.encode(torch.rand(2, 1, 28, 28))
        >>> mean.shape, vae.decode(mean).shape
        (torch.Size([2, 32]), torch.Size([2, 1, 28, 28]))
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder(config)
        self.decoder = decoder(config)
        per_dim = (config.latent_dim,) + (1,) * (len(config.latent_shape) - 1)
        self.register_buffer("latent_mean", torch.zeros(per_dim))
        self.register_buffer("latent_std", torch.ones(per_dim))

    @property
    def channels(self) -> int:
        return self.config.channels

    @property
    def size(self) -> int:
        return self.config.size

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return self.config.latent_shape

    def fingerprint(self) -> str:
        """Of the weights as they are saved: sha256 over the float16 values, the same before and after."""
        return fingerprint_of(self, json.dumps(self.config.to_dict(), sort_keys=True))

    def encode(self, x: Tensor) -> Posterior:
        """Images `(B, C, S, S)` in [0, 1] -> posterior of their latents, `(B, L)` or `(B, L, h, h)`."""
        expected = (self.config.channels, self.config.size, self.config.size)
        if x.ndim != 4 or x.shape[1:] != expected:
            raise ValueError(f"this VAE encodes images of shape (B, *{expected}), got {tuple(x.shape)}")
        mean, raw = self.encoder(x).float().chunk(2, dim=1)  # (B, 2L, ...) -> 2 x (B, L, ...)
        # log-variance in (-10, 2), by tanh: a clamp would have no gradient outside. In float32: exp overflows early in half
        return Posterior(mean, torch.exp(0.5 * (6 * torch.tanh(raw / 6) - 4)))

    def decode(self, z: Tensor) -> Tensor:
        """Latents -> images `(B, C, S, S)`, float32 in [0, 1]."""
        return torch.sigmoid(self.decode_logits(z))

    def decode_logits(self, z: Tensor) -> Tensor:
        """Latents -> images before the sigmoid, which the Bernoulli likelihood needs."""
        logits: Tensor = self.decoder(z)
        return logits.float()


def encoder(c: VAEConfig) -> nn.Sequential:
    """(B, C, S, S) -> (B, 2L) or (B, 2L, h, h): mean and raw log-variance."""
    head: list[nn.Module] = [WindowConv(c.width, 2 * c.latent_dim, c.grid)]
    if not c.spatial:
        head = [
            WindowConv(c.width, c.neck, c.grid),
            nn.Flatten(),
            nn.Linear(c.neck * c.grid**2, 2 * c.latent_dim),
        ]
    return nn.Sequential(
        WindowConv(c.channels, c.width, c.size, c.patch, c.overlap),  # (B, C, S, S) -> (B, width, h, h)
        nn.SiLU(),
        *head,
    )


def decoder(c: VAEConfig) -> nn.Sequential:
    """(B, L) or (B, L, h, h) -> (B, C, S, S), before the sigmoid."""
    stem: nn.Module = WindowConv(c.latent_dim, c.width, c.grid, margin=1)
    if not c.spatial:
        stem = AffineStem(
            nn.Linear(c.latent_dim, c.neck * c.grid**2),
            nn.Unflatten(1, (c.neck, c.grid, c.grid)),
            WindowConv(c.neck, c.width, c.grid, margin=1),
        )
    return nn.Sequential(
        stem,  # -> (B, width, h, h)
        nn.SiLU(),
        WindowConv(c.width, c.channels * c.patch**2, c.grid),
        nn.PixelShuffle(c.patch),  # (B, C p p, h, h) -> (B, C, S, S)
    )
