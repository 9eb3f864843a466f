"""Samples of a data set before its own transforms, each with the function that applies them."""

import copy
import operator
import os
from bisect import bisect_right
from collections.abc import Callable, Sized
from typing import Any

import torch
from torch.utils.data import ConcatDataset, IterableDataset, Subset
from torchvision.datasets.vision import StandardTransform

from .sample import split_image

Finish = Callable[[Any], Any]


def untransformed(dataset: Any, aside: bool = False) -> "Reader":
    """A reader for any map-style data set; `reader.read(index)` -> (raw sample, finish).

    `finish(sample)` is what the data set would have returned: data sets with a `transform` or `transforms`, as all of
    torchvision's, are read without it, also inside `Subset` and `ConcatDataset`. Others are read as they are.

    Args:
        dataset: a map-style data set, or a list.
        aside: read through copies, for a look before workers are started: a file that a data set opens at its first read
            must not be open then, since forked workers would share its position.

    Raises:
        TypeError: the data set has no length or no indexing.
    """
    has_index = hasattr(dataset, "__getitem__") and not isinstance(dataset, IterableDataset)
    if not isinstance(dataset, Sized) or not has_index:
        raise TypeError(
            f"expected a map-style data set or a list, with a length and indexing, got {type(dataset).__name__}; put what "
            "an iterable one gives into a list, or use VAEAugment on its batches"
        )
    # a subclass with its own __getitem__ may transform there: it is read as it is
    if isinstance(dataset, Subset) and type(dataset).__getitem__ is Subset.__getitem__:
        return SubsetReader(dataset, aside)
    if isinstance(dataset, ConcatDataset) and type(dataset).__getitem__ is ConcatDataset.__getitem__:
        return ConcatReader(dataset, aside)
    return LeafReader(dataset, aside)


class SubsetReader:
    def __init__(self, subset: Subset[Any], aside: bool) -> None:
        self.inner, self.subset = untransformed(subset.dataset, aside), subset

    def read(self, index: int) -> tuple[Any, Finish]:
        return self.inner.read(self.subset.indices[index])


class ConcatReader:
    def __init__(self, concat: ConcatDataset[Any], aside: bool) -> None:
        self.parts = [untransformed(part, aside) for part in concat.datasets]
        self.ends = concat.cumulative_sizes

    def read(self, index: int) -> tuple[Any, Finish]:
        if index < 0:  # from a Subset that counts from the end
            index += self.ends[-1]
        part = bisect_right(self.ends, index)
        return self.parts[part].read(index - (self.ends[part - 1] if part else 0))


class LeafReader:
    """Reads a copy of the data set whose transform does nothing, or without a transform to leave out the data set itself.

    The copy is made anew when the data set was given another attribute, as new targets, or another item at this index in
    a list, and in each process: a file that it opens at its first read is then no other process's.
    """

    def __init__(self, leaf: Any, aside: bool) -> None:
        self.leaf, self.aside = leaf, aside
        self._is_alike: bool | None = None
        self._raw: Any = None
        self._seen: dict[str, Any] = {}
        self._lists: dict[str, list[Any]] = {}
        self._process = 0

    def read(self, index: int) -> tuple[Any, Finish]:
        if not _can_be_copied(self.leaf):
            return self.leaf[index], _identity
        if self._is_read_untransformed():
            return self._copied(lambda leaf: _with_transform(leaf, _identity), index)[index], self.finish
        return (self._copied(_copy, index) if self.aside else self.leaf)[index], _identity

    def finish(self, sample: Any) -> Any:
        """The data set's transform as it is now: users may replace it after wrapping."""
        if (joint := _joint_transform(self.leaf)) is not None:
            return joint(*sample)
        if not callable(transform := getattr(self.leaf, "transform", None)):
            return sample
        image, join = split_image(sample)
        return join(transform(image))

    def _is_read_untransformed(self) -> bool:
        if not _has_transform(self.leaf):
            return False
        if self._is_alike is None:
            self._is_alike = _finishes_alike(self.leaf)
        return self._is_alike

    def _copied(self, make: Callable[[Any], Any], index: int) -> Any:
        if self._raw is None or os.getpid() != self._process or not self._is_as_copied(index):
            now = self.leaf.__dict__
            self._raw, self._seen, self._process = make(self.leaf), dict(now), os.getpid()
            self._lists = {name: value.copy() for name, value in now.items() if isinstance(value, list)}
        return self._raw

    def _is_as_copied(self, index: int) -> bool:
        now = self.leaf.__dict__
        if now.keys() != self._seen.keys() or any(value is not self._seen[name] for name, value in now.items()):
            return False
        return all(_has_same(old, now[name], index) for name, old in self._lists.items())

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_raw": None, "_seen": {}, "_lists": {}}


Reader = LeafReader | SubsetReader | ConcatReader


def _has_transform(leaf: Any) -> bool:
    return callable(getattr(leaf, "transform", None)) or getattr(leaf, "transforms", None) is not None


def _has_same(old: list[Any], new: list[Any], index: int) -> bool:
    return len(old) == len(new) and (not -len(old) <= index < len(old) or old[index] is new[index])


class _Witness:
    """A transform that changes nothing and remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[Any, ...]] = []

    def __call__(self, *given: Any) -> Any:
        self.given.append(given)
        return given[0] if len(given) == 1 else given


def _finishes_alike(leaf: Any) -> bool:
    """Whether a data set calls its transform once, on the image alone, and returns what that returns.

    If not (it transforms image and boxes together, makes two views or pairs, as LFWPairs, or works on after the transform),
    it cannot be read without it, and is read as it is.
    """
    # three, since it may do so to some samples only
    return bool(len(leaf)) and all(_finishes_alike_at(index, leaf) for index in (0, len(leaf) // 2, len(leaf) - 1))


def _finishes_alike_at(index: int, leaf: Any) -> bool:
    witness = _Witness()
    with torch.random.fork_rng(devices=[]):
        try:
            sample = _with_transform(leaf, witness)[index]
            image, _ = split_image(sample)
        except Exception:  # the user's code, run in a way that it may not be made for
            return False
    if len(witness.given) != 1:
        return False
    given = witness.given[0]
    if _joint_transform(leaf) is not None:
        return type(sample) is tuple and len(sample) == len(given) and all(map(operator.is_, sample, given))
    return len(given) == 1 and given[0] is image


def _can_be_copied(leaf: Any) -> bool:
    """Not a list or a tensor, whose items are no attributes; nor what closes its files when it goes: a copy shares them."""
    is_plain = isinstance(leaf, list | tuple | torch.Tensor)
    return hasattr(leaf, "__dict__") and not is_plain and not hasattr(type(leaf), "__del__")


def _copy(leaf: Any) -> Any:
    """One that shares what the data set holds, but not its lists and dicts: a data set that keeps its samples in one would
    else find there those of the copy, not transformed.
    """
    # not copy.copy: torchvision's tv_tensor wrapper rebuilds itself there, and takes the transforms off the original
    copied = object.__new__(type(leaf))
    for name, value in leaf.__dict__.items():
        copied.__dict__[name] = copy.copy(value) if isinstance(value, dict | list | set) else value
    return copied


def _with_transform(leaf: Any, transform: Callable[..., Any]) -> Any:
    """A copy with this transform of the image; the target's stays, since targets are not augmented."""
    copied = _copy(leaf)
    if _joint_transform(leaf) is not None:
        copied.transforms = transform
        return copied
    copied.transform = transform if callable(leaf.transform) else leaf.transform
    if getattr(leaf, "transforms", None) is not None:
        copied.transforms = StandardTransform(transform if callable(leaf.transform) else None, leaf.target_transform)
    return copied


def _joint_transform(leaf: Any) -> Callable[..., Any] | None:
    """torchvision's `transforms=` of image and target together, if the data set was given one."""
    joint = getattr(leaf, "transforms", None)
    return joint if callable(joint) and not isinstance(joint, StandardTransform) else None


def _identity(*given: Any) -> Any:
    return given[0] if len(given) == 1 else given
