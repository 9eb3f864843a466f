"""PoolLabels: which image of a pool got which label, how surely, and which are kept to draw samples from."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from .images import spread_places

UNREACHED = -1  # the class of an image that no label reached
USUAL_POWER = 3.0  # that makes distributions of scores, where no accuracy is known
LARGEST_POWER = 16.0
CHUNK = 65_536  # images at a time


@dataclass(frozen=True, eq=False)
class PoolLabels:
    """K images of a pool, with the labels that a fit spread to them; `VAEAugment.pool_labels` returns those of all it reached.

    Args:
        place: int64 `(K,)`, ascending: the images' places in the bank.
        target: int64 `(K,)`: their classes, as places in `classes`.
        distribution: float32 `(K, C)`: how likely each class is, rows that sum to 1.
        is_kept: bool `(K,)`: which of them samples are drawn from, the surest of each class.
        classes: labels of the classes, integers or strings, sorted.

    Example:
        >>> from vae_augment import VAEAugment
        >>> from vae_augment.demo_data import fashion_sample
        >>> images, labels = fashion_sample()
        >>> found = VAEAugment.from_pretrained("fashion-mnist").fit(images[:100], labels[:100]).pool_labels()
        >>> found.distribution.shape[1], found.label[0] in found.classes, len(found.kept()) < len(found)
        (10, True, True)
    """

    place: Tensor
    target: Tensor
    distribution: Tensor
    is_kept: Tensor
    classes: tuple[int | str, ...]
    _index: Tensor | None = field(default=None, repr=False)

    @property
    def index(self) -> Tensor:
        """int64 `(K,)`: the images' places among those that `LatentBank.from_images` was given.

        Raises:
            ValueError: the bank does not know them, as one of an earlier version, or one that came with weights.
        """
        if self._index is None:
            raise ValueError(
                "this bank does not know which images it was made of: it came with weights, or is of an earlier version. "
                "Make one of your images, bank=LatentBank.from_images(vae, images); `place` has their places in the bank"
            )
        return self._index

    @property
    def confidence(self) -> Tensor:
        """float32 `(K,)`: how likely its label is."""
        return self.distribution.gather(1, self.target[:, None])[:, 0]

    @property
    def label(self) -> list[int | str]:
        """The images' labels, K of them."""
        return [self.classes[c] for c in self.target.tolist()]

    def kept(self) -> Self:
        """Those that samples are drawn from."""
        chosen = self.is_kept
        return replace(
            self,
            place=self.place[chosen],
            target=self.target[chosen],
            distribution=self.distribution[chosen],
            is_kept=chosen[chosen],
            _index=None if self._index is None else self._index[chosen],
        )

    def __len__(self) -> int:
        return len(self.place)

    def __repr__(self) -> str:
        return f"PoolLabels({len(self)} images of {len(self.classes)} classes, {int(self.is_kept.sum())} kept)"


@dataclass(frozen=True, eq=False)
class Spread:
    """What a fit keeps of the labels that it spread over a pool of N, in a few bytes an image.

    Args:
        distribution: float16 `(N, C)`.
        target: int16 `(N,)`: the class, -1 where no label arrived.
        is_kept: bool `(N,)`.
        index: the bank's.
    """

    distribution: Tensor
    target: Tensor
    is_kept: Tensor
    index: Tensor | None

    @classmethod
    def of(cls, scores: Tensor, members: Sequence[Tensor], index: Tensor | None, accuracy: float | None) -> Self:
        """Of what a query says.

        Args:
            scores: float32 `(N, C)`, see `Query.scores`.
            members: for each class the places from which samples are drawn.
            index: the bank's.
            accuracy: part of the labels that are right, by cross-validation; None if it is not known.
        """
        confidence, target = scores.max(1)
        is_kept = torch.zeros(len(scores), dtype=torch.bool)
        is_kept[torch.cat(list(members))] = True
        return cls(
            distribution_of(scores, accuracy).half(),
            target.masked_fill(confidence <= 0, UNREACHED).short(),
            is_kept,
            index,
        )

    def labels(self, classes: tuple[int | str, ...]) -> PoolLabels:
        """The images that a label reached."""
        place = (self.target != UNREACHED).nonzero()[:, 0]
        rows = self.distribution[place].float()
        return PoolLabels(
            place,
            self.target[place].long(),
            rows / rows.sum(1, keepdim=True),
            self.is_kept[place],
            classes,
            None if self.index is None else self.index[place].long(),
        )


def distribution_of(scores: Tensor, accuracy: float | None) -> Tensor:
    """Scores, some of which may be below 0 -> float16 rows that sum to 1, or are 0 where no score is above it.

    Labels that have travelled far are mixed with those of all classes: the scores know which class is likeliest, and not how
    likely. So they are raised to the power at which the mean confidence is the accuracy that cross-validation found, as
    temperature scaling does (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017).

    Args:
        scores: float32 `(N, C)`.
        accuracy: in [0, 1]; None: unknown.
    """
    power = power_of(scores, accuracy)
    return torch.cat([_rows_of_sum_1(_positive(part).pow(power)).half() for part in scores.split(CHUNK)])


def power_of(scores: Tensor, accuracy: float | None) -> float:
    """The power that makes distributions of scores; of a large pool some images say it."""
    positive = _positive(scores if len(scores) <= CHUNK else scores[spread_places(len(scores), CHUNK)])
    reached = positive[positive.amax(1) > 0]
    if accuracy is None or not len(reached):
        return USUAL_POWER
    low, high = 1 / LARGEST_POWER, LARGEST_POWER
    for _ in range(12):
        power = (low * high) ** 0.5
        confidence = float(_rows_of_sum_1(reached.pow(power)).amax(1).mean())
        low, high = (power, high) if confidence < accuracy else (low, power)
    return float((low * high) ** 0.5)


def _positive(scores: Tensor) -> Tensor:
    """Scores as parts of the largest of each row, those below 0 as 0."""
    return scores.clamp_min(0) / scores.amax(1, keepdim=True).clamp_min(1e-12)


def _rows_of_sum_1(rows: Tensor) -> Tensor:
    return rows / rows.sum(1, keepdim=True).clamp_min(1e-12)
