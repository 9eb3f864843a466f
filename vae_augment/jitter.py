"""How a latent moves: a jitter is any callable `(mean, std) -> z`.

`mean` and `std` are an image's posterior, `(B, L)` or `(B, L, h, w)`, in whitened units: 1 is the spread of the training
images' latents in that dimension. `VAEAugment` moves the latent by `strength * gain * (z - mean)`, where the gain of the
jitters here was solved so that strength 1 is the same visible change on every VAE (`strength.py`); your own has gain 1.

A jitter with a `generator` parameter is given a seeded `torch.Generator` and should draw from it, on the CPU: the same
images then come out on every device. One without may use torch's global generator, which is seeded for the call.

A class of jitters may describe itself by `Traits`, under the name `traits`.
"""

import functools
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import ClassVar, Self

import torch
from torch import Generator, Tensor
from torch.nn.functional import interpolate, normalize

LARGEST_FACTOR = 1000.0  # no pixel changes further long before that, and floats still hold the latents

__all__ = ["Extrapolate", "Interpolate", "LocalNoise", "Noise", "PosteriorSample"]  # what the package exports

Jitter = Callable[..., Tensor]


@dataclass(frozen=True)
class Traits:
    """What a class of jitters says of itself, as its attribute `traits`. The defaults hold for a jitter that says nothing.

    Args:
        needs_bank: it moves toward latents of a pool: a field `bank` is None until `with_bank(latents)` gives it
            whitened ones, `(N, *latent_shape)`.
        reads_std: False: its `std` may be None, which saves half of the encoder's last layer.
        is_calibrated: its gain is solved, at its default settings: strength 1 is then the same visible change on every VAE.
            Its parameters have defaults.
        is_additive: its move does not depend on the image: `draw(shape, generator)` returns the move alone.
        makes_new: it returns latents of new images, not of changed ones, so that `residual` means nothing for it.
        is_checked: False: it takes a `generator`, leaves its arguments alone and returns finite latents of the shape
            of `mean`, so that it is called as it is.
    """

    needs_bank: bool = False
    reads_std: bool = True
    is_calibrated: bool = False
    is_additive: bool = False
    makes_new: bool = False
    is_checked: bool = True


def traits_of(jitter: Jitter) -> Traits:
    """The traits of a jitter's own class; not inherited, since a derived `__call__` may do anything."""
    traits = vars(type(jitter)).get("traits")
    return traits if isinstance(traits, Traits) else Traits()


def needs_bank(jitter: Jitter) -> bool:
    """Whether a jitter moves toward latents of a pool, which `with_bank` gives it; a derived one does as its base."""
    traits = getattr(type(jitter), "traits", None)
    return isinstance(traits, Traits) and traits.needs_bank


def at_defaults(jitter: Jitter) -> Jitter:
    """A calibrated jitter with the settings that its gain is solved at, so that `Noise(2.0)` moves twice as far as `Noise()`."""
    cls: Callable[[], Jitter] = type(jitter)
    plain = cls()
    return plain.with_bank(jitter.bank) if traits_of(jitter).needs_bank else plain  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Noise:
    """Gaussian noise of one size in every whitened dimension: `z = mean + scale * eps`.

    In a spatial latent the noise is smooth, `coarse` values a side between which it is interpolated: neighbouring patches
    of an image change alike.

    Example:
        >>> import torch
        >>> mean, std = torch.zeros(4, 32), torch.ones(4, 32)
        >>> Noise(scale=0.5)(mean, std).shape
        torch.Size([4, 32])
    """

    scale: float = 1.0
    coarse: int = 3

    traits: ClassVar = Traits(reads_std=False, is_calibrated=True, is_additive=True, is_checked=False)

    def __post_init__(self) -> None:
        _check_factor("scale", self.scale)
        if not isinstance(self.coarse, int) or self.coarse < 1:
            raise ValueError(
                f"coarse, values a side of a spatial latent, must be an integer of at least 1, got {self.coarse!r}"
            )

    def __call__(self, mean: Tensor, std: Tensor, generator: Generator | None = None) -> Tensor:
        return mean + self.draw(mean.shape, generator).to(mean)

    def draw(self, shape: Sequence[int], generator: Generator | None = None, in_kept_memory: bool = False) -> Tensor:
        """The noise alone, of latents of this shape; float32, drawn on the CPU.

        Args:
            in_kept_memory: the noise lies where this thread's next one of that shape will; for noise that is used at once.
        """
        if len(shape) == 2:
            noise = _standard_normal(tuple(shape), generator, in_kept_memory)
        else:
            coarse = _standard_normal((shape[0] * shape[1], self.coarse**2), generator, in_kept_memory)
            to_all = _interpolation(self.coarse, *shape[2:])
            if in_kept_memory:
                noise = torch.mm(coarse, to_all, out=_smoothed.of(len(coarse), to_all.shape[1])).view(*shape)
            else:
                with torch.autocast("cpu", enabled=False):  # which leaves a product that is written into memory alone
                    noise = torch.mm(coarse, to_all).view(*shape)
        return noise if self.scale == 1 else noise.mul_(self.scale)


@dataclass(frozen=True)
class PosteriorSample:
    """A sample of the VAE's own posterior, its std multiplied by a temperature: `z = mean + temperature * std * eps`.

    Moves most where the encoder is least certain (Kingma & Welling, 2014).
    """

    temperature: float = 1.0

    traits: ClassVar = Traits(is_calibrated=True, is_checked=False)

    def __post_init__(self) -> None:
        _check_factor("temperature", self.temperature)

    def __call__(self, mean: Tensor, std: Tensor | None, generator: Generator | None = None) -> Tensor:
        if std is None:
            raise ValueError(f"{self!r} needs the posterior's std, which this autoencoder does not give: use Noise()")
        return mean + self.temperature * std * _randn_like(mean, generator)


_OF_A_BANK = Traits(needs_bank=True, reads_std=False, is_calibrated=True, is_checked=False)


@dataclass(frozen=True)
class _TowardNeighbours:
    """The part that jitters of a bank share: for each latent its k nearest of the bank, `(N, L)`, whitened.

    `VAEAugment` fills in the bank that came with its weights. Nearest is by cosine, where neighbours agree with the
    class more often than by distance.
    """

    k: int = 10
    bank: Tensor | None = field(default=None, repr=False, compare=False)

    _directions: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k, the number of neighbours to choose from, must be at least 1, got {self.k}")
        if self.bank is not None and not isinstance(self.bank, Tensor):
            raise TypeError(
                f"bank must be whitened latents, a tensor (N, L), got {type(self.bank).__name__}; of a LatentBank: "
                "bank.whitened(vae)"
            )
        if self.bank is not None:  # normalised once: at every call it would cost more than the network
            object.__setattr__(self, "_directions", normalize(self.bank.float().flatten(1)))

    def with_bank(self, bank: Tensor) -> Self:
        """The same jitter, moving toward the whitened latents of this bank, `(N, L)`."""
        return replace(self, bank=bank)

    def _neighbours(self, mean: Tensor) -> Tensor:
        """`(B, *latent_shape)` -> the k nearest latents of the bank, `(B, k, *latent_shape)`."""
        if self.bank is None or self._directions is None:
            raise ValueError(
                f"{self!r} needs a bank of latents: use weights that come with one, or "
                f"{type(self).__name__}(bank=whitened_latents)"
            )
        if self.bank.shape[1:] != mean.shape[1:]:
            raise ValueError(f"{self!r} has a bank of {tuple(self.bank.shape)} for latents of {tuple(mean.shape)}")
        bank, directions = self.bank.to(mean), self._directions.to(mean)
        similarity = mean.flatten(1) @ directions.T  # (B, N); the length of mean does not change the order
        return bank[similarity.topk(min(self.k, len(bank)), dim=1).indices]


@dataclass(frozen=True)
class Interpolate(_TowardNeighbours):
    """Part of the way to one of the k nearest latents of the bank: `z = mean + t * (neighbour - mean)`, t ~ U(0, 1)."""

    traits: ClassVar = _OF_A_BANK

    def __call__(self, mean: Tensor, std: Tensor, generator: Generator | None = None) -> Tensor:
        return mean + self._step(mean, generator)

    def _step(self, mean: Tensor, generator: Generator | None) -> Tensor:
        neighbours = self._neighbours(mean)
        pick = torch.randint(neighbours.shape[1], (len(mean),), generator=generator, device="cpu").to(mean.device)
        t = torch.rand(len(mean), *[1] * (mean.ndim - 1), generator=generator, dtype=torch.float32, device="cpu").to(
            mean
        )
        return t * (neighbours[torch.arange(len(mean), device=mean.device), pick] - mean)


@dataclass(frozen=True)
class Extrapolate(Interpolate):
    """As far away from a neighbour as `Interpolate` goes toward it: `z = mean - t * (neighbour - mean)`.

    DeVries & Taylor, "Dataset Augmentation in Feature Space" (2017), found it more useful than interpolation.
    """

    traits: ClassVar = _OF_A_BANK

    def __call__(self, mean: Tensor, std: Tensor, generator: Generator | None = None) -> Tensor:
        return mean - self._step(mean, generator)


@dataclass(frozen=True)
class LocalNoise(_TowardNeighbours):
    """Gaussian noise along the directions to the k nearest latents of the bank, as far as they lie.

    `z = mean + scale / sqrt(k) * sum_j eps_j * (neighbour_j - mean)`: the covariance of a manifold Parzen window (Vincent
    & Bengio, NeurIPS 2002). Images vary as their neighbours do, in either direction.
    """

    scale: float = 1.0

    traits: ClassVar = _OF_A_BANK

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_factor("scale", self.scale)

    def __call__(self, mean: Tensor, std: Tensor, generator: Generator | None = None) -> Tensor:
        toward = self._neighbours(mean) - mean.unsqueeze(1)  # (B, k, *latent_shape)
        eps = torch.randn(toward.shape[:2], generator=generator, dtype=torch.float32, device="cpu").to(mean)
        move: Tensor = torch.einsum("bk,bk...->b...", eps, toward)
        return mean + self.scale / math.sqrt(toward.shape[1]) * move


CALIBRATED: tuple[type, ...] = (Noise, PosteriorSample, Interpolate, Extrapolate, LocalNoise)
"""The jitters whose gains training stores with the weights."""


def _check_factor(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not abs(value) <= LARGEST_FACTOR:
        raise ValueError(f"{name} must be a number from -{LARGEST_FACTOR:g} to {LARGEST_FACTOR:g}, got {value!r}")


class _Kept(threading.local):
    """Memory of each thread, by shape: for one image new memory takes several times as long as what is written there."""

    def __init__(self) -> None:
        self._memory: dict[tuple[int, ...], Tensor] = {}

    def of(self, *shape: int) -> Tensor:
        if (known := self._memory.get(shape)) is None:
            with torch.inference_mode(False):  # whose tensors could not be written to outside of it
                known = self._memory[shape] = torch.empty(shape, dtype=torch.float32, device="cpu")
        return known


_drawn, _smoothed = _Kept(), _Kept()  # two: numbers and what is made of them may have one shape


def _standard_normal(shape: tuple[int, ...], generator: Generator | None, in_kept_memory: bool) -> Tensor:
    """Independent normal numbers, float32."""
    if in_kept_memory:
        return _drawn.of(*shape).normal_(generator=generator)
    return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")


@functools.cache
def _interpolation(coarse: int, height: int, width: int) -> Tensor:
    """`(coarse coarse, height width)`: bilinear interpolation, scaled to keep the variance of white noise."""
    rows, columns = (
        interpolate(
            torch.eye(coarse, dtype=torch.float32, device="cpu")[None],
            size=side,
            mode="linear",
            align_corners=coarse < side,
        )[0]
        for side in (height, width)
    )
    return torch.kron(normalize(rows, dim=0), normalize(columns, dim=0))


def _randn_like(mean: Tensor, generator: Generator | None) -> Tensor:
    # drawn on the CPU in float32 whatever mean is: one seed, one image, on every device
    return torch.randn(mean.shape, generator=generator, dtype=torch.float32, device="cpu").to(mean)
