"""What a report says: five words, each with figures and pictures, and one verdict."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

Status = Literal["ok", "look", "bad", "not judged"]
Verdict = Literal["use", "look", "do not use"]
WORDS = ("unrealistic", "unvaried", "copied", "missing", "label truth")


@dataclass(frozen=True)
class Score:
    """One figure, with what real images have in its place.

    Args:
        name: as the field has it.
        value: of the synthetic images, nan if there is none.
        low, high: between which it lies: an interval, or least and largest of several draws; None: not known.
        real_low, real_high: between which that of real images lies.
        reading: how to read it, a sentence or two.
        is_part: whether it is a part of 1, printed in per cent.
    """

    name: str
    value: float
    reading: str
    low: float | None = None
    high: float | None = None
    real_low: float | None = None
    real_high: float | None = None
    is_part: bool = False

    def text(self, value: float | None) -> str:
        """A value of this figure, as a person reads it."""
        if value is None or math.isnan(value):
            return "not known"
        if self.is_part:
            return f"{100 * value:.1f} %"
        return (
            f"{value:.0f}"
            if abs(value) >= 100
            else f"{value:.2f}"
            if abs(value) >= 0.1 or not value
            else f"{value:.4f}"
        )


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images side by side, uint8 `(C, S, S)`, and what they are."""

    first: Tensor
    second: Tensor | None
    caption: str


@dataclass(frozen=True, eq=False)
class Word:
    """One of the five words.

    Args:
        name: one of `WORDS`.
        status: "ok"; "look": something a person should look at; "bad": do not use them so; "not judged", and why.
        sentence: what was found.
        scores: the figures.
        pairs_title: what the pairs of images are.
        pairs: the worst examples, the worst first.
        details: what programs may want besides: lists of indices, figures by class; JSON.
    """

    name: str
    status: Status
    sentence: str
    scores: tuple[Score, ...] = ()
    pairs_title: str = ""
    pairs: tuple[Pair, ...] = ()
    details: Mapping[str, Any] | None = None

    @property
    def is_flagged(self) -> bool:
        return self.status in ("look", "bad")


@dataclass(frozen=True, eq=False)
class Taught:
    """Accuracy on held-out images of a classifier that a set has taught, with its standard error.

    Args:
        by, images: "real", "synthetic" or "both", and how many they were.
        accuracy, error: nan if they are not told.
        untold: why not.
    """

    by: str
    images: int
    accuracy: float
    error: float
    untold: str = ""

    @property
    def text(self) -> str:
        """The accuracy with its 95 % interval, or why it is not told."""
        return self.untold or f"{100 * self.accuracy:.1f} +- {196 * self.error:.1f} %"


@dataclass(frozen=True, eq=False)
class Findings:
    """What is known of synthetic images.

    Args:
        verdict, reason: use, look or do not use, and why.
        words: the five.
        taught: classifiers taught by the real images, the synthetic ones and both.
        features: what images were compared by.
        counts: images of each set.
        classes: their names.
        notes: how the sets were read.
        plots: name -> numbers that the page draws.
    """

    verdict: Verdict
    reason: str
    words: tuple[Word, ...]
    taught: tuple[Taught, ...]
    features: str
    counts: Mapping[str, int]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    plots: Mapping[str, Any]

    @property
    def flagged(self) -> tuple[str, ...]:
        """The words in which something was found."""
        return tuple(word.name for word in self.words if word.is_flagged)

    def word(self, name: str) -> Word:
        """The word of this name."""
        return next(word for word in self.words if word.name == name)

    def __str__(self) -> str:
        lines = [f"{self.verdict}: {self.reason}"]
        lines += [f"  {word.name:<12}{word.status:<12}{word.sentence}" for word in self.words]
        for lesson in self.taught:
            right = "" if lesson.untold else " of held-out images right"
            lines.append(f"  taught by {lesson.by + ',':<11}{lesson.images:>7,} images: {lesson.text}{right}")
        return "\n".join(lines)

    def to_json(self) -> str:
        """All figures, without pictures. A value that is not known is null."""
        return json.dumps(_plain(self._as_dict()), indent=1, allow_nan=False) + "\n"

    def _as_dict(self) -> dict[str, Any]:
        return {
            "format_version": 1,
            "verdict": self.verdict,
            "reason": self.reason,
            "flagged": list(self.flagged),
            "words": {
                word.name: {
                    "status": word.status,
                    "sentence": word.sentence,
                    "scores": {
                        score.name: {
                            "value": score.value,
                            "interval": [score.low, score.high],
                            "real": [score.real_low, score.real_high],
                        }
                        for score in word.scores
                    },
                    **(word.details or {}),
                }
                for word in self.words
            },
            "taught": {
                lesson.by: {
                    "images": lesson.images,
                    "accuracy": lesson.accuracy,
                    "error": lesson.error,
                    **({"untold": lesson.untold} if lesson.untold else {}),
                }
                for lesson in self.taught
            },
            "features": self.features,
            "images": dict(self.counts),
            "classes": list(self.classes),
            "notes": list(self.notes),
        }


def _plain(value: Any) -> Any:
    """What JSON knows: floats of six digits, nan as None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
