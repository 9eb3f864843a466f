"""RatioReport: which ratios were tried, how held-out labels fared, and which one is chosen for that."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor

CLEAR = 3.0  # standard errors that a gain must have where samples are not known to help
USUAL = ((10, 2.0), (50, 1.0), (200, 0.5))  # up to so many labels a class, where these spread over a pool


@dataclass(frozen=True)
class Tried:
    """How one ratio fared.

    Args:
        ratio: synthetic samples per real one.
        accuracy: part of the held-out labels that are told rightly.
        gain: of the logarithm of the probability that a label is given, mean over held-out images, over ratio 0; in nats.
        error: standard error of that mean, over images.
    """

    ratio: float
    accuracy: float
    gain: float
    error: float


@dataclass(frozen=True)
class RatioReport:
    """What `ratio="auto"` tried and chose; `print(dataset.ratio_report)` shows it.

    Args:
        ratio: the chosen one.
        tried: all ratios, the smallest first, which is 0.
        usual: the ratio that is expected to do best before any is tried: 0 where no labels spread over a pool.
        labelled, judged: labelled images that there are, and that were held out.
        folds, of_folds: how many folds were judged, of how many that were meant to.
        steps: of the training of each classifier.
        seconds: that it took; limit: that it might take.
        why: the reason for the choice, a sentence.
    """

    ratio: float
    tried: tuple[Tried, ...]
    usual: float
    labelled: int
    judged: int
    folds: int
    of_folds: int
    steps: int
    seconds: float
    limit: float
    why: str

    @classmethod
    def of(
        cls,
        ratios: Sequence[float],
        right: Tensor,
        score: Tensor,
        usual: float,
        labelled: int,
        folds: int,
        of_folds: int,
        steps: int,
        seconds: float,
        limit: float,
    ) -> Self:
        """Report on ratios by what classifiers said of held-out images.

        Args:
            right: part of the folds in which a label was told rightly, float64 `(ratios, J)`.
            score: the logarithm of the probability given to it, mean over these, float64 `(ratios, J)`.
        """
        place, why = choice(ratios, score, usual)
        gains = [mean_and_error(own - score[0]) for own in score]
        tried = [
            Tried(ratio, float(own.mean()), gain, error)
            for ratio, own, (gain, error) in zip(ratios, right, gains, strict=True)
        ]
        judged = score.shape[1]
        return cls(ratios[place], tuple(tried), usual, labelled, judged, folds, of_folds, steps, seconds, limit, why)

    @property
    def stopped_by_time(self) -> bool:
        """Whether folds were left out because the time was up: then another run may choose another ratio."""
        return self.folds < self.of_folds

    def __str__(self) -> str:
        lines = [
            f"ratio {self.ratio:g}: {self.why}",
            "  ratio  labels right  log-probability of labels, against ratio 0",
        ]
        for one in self.tried:
            against = "" if one.ratio == 0 else f"{one.gain:+.3f} +- {one.error:.3f}"
            lines.append(f"{one.ratio:7g}  {one.accuracy:12.1%}  {against}".rstrip())
        lines.append(
            f"{self.judged} of {self.labelled} labelled images, held out in {self.folds} of {self.of_folds} folds; "
            f"classifiers of {self.steps} steps; {self.seconds:.0f} s"
        )
        if self.stopped_by_time:
            lines.append(
                f"stopped by time, {self.limit:g} s: another run may choose otherwise; give it more, or a number"
            )
        return "\n".join(lines)


def usual_ratio(per_class: float, spreads: bool) -> float:
    """The ratio that did best on other data, for so many labels a class: 0 where these do not spread over a pool."""
    return next((ratio for most, ratio in USUAL if spreads and per_class <= most), 0.0)


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """The mean, and its standard error; that of one value is infinite."""
    error = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else math.inf
    return float(values.mean()), error


def choice(ratios: Sequence[float], score: Tensor, usual: float) -> tuple[int, str]:
    """The place of the ratio to take, and why.

    Where samples are expected to help, none are taken only if every ratio is worse than 0 by one standard error; elsewhere unless
    one is better by `CLEAR`. The usual ratio is taken unless the best is better by two standard errors of their difference; then,
    or where none is usual, the smallest that is as good as the best, within one.

    Args:
        ratios: 0 is the first.
        score: of each held-out image `(ratios, J)`, the higher the better.

    Example:
        >>> import torch
        >>> none, noise = torch.zeros(1, 50, dtype=torch.float64), torch.linspace(-1, 1, 50, dtype=torch.float64)[None]
        >>> choice([0, 1, 2], torch.cat([none, none + 0.5, none + 0.55 + noise]), usual=0)
        (1, 'samples clearly help; as good as the best, 2, within one standard error')
        >>> choice([0, 1], torch.cat([none, none + 0.1 + noise]), usual=0)
        (0, 'samples do not clearly help')
    """
    gains = [mean_and_error(own - score[0]) for own in score]
    asked = -1.0 if usual > 0 else CLEAR
    helps = [place for place, (gain, error) in enumerate(gains) if place and gain > asked * error]
    if not helps:
        return 0, "samples do not help" if usual > 0 else "samples do not clearly help"
    best = max(helps, key=lambda place: gains[place][0])

    def is_as_good(place: int, errors: float) -> bool:
        gap, error = mean_and_error(score[best] - score[place])
        return place == best or gap <= errors * error

    for place in helps:
        if ratios[place] == usual and is_as_good(place, 2):
            return place, "the usual one for so many labels; none is clearly better"
    chosen = next(place for place in helps if is_as_good(place, 1))
    why = "better than the usual one" if usual > 0 else "samples clearly help"
    return chosen, why if chosen == best else f"{why}; as good as the best, {ratios[best]:g}, within one standard error"
