"""How heavily each view votes: by how many labels it carries rightly that were held out."""

import math
from collections.abc import Sequence

from .label_spreading import HeldOut

RATE = 0.3  # by how much a label more that is right raises the logarithm of a view's weight


def vote_weights(held: HeldOut, prior: Sequence[float]) -> list[float]:
    """Weights of the views, which sum to 1: their own ones, times `exp(RATE * labels right)`.

    So views that differ by a label or two, as by chance, keep about their own weights, and one that differs by many has none
    (exponential weights: Littlestone & Warmuth, "The Weighted Majority Algorithm", 1994).

    Args:
        held: labels held out, see `HeldOut`.
        prior: the views' own weights.
    """
    alone = [[float(view == each) for view in range(len(prior))] for each in range(len(prior))]
    right = [len(held.own) * held.accuracy(weights) for weights in alone]
    most = max(right)
    weights = [own * math.exp(RATE * (count - most)) for own, count in zip(prior, right, strict=True)]
    return [weight / sum(weights) for weight in weights]
