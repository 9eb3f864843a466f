"""Synthetic images, training images and one half of the held-out ones, each compared with the other half, many times.

What real images score in the place of synthetic ones, as many and of the same classes, is the yardstick of each measure: no
threshold has to know how hard the images are, how good the features, or how few there are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .diversity import gaussian_kernel, vendi_score
from .frechet import DIMENSIONS, fid_and_kid
from .manifold import covered, density, inside, radii

TRIALS = 8
LARGEST_HALF = 600  # images: distances of all to all, which more would make no surer than `TRIALS` draws do
LEAST_MATCHED = 40  # images of each kind in a trial; with fewer nothing is judged
LEAST_OF_CLASS = 4  # images, of which a Vendi score is taken


class Measured(NamedTuple):
    """One set beside a half of the held-out images. Tensors have a value for each class, nan where there is none."""

    precision: float
    density: float
    recall: Tensor
    coverage: Tensor
    vendi: Tensor
    fid: float
    kid: float


class Trial(NamedTuple):
    synthetic: Measured
    held_out: Measured
    training: Measured


@dataclass(frozen=True)
class Figure:
    """A measure of the synthetic images beside that of real ones.

    Args:
        value, low, high: of the synthetic images: mean, least and largest over trials.
        real, real_low, real_high: the same of real images in their place, of both kinds.
        ratio: mean over trials of their value, as a part of the lower of both kinds of real images.
        spread: standard deviation over trials of the ratio of one kind of real images to the other.
    """

    value: float
    low: float
    high: float
    real: float
    real_low: float
    real_high: float
    ratio: float
    spread: float


def figure(trials: list[Trial], get: Callable[[Measured], Tensor | float]) -> Figure:
    """Sum up one measure, the mean over classes if it has a value for each."""
    s, h, r = (torch.tensor([_mean(get(t[kind])) for t in trials], dtype=torch.float64) for kind in range(3))
    real, worse = torch.cat([h, r]), torch.minimum(h, r).clamp_min(1e-9)
    spread = float((h / r.clamp_min(1e-9)).std()) if len(trials) > 1 else 0.0
    ratio = float((s / worse).mean())
    mine, low, high = float(s.mean()), float(s.min()), float(s.max())
    return Figure(mine, low, high, float(real.mean()), float(real.min()), float(real.max()), ratio, spread)


def _mean(value: Tensor | float) -> float:
    return float(value.nanmean()) if isinstance(value, Tensor) else value


@dataclass(frozen=True, eq=False)
class Features3:
    """Features of the three sets and their classes: synthetic, held-out, training."""

    synthetic: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]
    training: tuple[Tensor, Tensor]


def available(sets: Features3, classes: int) -> Tensor:
    """Images of each class that each set has for a trial, int64 `(3, classes)`: synthetic, half of held-out, training ones."""
    synthetic, held_out, training = (
        labels.bincount(minlength=classes) for _, labels in (sets.synthetic, sets.held_out, sets.training)
    )
    return torch.stack([synthetic, held_out.clamp_max(_limit(classes)) // 2, training])


def _limit(classes: int) -> int:
    """Held-out images of a class, both halves together: each has one at least, however many classes there are."""
    return max(2, 2 * LARGEST_HALF // classes)


def compare(sets: Features3, axes: Tensor, classes: int, seed: int) -> list[Trial]:
    """Draw `TRIALS` halves of the held-out images, and compare the other half, and as many of the other sets, with each.

    Of each class all three have as many images as the smallest; a class that one lacks is left out. The list is empty if these
    are fewer than `LEAST_MATCHED`.
    """
    generator = torch.Generator().manual_seed(seed)
    trials = []
    kinds = (sets.synthetic, sets.held_out, sets.training)
    counts = available(sets, classes).amin(0).tolist()
    if sum(counts) < LEAST_MATCHED:
        return []
    for _ in range(TRIALS):
        reference_places: list[Tensor] = []
        picks: list[list[Tensor]] = [[], [], []]
        for c in range(classes):
            mine = [_shuffled((labels == c).nonzero()[:, 0], generator) for _, labels in kinds]
            first, second = mine[1][: _limit(classes)].tensor_split(2)
            if not counts[c]:
                continue
            reference_places.append(first)
            for kept, place in zip(picks, (mine[0], second, mine[2]), strict=True):
                kept.append(place[: counts[c]])
        reference = torch.cat(reference_places)
        pool = Reference.of(sets.held_out[0][reference], sets.held_out[1][reference], axes, classes)
        found = [
            pool.measure(features[torch.cat(kept)], labels[torch.cat(kept)])
            for (features, labels), kept in zip(kinds, picks, strict=True)
        ]
        trials.append(Trial(*found))
    return trials


def _shuffled(places: Tensor, generator: torch.Generator) -> Tensor:
    return places[torch.randperm(len(places), generator=generator)]


@dataclass(frozen=True, eq=False)
class Reference:
    """A half of the held-out images, with which the others are compared."""

    features: Tensor
    labels: Tensor
    radius: Tensor
    widths: list[float]  # of the kernel, for each class
    axes: Tensor

    @classmethod
    def of(cls, features: Tensor, labels: Tensor, axes: Tensor, classes: int) -> "Reference":
        widths = []
        for c in range(classes):
            mine = features[labels == c]
            # half the usual distance of two images of the class: the kernel then tells such apart
            widths.append(float(torch.pdist(mine).median()) / 2 if len(mine) > 1 else torch.nan)
        return cls(features, labels, radii(features), widths, axes)

    def measure(self, features: Tensor, labels: Tensor) -> Measured:
        """Compare images, features `(N, D)` and classes `(N,)`, with these."""
        own = radii(features)
        fid, kid = fid_and_kid(features @ self.axes[:, :DIMENSIONS], self.features @ self.axes[:, :DIMENSIONS])
        return Measured(
            float(inside(features, self.features, self.radius).float().mean()),
            density(features, self.features, self.radius),
            self._by_class(inside(self.features, features, own)),
            self._by_class(covered(features, self.features, self.radius)),
            torch.tensor([self._vendi(features[labels == c], c) for c in range(len(self.widths))]),
            fid,
            kid,
        )

    def _by_class(self, hits: Tensor) -> Tensor:
        return torch.stack([hits[self.labels == c].float().mean() for c in range(len(self.widths))])

    def _vendi(self, features: Tensor, c: int) -> float:
        if len(features) < LEAST_OF_CLASS or not self.widths[c] > 0:
            return torch.nan
        return vendi_score(gaussian_kernel(features, self.widths[c]))
