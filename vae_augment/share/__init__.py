"""Which share of synthetic samples: ratios compared by cross-validation on labelled images."""

import logging
import math
import statistics
import time
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator

from ..images import ImageKey, LabelAt, untransformed_reader
from ..progress import progress
from ..seeding import global_seed
from ..transform import VAEAugment
from ..user_warning import warn
from .report import RatioReport, Tried, choice, usual_ratio
from .validation import Fold, Labelled, MakeSamples, judge_fold

__all__ = [
    "RATIOS",
    "SECONDS",
    "RatioReport",
    "Tried",
    "check_unfitted",
    "choice",
    "choose_ratio",
    "usual_ratio",
]

RATIOS = (0.0, 0.5, 1.0, 2.0, 4.0)
SECONDS = 60.0
STEPS, FOLDS = 200, 5

log = logging.getLogger("vae_augment")


def choose_ratio(
    base: Any,
    make: MakeSamples,
    *,
    labels: LabelAt = None,
    image_key: ImageKey = None,
    ratios: Sequence[float] = RATIOS,
    seconds: float = SECONDS,
    steps: int = STEPS,
    seed: int = 0,
) -> RatioReport:
    """Choose how many synthetic samples to add to each real one, by cross-validation on labelled images alone.

    Labelled images are held out in five folds. Of the others, `make` makes samples, with a fit that has not seen those held out.
    For each ratio a small convolutional network is trained on real images and samples under RandAugment, in equal steps, and
    gives probabilities to the labels held out. Their logarithms are compared image by image: they tell more of few images than
    right and wrong do (a proper score, Gneiting & Raftery, JASA 2007). See `report.choice` for the rule.

    Args:
        base: a map-style data set of labelled images.
        make: it, or a part of it, a `Subset`, -> a `SyntheticDataset` of that with ratio 1.
        labels, image_key: as of `SyntheticDataset`.
        ratios: what is tried; 0 is tried in any case.
        seconds: after which no further fold is begun; the first always is.
        steps: of training, 32 images each.
        seed: of folds, networks and samples. Equal seeds choose the same, unless time ran out.

    Raises:
        ValueError: there are no labels, not two classes, or none of two images.
    """
    started = time.monotonic()
    ratios = check_ratios(ratios)
    reader = untransformed_reader(base, on_copies=True, image_key=image_key)
    labelled = Labelled.read(reader, len(base), labels)
    folds = labelled.folds(FOLDS, Generator().manual_seed(seed))
    with warnings.catch_warnings(), global_seed(seed):
        warnings.simplefilter("ignore")  # the data set itself will tell the same
        spread = spreads(make(base).augment)  # of all labels: in a fold too few may be left to tell
    judged: list[Fold] = []
    for number, held in enumerate(progress(folds, "choose the ratio", unit="fold")):
        spent = time.monotonic() - started
        if number and spent + spent / number > seconds:
            break
        fold_seed = seed * len(folds) + number
        judged.append(judge_fold(base, reader, labelled, held, make, ratios, steps, fold_seed))
    per_class = statistics.median(torch.bincount(labelled.targets).tolist()) * len(base) / len(labelled.targets)
    report = RatioReport.of(
        ratios,
        torch.cat([fold.right for fold in judged], 1).double(),
        torch.cat([fold.score for fold in judged], 1).double(),
        usual_ratio(per_class, spread),
        labelled=len(base),
        folds=len(judged),
        of_folds=len(folds),
        steps=steps,
        seconds=time.monotonic() - started,
        limit=seconds,
    )
    tell(report)
    return report


def check_unfitted(augment: Any) -> None:
    """Raises ValueError for a transform that was fitted before: it may have seen the labels that are held out."""
    if isinstance(augment, VAEAugment) and augment.classes is not None:
        raise ValueError(
            "ratio='auto' fits to parts of base, and augment was fitted before, maybe to labels that it would hold out: pass one "
            "that was not fitted, or give ratio a number"
        )


def check_ratios(ratios: Sequence[float]) -> list[float]:
    """Sorted, with 0 among them. Raises ValueError for what are no ratios."""
    if bad := [ratio for ratio in ratios if not 0 <= ratio < math.inf]:
        raise ValueError(f"ratios must be numbers of at least 0, synthetic samples per real one, got {bad[0]!r}")
    return sorted({0.0, *map(float, ratios)})


def spreads(augment: Any) -> bool:
    """Whether samples are of a pool over which the labels of a fit spread."""
    report = augment.fit_report if isinstance(augment, VAEAugment) else None
    return report is not None and any(report.kept.values())


def tell(report: RatioReport) -> None:
    """One line for the log; a warning where no samples are added, or time ran out."""
    log.info("ratio='auto' chose %g: %s (%.0f s)", report.ratio, report.why, report.seconds)
    if report.ratio == 0:
        warn(f"ratio='auto' chose 0, no synthetic samples: {report.why}")
    if report.stopped_by_time:
        warn(
            f"ratio='auto' judged {report.folds} of {report.of_folds} folds in its {report.limit:g} seconds: another run may "
            "choose otherwise",
        )
