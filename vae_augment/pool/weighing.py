"""How heavily each view votes: by how many labels it carries rightly that were held out."""

import math
from collections.abc import Sequence

from .label_spreading import HeldOut

RATE = 0.2  # by how much a label more that is right raises the logarithm of a view's weight
STANDARD_ERRORS = 3.0  # above guessing, from which a linear classifier votes
LEAST_WEIGHT = 0.05  # of a vote that counts, as a part of all


def vote_weights(held: HeldOut, prior: Sequence[float]) -> list[float]:
    """Weights of the views, which sum to 1: their own ones, times `exp(RATE * labels right)`; 0 where that is next to nothing.

    So views that differ by a label or two, as by chance, keep about their own weights, and one that differs by many has none
    (exponential weights: Littlestone & Warmuth, "The Weighted Majority Algorithm", 1994).

    Args:
        held: labels held out, see `HeldOut`.
        prior: the views' own weights.
    """
    right = [len(held.own) * accuracy for accuracy in held.accuracies()]
    most = max(right)
    weights = [own * math.exp(RATE * (count - most)) for own, count in zip(prior, right, strict=True)]
    counted = [weight if weight >= LEAST_WEIGHT * sum(weights) else 0.0 for weight in weights]
    return [weight / sum(counted) for weight in counted]


def linear_vote(held: HeldOut, weights: Sequence[float], accuracy: float, classes: int) -> float:
    """The vote of a linear classifier beside that of all views, 1: by as many labels as it is right less often, it has less.

    It has none unless it is right more often than guessing by three standard errors: of two classes with three labels each, noise
    is right for five in six by chance.

    Args:
        held: labels held out, as the views say them.
        weights: those of the views.
        accuracy: the classifier's.
    """
    chance = 1 / classes
    if accuracy <= chance + STANDARD_ERRORS * math.sqrt(chance * (1 - chance) / len(held.own)):
        return 0.0
    less = held.accuracy(weights) - accuracy
    return math.exp(-RATE * len(held.own) * less) if less > 0 else 1.0
