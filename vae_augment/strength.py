"""Strength: the same visible change on every VAE, solved once and stored with the weights.

The change is measured in the image, not in the latent: `rho = E||D(z') - D(z)||^2 / E||x_i - x_j||^2`, the squared
change of a decoded image over that between two random images. Strength 1 is `rho = 0.04`: a root mean square change of
a fifth of the distance between two images. A latent distance means something else on every VAE; rho does not.
"""

import math
from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Generator, Tensor

from .jitter import CALIBRATED, Jitter, traits_of
from .vae import Codec, FusedVAE, Whitened

RHO = 0.04
LARGEST_GAIN = 16.0
CLOSE, MOST_STEPS = 0.01, 12  # of `solve_gain_soon`: how near rho comes on one draw, in so many decodings
DRAWS = 6  # and those that it is set right on
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
    change, between = _change_by(Whitened(vae), jitter, images)
    low, high = 0.0, LARGEST_GAIN
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (middle, high) if change(middle) < rho * between else (low, middle)
    return round((low + high) / 2, 4)


@torch.no_grad()
def solve_gain_soon(
    net: Whitened | FusedVAE, jitter: Jitter, images: Tensor, rho: float = RHO, draws: int = DRAWS
) -> float:
    """The gain of `solve_gain` in about four decodings instead of seventeen, since some networks take minutes for one.

    A small move changes an image by its square, which tells the next gain to try; where it does not, the bracket is halved.

    Args:
        net: on the device of the images.
        images: as of `solve_gain`, not all alike.
        draws: the gain is set right on so many, a decoding each; 0: it is that of one draw.
    """
    change, between = _change_by(net, jitter, images)
    low, high, gain = 0.0, LARGEST_GAIN, 1.0
    for _ in range(MOST_STEPS):
        ratio = float(change(gain) / (rho * between))
        if abs(ratio - 1) < CLOSE or (ratio < 1 and gain == LARGEST_GAIN):
            break
        low, high = (gain, high) if ratio < 1 else (low, gain)
        step = min(gain / math.sqrt(ratio), LARGEST_GAIN) if ratio > 0 else LARGEST_GAIN
        gain = step if low < step < high or step == LARGEST_GAIN == high else (low + high) / 2
    if draws:  # of a hundred images, one draw alone is off by up to a twentieth
        ratio = sum(float(change(gain, seed) / (rho * between)) for seed in range(draws)) / draws
        gain = min(gain / math.sqrt(ratio), LARGEST_GAIN) if ratio > 0 else gain
    return round(gain, 4)


def _change_by(net: Whitened | FusedVAE, jitter: Jitter, images: Tensor) -> tuple[Callable[..., Tensor], Tensor]:
    """How much a gain, and a seed's draw, change decoded images, squared; and how far images are from one another."""
    mean, std = net.encode_whitened(images)
    before = _decoded(net, mean)

    @cache
    def move(seed: int) -> Tensor:
        moved: Tensor = jitter(mean, std, generator=Generator().manual_seed(seed)) - mean
        return moved

    def change(gain: float, seed: int = 0) -> Tensor:
        return (_decoded(net, mean + gain * move(seed)) - before).square().mean()

    return change, (images - images.roll(1, 0)).square().mean()


def solve_gains(vae: Codec, images: Tensor, bank: Tensor | None = None) -> dict[str, float]:
    """The gains of every calibrated jitter that these weights can serve; `bank`: whitened latents, or None."""
    return {gain_name(jitter): solve_gain(vae, jitter, images) for jitter in calibrated_jitters(bank)}


def calibrated_jitters(bank: Tensor | None = None) -> list[Jitter]:
    """Every jitter whose gain is solved, at its default settings; those that need a bank only with one."""
    jitters: list[Jitter] = []
    for cls in CALIBRATED:
        jitter = cls()
        if traits_of(jitter).needs_bank:
            if bank is None or not len(bank):
                continue
            jitter = jitter.with_bank(bank)
        jitters.append(jitter)
    return jitters


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


def _decoded(net: Whitened | FusedVAE, z: Tensor) -> Tensor:
    return torch.cat([net.decode_whitened(part) for part in z.split(CHUNK)])
