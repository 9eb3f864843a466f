"""How many synthetic samples a data set gets, and which of its own each is made from."""

import heapq
import math
import sys
from collections.abc import Mapping, Sequence
from numbers import Real

import numpy as np
import torch
from numpy.typing import NDArray

Label = int | str


def synthetic_count(ratio: float | str, count: int) -> int:
    """How many samples to add to so many, `ratio` for each of them.

    Raises:
        ValueError: that is no number of samples.

    Example:
        >>> synthetic_count(0.5, 500)
        250
    """
    if isinstance(ratio, bool) or not isinstance(ratio, float | Real) or not 0 <= ratio < math.inf:
        raise ValueError(
            f'ratio must be a number of at least 0, synthetic samples per real one, or "auto", got {ratio!r}'
        )
    if not ratio * count <= sys.maxsize - count:
        raise ValueError(
            f"ratio={ratio!r} of {count} samples asks for more synthetic ones than can be counted: lower it"
        )
    return round(ratio * count)


def balanced_sources(labels: Sequence[Label], count: int) -> list[int]:
    """Sources of so many synthetic samples that fill the smallest classes first: places in `labels`.

    Each class takes its own samples in turn.

    Example:
        >>> balanced_sources(["rare", "other", "other", "other"], 4)
        [0, 0, 0, 1]
    """
    members = _members(labels)
    smallest = [(len(own), place) for place, own in enumerate(members.values())]
    return _filled(list(members.values()), smallest, count)


def sources_to_reach(labels: Sequence[Label], per_class: int) -> list[int]:
    """Sources of the synthetic samples by which each class comes to have so many, the smallest classes first.

    A class that has as many or more gets none.

    Example:
        >>> sources_to_reach(["rare", "other", "other"], 3)
        [0, 0, 1]
    """
    members = _members(labels)
    lacking = [(len(own), place) for place, own in enumerate(members.values()) if len(own) < per_class]
    return _filled(list(members.values()), lacking, sum(per_class - size for size, _ in lacking))


def sources_by_counts(labels: Sequence[Label], counts: Mapping[Label, int]) -> list[int]:
    """Sources of so many synthetic samples of each class, class by class.

    Raises:
        ValueError: no sample has such a label.

    Example:
        >>> sources_by_counts(["rare", "other", "other"], {"other": 3})
        [1, 2, 1]
    """
    members = _members(labels)
    if unknown := [label for label in counts if label not in members]:
        raise ValueError(f"no sample has the label {unknown[0]!r}: there are {', '.join(map(repr, members))}"[:500])
    return [members[label][i % len(members[label])] for label, count in counts.items() for i in range(count)]


def proportional_counts(labels: Sequence[Label], count: int) -> dict[Label, int]:
    """So many synthetic samples, split among the classes as the labels are (largest remainders).

    Example:
        >>> proportional_counts(["rare", "other", "other", "other"], 10)
        {'rare': 3, 'other': 7}
    """
    sizes = {label: len(own) for label, own in _members(labels).items()}
    counts = {label: count * size // len(labels) for label, size in sizes.items()}
    remainders = sorted(sizes, key=lambda label: -(count * sizes[label] % len(labels)))
    for label in remainders[: count - sum(counts.values())]:
        counts[label] += 1
    return counts


def fixed_order(count: int) -> NDArray[np.int64]:
    """The places of so many samples in an order of no pattern, always the same: that in which a base is read and varied."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0)).numpy()


def mixed(sources: Sequence[int]) -> list[int]:
    """The same in a fixed order: files of a set then hold samples of all classes."""
    return [sources[place] for place in fixed_order(len(sources)).tolist()]


def _members(labels: Sequence[Label]) -> dict[Label, list[int]]:
    members: dict[Label, list[int]] = {}
    for index, label in enumerate(labels):
        members.setdefault(label, []).append(index)
    return members


def _filled(classes: list[list[int]], smallest: list[tuple[int, int]], count: int) -> list[int]:
    """Give the next of so many samples to the smallest class, again and again: `(its size, its place)`."""
    heapq.heapify(smallest)
    sources = []
    for _ in range(count):
        size, place = smallest[0]
        own = classes[place]
        sources.append(own[(size - len(own)) % len(own)])
        heapq.heapreplace(smallest, (size + 1, place))
    return sources
