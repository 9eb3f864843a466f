"""What moves a latent: a jitter with its gain, called so that the same draw gives the same move."""

import inspect
from typing import Self

import torch
from torch import Tensor

from .classes import ClassDifferences, ClassLatents
from .jitter import Interpolate, Jitter, LocalNoise, Noise, PosteriorSample
from .pool import LatentBank
from .strength import bank_images, is_calibrated, prior_images, reference, solve_gain
from .vae import Codec, to_device

Drawn = Tensor | int  # noise of latents, or a jitter's seed


class Mover:
    """A jitter and the factor on its displacement.

    No module, so that a jitter that is one is not registered in the transform that holds this.

    Args:
        jitter: any callable `(mean, std) -> z`, see `vae_augment.jitter`, or what a fit knows of classes.
        gain: at strength 1.
    """

    def __init__(self, jitter: Jitter, gain: float) -> None:
        self.jitter, self.gain = jitter, gain
        self._is_ours = is_calibrated(jitter) or isinstance(jitter, ClassLatents | ClassDifferences)
        self._takes_generator = self._is_ours or _takes_generator(jitter)
        self.reads_std = isinstance(jitter, PosteriorSample) or not self._is_ours

    @classmethod
    def of(cls, jitter: Jitter, gain: float | None, vae: Codec, bank: LatentBank | None) -> Self:
        """The jitter with the bank it needs; a gain of None is solved on the spot, 1 for a jitter of one's own.

        Raises:
            TypeError: the jitter is not callable.
            ValueError: it needs a bank, and there is none.
        """
        if not callable(jitter):
            raise TypeError(f"jitter must be a callable (mean, std) -> z, got {jitter!r}")
        whitened = None if bank is None else bank.whitened(vae)
        if isinstance(jitter, Interpolate | LocalNoise) and jitter.bank is None:
            if whitened is None:
                raise ValueError(f"{jitter!r} needs a bank of latents, and these weights have none")
            jitter = jitter.with_bank(whitened)
        if gain is None and is_calibrated(jitter):
            images = prior_images(vae) if whitened is None else bank_images(vae, whitened)
            gain = solve_gain(vae, reference(jitter), images)
        return cls(jitter, 1.0 if gain is None else gain)

    def draw(self, shape: tuple[int, ...], generator: torch.Generator | None, is_seed: bool = False) -> Drawn:
        """What decides how latents of this shape move: their noise, or with `is_seed` or another jitter a seed."""
        if type(self.jitter) is Noise and not is_seed:  # one derived from it moves as its own __call__ says
            return self.jitter.draw(shape, generator)
        return int(torch.randint(2**62, (), generator=generator, device="cpu"))

    def move(self, mean: Tensor, std: Tensor | None, drawn: Drawn) -> Tensor:
        """Where the jitter takes latents, as seen from them."""
        return to_device(drawn, mean.device) if isinstance(drawn, Tensor) else self.target(mean, std, drawn) - mean

    def target(self, mean: Tensor, std: Tensor | None, seed: int) -> Tensor:
        """Whitened posteriors, `std` only if it is read -> what the jitter returns.

        Raises:
            ValueError: a jitter of one's own returned no finite latents of the shape of `mean`.
        """
        if self._is_ours:
            return self.jitter(mean, std, generator=torch.Generator().manual_seed(seed))
        assert std is not None
        return self._own(mean, std, seed)

    @torch.no_grad()
    def _own(self, mean: Tensor, std: Tensor, seed: int) -> Tensor:
        # a jitter may work in place, and view them
        before, mean, std = mean, *(x.clone(memory_format=torch.contiguous_format) for x in (mean, std))
        if self._takes_generator:
            z = self.jitter(mean, std, generator=torch.Generator().manual_seed(seed))
        else:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                z = self.jitter(mean, std)
        if not isinstance(z, Tensor) or z.shape != mean.shape:
            got = tuple(z.shape) if isinstance(z, Tensor) else type(z).__name__
            raise ValueError(
                f"jitter must return z of the shape of mean, {tuple(mean.shape)}, got {got}: {self.jitter!r}"
            )
        if not z.isfinite().all():
            raise ValueError(f"jitter returned latents that are not finite: {self.jitter!r}")
        return z.to(before)


def _takes_generator(jitter: Jitter) -> bool:
    try:
        return "generator" in inspect.signature(getattr(jitter, "forward", jitter)).parameters
    except ValueError:  # callables of C have no signature
        return False
