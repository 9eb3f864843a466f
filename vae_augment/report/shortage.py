"""Which images are too few to compare, of which classes, and of which more would do."""

from collections.abc import Sequence
from itertools import combinations

from torch import Tensor

from .comparison import LEAST_MATCHED, Features3, available

LEAST_TOLD = 40  # distinct synthetic images, of fewer nothing more is said
MOST_NAMED = 10  # classes that a sentence names
KINDS = ("synthetic images", "held-out images", "training images")  # as `available` has them
BY_RATIO = "generate --ratio 1 makes as many of each class as there are real ones."


def shortage(sets: Features3, classes: Sequence[str]) -> str:
    """Say what is too few where `compare` had too little, though distinct synthetic images are `LEAST_TOLD` and more.

    More are wanted of one kind, or of another; where neither would do, of two. Two always do, as the synthetic ones are enough.
    """
    have = available(sets, len(classes))
    wanted = ", or ".join(_ways(sets, have, classes, 1) or _ways(sets, have, classes, 2)[:1])
    return (
        f"Too few images to compare, {int(have.amin(0).sum())} where {LEAST_MATCHED} are needed: of each class as many count as "
        f"the fewest of synthetic, training and half of the held-out ones. More {wanted} would do."
        + (f" {BY_RATIO}" if KINDS[0] in wanted else "")
    )


def _ways(sets: Features3, have: Tensor, classes: Sequence[str], count: int) -> list[str]:
    """Each choice of so many kinds of which more would do, with the classes that have too few."""
    ways = []
    for short in combinations(range(len(KINDS)), count):
        others = have[[kind for kind in range(len(KINDS)) if kind not in short]].amin(0)
        if others.sum() >= LEAST_MATCHED:
            ways.append(" and ".join(_more(sets, kind, classes, have[kind] < others) for kind in short))
    return ways


def _more(sets: Features3, kind: int, classes: Sequence[str], is_short: Tensor) -> str:
    """Images of a kind, of some classes, with how many of each were given."""
    labels = (sets.synthetic, sets.held_out, sets.training)[kind][1]
    counts = labels.bincount(minlength=len(classes)).tolist()
    return f"{KINDS[kind]} of {listed([f'{classes[c]} ({counts[c]:,})' for c in is_short.nonzero()[:, 0].tolist()])}"


def listed(texts: list[str]) -> str:
    """Some of these, each on one line: a folder's name may hold several."""
    return ", ".join(" ".join(text.split()) for text in texts[:MOST_NAMED]) + (
        f" and {len(texts) - MOST_NAMED:,} more" if len(texts) > MOST_NAMED else ""
    )
