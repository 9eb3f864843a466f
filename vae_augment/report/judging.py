"""Classifiers that tell what the synthetic images teach, and whether they show what their labels say."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .network import Network, probabilities
from .sets import ImageSet

MOST_JUDGED = 2000  # images of a set that a classifier is asked about


@dataclass(frozen=True, eq=False)
class Lesson:
    """How a classifier that one set taught does on held-out images.

    Args:
        taught_by: "real", "synthetic" or "both".
        images: how many taught it.
        right: of each held-out image, whether it told its class, bool `(M,)`.
    """

    taught_by: str
    images: int
    right: Tensor

    @property
    def accuracy(self) -> float:
        return float(self.right.float().mean())

    @property
    def error(self) -> float:
        """Standard error of the accuracy, of the draw of held-out images; a training's own chance is not in it."""
        return float((self.accuracy * (1 - self.accuracy) / len(self.right)) ** 0.5)


@dataclass(frozen=True, eq=False)
class LabelTruth:
    """What a classifier of the real images says of the synthetic labels.

    Args:
        agreement: part of the synthetic images whose label it tells.
        expected: part of held-out images of which it does, of the same classes.
        wrong, error: part of the labels that are wrong, as both say, and its standard error.
        confusion: `(classes, classes)`: of the images labelled so (row), the part that it takes for that (column).
        told, confidence: the class that it tells of each synthetic image, int64 `(N,)`, and how surely.
    """

    agreement: float
    expected: float
    wrong: float
    error: float
    confusion: Tensor
    told: Tensor
    confidence: Tensor


def lesson(network: Network, taught_by: str, images: int, held_out: ImageSet) -> Lesson:
    return Lesson(taught_by, images, probabilities(network, held_out.images).argmax(1) == held_out.labels)


def label_truth(judge: Network, synthetic: ImageSet, held_out: ImageSet, classes: int) -> LabelTruth:
    """Ask a judge that has seen neither set.

    If w of the labels are wrong, and the judge errs evenly, it agrees with `(1 - w) * expected + w * chance` of them, which
    gives w. Held-out images are weighted so that their classes are as frequent as the synthetic ones'.
    """
    confidence, told = probabilities(judge, synthetic.images).max(1)
    right = probabilities(judge, held_out.images).argmax(1) == held_out.labels
    shares = synthetic.counts(classes) / len(synthetic)
    counts = held_out.counts(classes)
    by_class = torch.zeros(classes).index_add(0, held_out.labels, right.float()) / counts.clamp_min(1)
    known = counts > 0
    expected = float((shares * by_class)[known].sum() / shares[known].sum().clamp_min(1e-9))
    agrees = (told == synthetic.labels)[known[synthetic.labels]].float()
    agreement = float(agrees.mean()) if len(agrees) else torch.nan
    chance = (1 - expected) / max(1, classes - 1)
    room = max(expected - chance, 1e-3)
    variance = agreement * (1 - agreement) / max(1, len(agrees))
    variance += float((shares.square() * by_class * (1 - by_class) / counts.clamp_min(1))[known].sum())
    confusion = torch.zeros(classes, classes).index_put(
        (synthetic.labels, told), torch.ones(len(told)), accumulate=True
    )
    confusion /= confusion.sum(1, keepdim=True).clamp_min(1)
    return LabelTruth(
        agreement, expected, (expected - agreement) / room, variance**0.5 / room, confusion, told, confidence
    )
