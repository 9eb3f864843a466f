"""The VAE: encode(x) -> Posterior(mean, std); decode(z) -> x. Kingma & Welling, "Auto-Encoding Variational Bayes" (2014)."""

import dataclasses
import functools
import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from .pretrained import Pretrained

if TYPE_CHECKING:
    from .folder import Weights

# What a config may ask for: files come from elsewhere, so nothing is built before it is known to be small.
LARGEST = {
    "channels": 64,
    "size": 1024,
    "latent_dim": 4096,
    "patch": 64,
    "width": 2048,
    "neck": 1024,
}
MAX_PARAMETERS = 200_000_000


@dataclass(frozen=True)
class VAEConfig:
    """The architecture, in JSON types.

    Args:
        channels, size: of the images, `(channels, size, size)`; size is a multiple of patch.
        latent_dim: L, length of the latent vector, or channels of a spatial latent.
        spatial: False: one vector per image, whose neighbours tend to share a class; True: a latent `(L, h, h)` with
            h = size / patch, which keeps more detail of larger colour images.
        patch: pixels per side of the patches that the network works on; the cost is set here.
        width: channels of the hidden layer; multiples of 16 are fast.
        neck: channels per patch between the hidden layers and a latent vector.

    Raises:
        TypeError, ValueError: naming the field that does not fit.
    """

    channels: int = 1
    size: int = 28
    latent_dim: int = 32
    spatial: bool = False
    patch: int = 4
    width: int = 64
    neck: int = 16

    def __post_init__(self) -> None:
        for name, most in LARGEST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"VAEConfig.{name} must be an int, got {value!r}")
            if not 1 <= value <= most:
                raise ValueError(f"VAEConfig.{name} must be from 1 to {most}, got {value}")
        if not isinstance(self.spatial, bool):
            raise TypeError(f"VAEConfig.spatial must be true or false, got {self.spatial!r}")
        if self.size % self.patch:
            raise ValueError(f"VAEConfig.size must be a multiple of patch, got size={self.size}, patch={self.patch}")
        if (count := _parameter_estimate(self)) > MAX_PARAMETERS:
            raise ValueError(
                f"{self} has about {count:.2g} parameters, more than the {MAX_PARAMETERS:.2g} allowed here"
            )

    @property
    def grid(self) -> int:
        """Patches per side."""
        return self.size // self.patch

    @property
    def overlap(self) -> int:
        """Pixels of its neighbours that the encoder sees on each side of a patch."""
        return self.patch // 4

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Of one image's latent: `(L,)` or `(L, h, h)`."""
        return (self.latent_dim, self.grid, self.grid) if self.spatial else (self.latent_dim,)

    def to_dict(self) -> dict[str, int | bool]:
        return dataclasses.asdict(self)


class Posterior(NamedTuple):
    """The diagonal Gaussian q(z|x): mean and std, float32 `(B, *latent_shape)`."""

    mean: Tensor
    std: Tensor


class VAE(Pretrained, nn.Module):
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

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
    ) -> "VAE":
        """The trained network alone, in eval mode on the CPU: a bundled name, a local folder, or a Hub id `user/repo`.

        See `VAEAugment.from_pretrained`, which takes the same names and raises the same errors.

        Example:
            >>> VAE.from_pretrained("mnist").latent_shape
            (48,)
        """
        from . import hub

        weights = hub.load(
            name,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            force_download=force_download,
        )
        return weights.vae

    def _weights(self) -> "Weights":
        from .folder import Weights

        return Weights(self)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return self.config.latent_shape

    def fingerprint(self) -> str:
        """Of the weights as they are saved: sha256 over the float16 values, the same before and after."""
        digest = hashlib.sha256(json.dumps(self.config.to_dict(), sort_keys=True).encode())
        for _, value in sorted(self.state_dict().items()):
            digest.update(value.detach().cpu().half().contiguous().numpy().tobytes())
        return digest.hexdigest()

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

    def whiten(self, posterior: Posterior) -> Posterior:
        """Latent units -> whitened units, in which the training images' latents have mean 0 and std 1."""
        return Posterior((posterior.mean - self.latent_mean) / self.latent_std, posterior.std / self.latent_std)

    def unwhiten(self, z: Tensor) -> Tensor:
        """Whitened units -> latent units."""
        return z * self.latent_std + self.latent_mean

    def encode_whitened(self, x: Tensor) -> Posterior:
        """`whiten(encode(x))`."""
        return self.whiten(self.encode(x))

    def whitened_mean(self, x: Tensor) -> Tensor:
        """`whiten(encode(x)).mean`."""
        return self.encode_whitened(x).mean

    def decode_whitened(self, z: Tensor) -> Tensor:
        """`decode(unwhiten(z))`."""
        return self.decode(self.unwhiten(z))

    def decoded_change(self, mean: Tensor, move: Tensor, amount: float) -> Tensor:
        """`decode_whitened(mean + amount * move) - decode_whitened(mean)`, in one pass."""
        after, before = self.decode_whitened(torch.cat([torch.add(mean, move, alpha=amount), mean])).chunk(2)
        return after - before


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


class WindowConv(nn.Conv2d):
    """A convolution whose windows overlap by `margin` pixels on each side; beyond the edge they see the nearest pixel.

    Zeros there would be latents or shades of their own, and could not be gathered by an indexed copy: which, with a matrix
    product, is what takes a processor a fifth of the time of such a convolution.
    """

    def __init__(self, inside: int, outside: int, size: int, stride: int = 1, margin: int = 0) -> None:
        super().__init__(inside, outside, stride + 2 * margin, stride, margin, padding_mode="replicate")
        self.size, self.grid = size, size // stride
        # no buffer: it is for the CPU, and no part of the weights
        self.places = windows(inside, size, stride, margin) if stride + margin > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        if self.places is None:
            seen = x.permute(0, 2, 3, 1).flatten(0, 2)
        else:
            seen = x.flatten(1).index_select(1, self.places).view(-1, self.weight[0].numel())  # (B h h, C side side)
        out = linear(seen, self.weight.flatten(1), self.bias)
        return out.view(x.shape[0], self.grid, self.grid, -1).permute(0, 3, 1, 2)


class AffineStem(nn.Sequential):
    """Layers without an activation between them, on vectors `(B, L)`: one matrix, which is computed first if B is large."""

    def forward(self, z: Tensor) -> Tensor:
        count, dims = z.shape
        if count < 2 * dims:
            out: Tensor = super().forward(z)
            return out
        with torch.autocast(z.device.type, enabled=False):  # whose rounding the difference below would magnify
            # an affine function is known by its values at 0 and at the unit vectors
            known = super().forward(torch.eye(dims + 1, device=z.device, dtype=z.dtype)[:, 1:])
        known = known.permute(0, 2, 3, 1)  # (1 + L, h, h, width)
        bias, at_unit = known[0], known[1:]
        out = torch.addmm(bias.flatten(), z, (at_unit - bias).flatten(1))
        return out.view(count, *bias.shape).permute(0, 3, 1, 2)


def windows(channels: int, size: int, stride: int, margin: int) -> Tensor:
    """Places in an image `(C, S, S)` of what each window of a `WindowConv` sees, int32 `(h h C side side)`."""
    arange = functools.partial(torch.arange, device="cpu")  # also where a network is only planned, on "meta"
    corners = arange(size // stride)[:, None] * stride - margin
    at = (corners + arange(stride + 2 * margin)).clamp(0, size - 1)  # (h, side)
    rows, columns = at[:, None, None, :, None] * size, at[None, :, None, None, :]
    return (rows + columns + size**2 * arange(channels)[:, None, None]).flatten().int()


def _parameter_estimate(c: VAEConfig) -> int:
    """Parameters of the convolutions and linears, biases left out, before anything is built."""
    pixels = c.channels * ((c.patch + 2 * c.overlap) ** 2 + c.patch**2)
    latent = 11 * c.latent_dim * c.width if c.spatial else c.neck * (10 * c.width + 3 * c.latent_dim * c.grid**2)
    return pixels * c.width + latent
