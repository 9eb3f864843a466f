"""LatentMove: a jitter with its gain, called so that the same draw gives the same move."""

import inspect
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

from .jitter import Jitter, at_defaults, needs_bank, traits_of
from .pool import LatentBank
from .seeding import global_seed
from .strength import bank_images, gain_name, prior_images, solve_gain
from .vae import Codec


class LatentMove:
    """A jitter and the factor on its displacement.

    No module, so that a jitter that is one is not registered in the transform that holds this.

    Args:
        jitter: any callable `(mean, std) -> z`, see `vae_augment.jitter`, or the classes that a fit knows.
        gain: factor at strength 1.
    """

    def __init__(self, jitter: Jitter, gain: float) -> None:
        self.jitter, self.gain = jitter, gain
        self.traits = traits_of(jitter)
        self._takes_generator = _takes_generator(jitter)

    @classmethod
    def of(
        cls, jitter: Jitter, gain: float | None, vae: Codec, bank: LatentBank | None, gains: Mapping[str, float]
    ) -> Self:
        """The jitter with the bank it needs. A gain of None is the stored one of `gains`, else it is solved.

        A jitter that is not calibrated has gain 1.

        Raises:
            TypeError: the jitter is not callable.
            ValueError: it needs a bank, and there is none.
        """
        if not callable(jitter):
            raise TypeError(f"jitter must be a callable (mean, std) -> z, got {jitter!r}")
        traits, whitened = traits_of(jitter), None if bank is None else bank.whitened(vae)
        needy: Any = jitter
        if needs_bank(jitter) and needy.bank is None:
            if whitened is None:
                raise ValueError(f"{jitter!r} needs a bank of latents, and these weights have none")
            jitter = needy.with_bank(whitened)
        if gain is None and traits.is_calibrated:
            gain = gains.get(gain_name(jitter))
            if gain is None:
                images = prior_images(vae) if whitened is None else bank_images(vae, whitened)
                gain = solve_gain(vae, at_defaults(jitter), images)
        return cls(jitter, 1.0 if gain is None else gain)

    def target(self, mean: Tensor, std: Tensor | None, seed: int) -> Tensor:
        """Whitened posteriors, `std` only if it is read -> the latents that the jitter returns.

        Raises:
            ValueError: a jitter of one's own returned no finite latents of the shape of `mean`.
        """
        if not self.traits.is_checked:
            return self.jitter(mean, std, generator=torch.Generator().manual_seed(seed))
        return self._checked(mean, std, seed)

    @torch.no_grad()
    def _checked(self, before: Tensor, std: Tensor | None, seed: int) -> Tensor:
        # a jitter may work in place, and view its arguments
        mean, std = (None if x is None else x.clone(memory_format=torch.contiguous_format) for x in (before, std))
        if self._takes_generator:
            z = self.jitter(mean, std, generator=torch.Generator().manual_seed(seed))
        else:
            with global_seed(seed):
                z = self.jitter(mean, std)
        if not isinstance(z, Tensor) or z.shape != before.shape:
            got = tuple(z.shape) if isinstance(z, Tensor) else type(z).__name__
            raise ValueError(
                f"jitter must return z of the shape of mean, {tuple(before.shape)}, got {got}: {self.jitter!r}"
            )
        if not z.isfinite().all():
            raise ValueError(f"jitter returned latents that are not finite: {self.jitter!r}")
        return z.to(before)


def _takes_generator(jitter: Jitter) -> bool:
    try:
        return "generator" in inspect.signature(getattr(jitter, "forward", jitter)).parameters
    except ValueError:  # callables of C have no signature
        return False
