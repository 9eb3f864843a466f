"""A report, from sets of images to words."""

import math
from typing import Any

import torch

from ..numerics import float32_on_cpu
from . import words
from .facts import Facts, measure
from .judging import Lesson
from .report import Report
from .result import Taught, Verdict, Word
from .sets import Sets

# points of accuracy by which training on both must fall behind training on the real images alone to be held against them: two
# trainings on the same images differ by one or two
HARM = 0.03


@float32_on_cpu()
def make_report(sets: Sets, *, features: Any = None, seed: int = 0, show: bool = True) -> Report:
    """Compare synthetic images with real ones, and say in five words what is wrong with them.

    Args:
        sets: training, held-out and synthetic images.
        features: what images are compared by: an `Encoder`, a name of `load_encoder`, or a function of float32 images
            `(B, C, S, S)` in [0, 1] that returns `(B, D)`. None: a small classifier, trained here on the real images.
        seed: of all chance.
        show: a bar on a terminal.

    Raises:
        ValueError: a library of the extra is not installed.

    Example:
        >>> from vae_augment.demo_data import fashion_sample
        >>> from vae_augment.report import ImageSet
        >>> images, labels = fashion_sample()
        >>> parts = [ImageSet(images[i::3], labels[i::3]) for i in range(3)]
        >>> names = [str(c) for c in range(10)]
        >>> report = make_report(Sets.of((parts[0], names), (parts[0], names), (parts[1], names)))
        >>> report.verdict, report.flagged
        ('do not use', ('copied',))
    """
    _check_installed()
    facts = measure(sets, features, seed, show)
    found = tuple(
        word(facts) for word in (words.unrealistic, words.unvaried, words.copied, words.missing, words.label_truth)
    )
    taught = tuple(_taught(lesson, facts) for lesson in facts.lessons)
    verdict, reason = _verdict(found, facts)
    counts = {name: len(getattr(sets, name)) for name in ("training", "held_out", "synthetic")}
    return Report(verdict, reason, found, taught, facts.features.name, counts, sets.classes, sets.notes, _plots(facts))


def _check_installed() -> None:
    try:
        import sklearn  # noqa: F401
        import torchmetrics  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"a report needs {error.name or 'more libraries'}: pip install 'vae-augment[report]' ({error})"
        ) from None


def _taught(lesson: Lesson, facts: Facts) -> Taught:
    """What a set taught; not of one that lacks classes, of which its classifier can know nothing."""
    if lesson.taught_by == "synthetic" and (lacking := words.lacking(facts)):
        untold = f"not told, as classes are missing: {lacking}"
        return Taught(lesson.taught_by, lesson.images, math.nan, math.nan, untold)
    return Taught(lesson.taught_by, lesson.images, lesson.accuracy, lesson.error)


def _verdict(found: tuple[Word, ...], facts: Facts) -> tuple[Verdict, str]:
    real, _, both = facts.lessons
    gain = (
        f"A classifier taught by real images alone gets {100 * real.accuracy:.1f} % of held-out ones right, by both "
        f"{100 * both.accuracy:.1f} %."
    )
    verdicts: tuple[tuple[str, Verdict], ...] = (("bad", "do not use"), ("look", "look"), ("not judged", "look"))
    for status, verdict in verdicts:
        if those := [word for word in found if word.status == status]:
            names = ", ".join(word.name for word in those)
            return verdict, f"{names.capitalize()}: {those[0].sentence} {gain}"
    if real.accuracy - both.accuracy > HARM and real.accuracy - both.accuracy > 2 * both.error:
        return "look", f"No word is flagged, and yet they do harm. {gain}"
    return "use", f"No word is flagged. {gain}"


def _plots(facts: Facts) -> dict[str, Any]:
    """Numbers that the page draws."""
    copies, classes = facts.copies, len(facts.sets.classes)
    ratios = {
        "synthetic, to training images": copies.to_training.ratio,
        "held-out, to training images": copies.unseen.ratio,
        "synthetic, to held-out images": copies.to_held_out.ratio,
    }
    recall = torch.full((3, classes), torch.nan)
    if facts.trials:
        recall = torch.stack([torch.stack([t[kind].recall for t in facts.trials]).mean(0) for kind in range(3)])
    return {
        "ratios": {name: _histogram(values) for name, values in ratios.items()},
        "recall": recall.tolist(),
        "shares": [(s.counts(classes) / max(1, len(s))).tolist() for s in (facts.sets.synthetic, facts.sets.training)],
        "confusion": facts.truth.confusion.tolist(),
    }


LARGEST_RATIO, BINS = 3.0, 30  # of histograms


def _histogram(ratios: torch.Tensor) -> list[float]:
    counts = torch.histc(ratios.clamp(0, LARGEST_RATIO), BINS, 0, LARGEST_RATIO)
    return (counts / counts.sum().clamp_min(1)).tolist()
