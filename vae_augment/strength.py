"""Strength: the same visible change on every VAE, solved once and stored with the weights.

The change is measured in the image, not in the latent: `rho = E||D(z') - D(z)||^2 / E||x_i - x_j||^2`, the squared
change of a decoded image over that between two random images. Strength 1 is `rho = 0.04`: a root mean square change of
a fifth of the distance between two images. A latent distance means something else on every VAE; rho does not.
"""

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from .jitter import CALIBRATED, Jitter, traits_of
from .vae import Codec, Whitened

RHO = 0.04
LARGEST_GAIN = 16.0
CHUNK = 64  # images decoded at a time: of a large network more would fill the memory


def gain_name(jitter: Jitter) -> str:
    """The key of a jitter's gain in `config.json`."""
    return type(jitter).__name__


def without_neighbours(gains: Mapping[str, float]) -> dict[str, float]:
    """The gains that hold with any bank."""
    of_a_bank = {cls.__name__ for cls in CALIBRATED if cls.traits.needs_bank}  # type: ignore[attr-defined]
    return {name: gain for name, gain in gains.items() if name not in of_a_bank}


@torch.no_grad()
def solve_gain(vae: Codec, jitter: Jitter, images: Tensor, rho: float = RHO) -> float:
    """Solve by bisection for the gain at which `jitter` changes decoded images by `rho`.

    Args:
        vae: in eval mode; `jitter`: one of `jitter.py`, at its own scale, temperature or k.
        images: float32 `(N, C, S, S)` in [0, 1]; some hundred are enough.

    Returns:
        The factor on the jitter's displacement, at most 16 (a VAE whose decoder ignores its latent has none).
    """
    net = Whitened(vae)
    mean, std = net.encode_whitened(images)
    move = jitter(mean, std, generator=Generator().manual_seed(0)) - mean
    before = _decoded(net, mean)
    between = (images - images.roll(1, 0)).square().mean()

    def change(gain: float) -> Tensor:
        return (_decoded(net, mean + gain * move) - before).square().mean()

    low, high = 0.0, LARGEST_GAIN
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (middle, high) if change(middle) < rho * between else (low, middle)
    return round((low + high) / 2, 4)


def solve_gains(vae: Codec, images: Tensor, bank: Tensor | None = None) -> dict[str, float]:
    """The gains of every calibrated jitter that these weights can serve; `bank`: whitened latents, or None."""
    jitters: list[Jitter] = []
    for cls in CALIBRATED:
        jitter = cls()
        if traits_of(jitter).needs_bank:
            if bank is None or not len(bank):
                continue
            jitter = jitter.with_bank(bank)
        jitters.append(jitter)
    return {gain_name(jitter): solve_gain(vae, jitter, images) for jitter in jitters}


@torch.no_grad()
def bank_images(vae: Codec, whitened: Tensor, count: int = 256) -> Tensor:
    """Decoded latents of a bank, in a random order that is always the same."""
    chosen = torch.randperm(len(whitened), generator=Generator().manual_seed(0))[:count]
    return _decoded(Whitened(vae), whitened[chosen])


@torch.no_grad()
def prior_images(vae: Codec, count: int = 256) -> Tensor:
    """Decoded samples of the aggregate posterior, to calibrate on when no images are at hand."""
    eps = torch.randn(count, *vae.latent_shape, generator=Generator().manual_seed(0), dtype=torch.float32)
    return _decoded(Whitened(vae), eps)


def _decoded(net: Whitened, z: Tensor) -> Tensor:
    return torch.cat([net.decode_whitened(part) for part in z.split(CHUNK)])
