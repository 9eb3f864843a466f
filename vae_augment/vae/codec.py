"""Codec: what an autoencoder offers to stand behind the transform; and whitened latents, in which jitters work."""

import hashlib
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ..numerics import evaluating

LARGEST_LAYER = 2**26  # values of a layer of all images that are computed at a time: 256 MB
LIKELY_CHANNELS = 64  # of the largest layer of another codec, at its images' size

MAX_OVERSHOOT = 0.25  # of decoded pixels beyond [0, 1]: a clamp may be missing, [-1, 1] is a mistake
MEMBERS = ("channels", "size", "latent_shape", "latent_mean", "latent_std", "encode", "decode", "fingerprint")


class Posterior(NamedTuple):
    """The diagonal Gaussian q(z|x): mean and std, float32 `(B, *latent_shape)`."""

    mean: Tensor
    std: Tensor


class Codec(Protocol):
    """An autoencoder that `VAEAugment`, `LatentBank` and `SyntheticDataset` can use: a `torch.nn.Module` with these members.

    `VAE` is one. Another becomes one through a module of a few lines, whose `encode` and `decode` call it.

    `latent_mean` and `latent_std` are the statistics of training images' latents, buffers that broadcast against a latent.
    A jitter sees `(z - latent_mean) / latent_std`, so that a step of 1 means the same on every autoencoder.

    Example:
        >>> class Halves(nn.Module):  # a latent of the images' left halves
        ...     channels, size, latent_shape = 1, 8, (1, 8, 4)
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.register_buffer("latent_mean", torch.zeros(1))  # buffers follow the module to a GPU
        ...         self.register_buffer("latent_std", torch.ones(1))
        ...     def encode(self, x): return x[..., :4], None
        ...     def decode(self, z): return torch.cat([z, z.flip(-1)], -1).clamp(0, 1)
        ...     def fingerprint(self): return "halves, 1"
        >>> check_codec(Halves())
    """

    @property
    def channels(self) -> int:
        """C, of the images it reads and draws."""

    @property
    def size(self) -> int:
        """S, their side in pixels. Images of other sizes are resized for the network."""

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Of one image's latent: `(L,)`, or `(L, h, w)` if it is spatial."""

    latent_mean: Tensor
    latent_std: Tensor

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images `(B, C, S, S)` in [0, 1] -> mean and std of their posterior, `(B, *latent_shape)`; std may be None."""

    def decode(self, z: Tensor) -> Tensor:
        """Latents `(B, *latent_shape)` -> images `(B, C, S, S)`, float32 in [0, 1]."""

    def fingerprint(self) -> str:
        """Tells these weights from others: banks and fits are of one autoencoder. `fingerprint_of` computes one."""


@torch.no_grad()
def check_codec(codec: Any) -> None:
    """Refuse at once what would fail at the first image.

    Raises:
        TypeError: it is no module, or lacks a member.
        ValueError: its statistics are no mean and std of its latents, or an image of zeros is not encoded and decoded in the
            shapes that it states, to pixels in [0, 1].
    """
    is_module = isinstance(codec, nn.Module)
    missing = [name for name in MEMBERS if not hasattr(codec, name)]
    if not is_module or missing:
        lacks = f" without {', '.join(missing)}" if is_module else ""
        raise TypeError(
            f"vae must be a vae_augment.VAE, or another module with the members of vae_augment.vae.Codec, got "
            f"{type(codec).__name__}{lacks}; to load weights by name: VAEAugment.from_pretrained"
        )
    name, latent, image = type(codec).__name__, tuple(codec.latent_shape), (codec.channels, codec.size, codec.size)
    for statistic in (codec.latent_mean, codec.latent_std):
        if not _broadcasts(tuple(statistic.shape), latent):
            raise ValueError(f"{name} has latent statistics of shape {tuple(statistic.shape)} for latents of {latent}")
    if not (codec.latent_std > 0).all():
        raise ValueError(f"{name}.latent_std must be above 0: it is the spread of training images' latents")
    with evaluating(codec):
        mean = codec.encode(codec.latent_mean.new_zeros(1, *image))[0]
        if mean.shape[1:] != latent:
            raise ValueError(f"{name}.encode gives latents of {tuple(mean.shape[1:])}, latent_shape says {latent}")
        drawn = codec.decode(mean)
    if drawn.shape[1:] != image:
        raise ValueError(f"{name}.decode gives images of {tuple(drawn.shape[1:])}, channels and size say {image}")
    low, high = float(drawn.min()), float(drawn.max())
    if low < -MAX_OVERSHOOT or high > 1 + MAX_OVERSHOOT:
        raise ValueError(
            f"{name}.decode gives pixels from {low:.3g} to {high:.3g}, expected [0, 1]: map [-1, 1] by (y + 1) / 2, and images "
            "for its encoder back"
        )


def _broadcasts(shape: tuple[int, ...], latent: tuple[int, ...]) -> bool:
    return len(shape) <= len(latent) and all(
        n in (1, m) for n, m in zip(reversed(shape), reversed(latent), strict=False)
    )


def fingerprint_of(module: nn.Module, architecture: str) -> str:
    """sha256 over an architecture's description and the float16 values of the weights: the same before and after saving."""
    digest = hashlib.sha256(architecture.encode())
    for _, value in sorted(module.state_dict().items()):
        digest.update(value.detach().cpu().half().contiguous().numpy().tobytes())
    return digest.hexdigest()


class Whitened:
    """A codec between images and whitened latents, in which training images' latents have mean 0 and std 1.

    `FusedVAE` computes the same in fewer operations.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        layer = getattr(
            getattr(codec, "config", None), "largest_layer", None
        )  # values, of an image; of ours it is known
        self.chunk = max(1, LARGEST_LAYER // (layer or LIKELY_CHANNELS * codec.size**2))  # images at a time

    def whiten(self, z: Tensor) -> Tensor:
        """Latent units -> whitened units."""
        return (z - self.codec.latent_mean) / self.codec.latent_std

    def unwhiten(self, z: Tensor) -> Tensor:
        """Whitened units -> latent units."""
        return z * self.codec.latent_std + self.codec.latent_mean

    def encode_whitened(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images `(B, C, S, S)` in [0, 1] -> the posterior's mean and std in whitened units, `(B, *latent_shape)`."""
        parts = [self.codec.encode(part) for part in x.split(self.chunk)]
        mean, stds = torch.cat([part[0] for part in parts]), [part[1] for part in parts]
        return self.whiten(mean), None if stds[0] is None else torch.cat(stds) / self.codec.latent_std  # type: ignore[arg-type]

    def whitened_mean(self, x: Tensor) -> Tensor:
        """The mean of `encode_whitened(x)`."""
        return self.whiten(torch.cat([self.codec.encode(part)[0] for part in x.split(self.chunk)]))

    def decode_whitened(self, z: Tensor) -> Tensor:
        """Whitened latents `(B, *latent_shape)` -> images `(B, C, S, S)` in [0, 1]."""
        return torch.cat([self.codec.decode(part) for part in self.unwhiten(z).split(self.chunk)])

    def decoded_change(self, mean: Tensor, move: Tensor, amount: float) -> Tensor:
        """`decode_whitened(mean + amount * move) - decode_whitened(mean)`, in one pass."""
        after, before = self.decode_whitened(torch.cat([torch.add(mean, move, alpha=amount), mean])).chunk(2)
        return after - before
