"""Samples of a data set before its own transforms, each with the function that applies them."""

import copy
import operator
import os
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sized
from typing import Any

import torch
from torch.utils.data import ConcatDataset, IterableDataset, Subset
from torchvision.datasets.vision import StandardTransform

from .sample import ImageKey, checked_key, extract_image

Finish = Callable[[Any], Any]


def untransformed_reader(dataset: Any, on_copies: bool = False, image_key: ImageKey = None) -> "Reader":
    """Return a reader of any map-style data set; its `read(index)` returns `(untransformed sample, finish)`.

    `finish(sample)` returns what the data set would have returned. Data sets with a `transform` or `transforms`, as all of
    torchvision's, are read without it, also inside `Subset` and `ConcatDataset`. Others are read as they are.

    Args:
        dataset: a map-style data set, or a list.
        on_copies: read shallow copies, never the data set itself. Use it before workers are started: a data set may open a
            file at its first read, and forked workers would share that file's position.
        image_key: where a sample's image is, see `extract_image`.

    Raises:
        TypeError: the data set has no length or no indexing, is the name of one, or `image_key` is no key.

    Example:
        >>> from torchvision.datasets import FakeData
        >>> from torchvision.transforms import v2
        >>> data = FakeData(4, (3, 32, 32), transform=v2.Resize(8))
        >>> (image, label), finish = untransformed_reader(data).read(0)
        >>> image.size, finish((image, label))[0].size
        ((32, 32), (8, 8))
    """
    if isinstance(dataset, str | os.PathLike):
        raise TypeError(
            f"expected a data set, got the name {os.fspath(dataset)!r}: open it first, a folder with "
            "torchvision.datasets.ImageFolder, which wants the images one folder below"
        )
    has_index = hasattr(dataset, "__getitem__") and not isinstance(dataset, IterableDataset)
    if not isinstance(dataset, Sized) or not has_index:
        raise TypeError(
            f"expected a map-style data set or a list, with a length and indexing, got {type(dataset).__name__}; put what "
            "an iterable one gives into a list, or use VAEAugment on its batches"
        )
    if isinstance(dataset, Mapping) and dataset and 0 not in dataset:
        keys = ", ".join(map(repr, dataset))
        raise TypeError(
            f"expected a map-style data set or a list, whose samples are numbered, got {type(dataset).__name__} with the keys "
            f"{keys:.200}: give one of its parts, as dataset['train'], or of columns a list of rows"
        )
    # a subclass with its own __getitem__ may transform there: it is read as it is
    if isinstance(dataset, Subset) and type(dataset).__getitem__ is Subset.__getitem__:
        return SubsetReader(dataset, on_copies, image_key)
    if isinstance(dataset, ConcatDataset) and type(dataset).__getitem__ is ConcatDataset.__getitem__:
        return ConcatReader(dataset, on_copies, image_key)
    return LeafReader(dataset, on_copies, image_key)


def is_as_it_is(finish: Finish) -> bool:
    """Whether a sample was read as its data set gives it, with no transform of the image left to apply."""
    return finish is _identity


class Reader(ABC):
    """Reads samples of a data set before its own transforms, and knows where their images are."""

    def __init__(self, image_key: ImageKey) -> None:
        self.image_key = checked_key(image_key)

    @abstractmethod
    def read(self, index: int) -> tuple[Any, Finish]:
        """An untransformed sample, and the function that applies the transforms."""

    @abstractmethod
    def locate(self, index: int) -> tuple[Any, int]:
        """The data set inside `Subset` and `ConcatDataset` that holds a sample, and the sample's place there."""

    def extract(self, sample: Any, name: str = "a sample") -> tuple[Any, Callable[[Any], Any]]:
        """The image of a sample that was read, and the function that puts another in its place."""
        return extract_image(sample, self.image_key, name)

    def image(self, index: int) -> Any:
        """The image of the sample at this index."""
        return self.extract(self.read(index)[0], f"sample {index}")[0]


class SubsetReader(Reader):
    """Reads the data set inside a `Subset`."""

    def __init__(self, subset: Subset[Any], on_copies: bool, image_key: ImageKey) -> None:
        super().__init__(image_key)
        self.inner, self.subset = untransformed_reader(subset.dataset, on_copies, image_key), subset

    def read(self, index: int) -> tuple[Any, Finish]:
        return self.inner.read(self.subset.indices[index])

    def locate(self, index: int) -> tuple[Any, int]:
        return self.inner.locate(self.subset.indices[index])


class ConcatReader(Reader):
    """Reads the data sets inside a `ConcatDataset`."""

    def __init__(self, concat: ConcatDataset[Any], on_copies: bool, image_key: ImageKey) -> None:
        super().__init__(image_key)
        self.parts = [untransformed_reader(part, on_copies, image_key) for part in concat.datasets]
        self.ends = concat.cumulative_sizes

    def read(self, index: int) -> tuple[Any, Finish]:
        part, place = self._place(index)
        return part.read(place)

    def locate(self, index: int) -> tuple[Any, int]:
        part, place = self._place(index)
        return part.locate(place)

    def _place(self, index: int) -> tuple[Reader, int]:
        if index < 0:  # from a Subset that counts from the end
            index += self.ends[-1]
        part = bisect_right(self.ends, index)
        return self.parts[part], index - (self.ends[part - 1] if part else 0)


class LeafReader(Reader):
    """Reads a copy of a data set whose transform does nothing, or the data set itself if it has no transform to leave out.

    A new copy is made in each process, so that a file opened at the first read is not shared. It is also made anew when an
    attribute of the data set was replaced, e.g. its targets, or the item at this index in one of its lists.
    """

    def __init__(self, leaf: Any, on_copies: bool, image_key: ImageKey) -> None:
        super().__init__(image_key)
        self.leaf, self.on_copies = leaf, on_copies
        self._transform_is_last: bool | None = None
        self._copy: Any = None
        self._copied_attributes: dict[str, Any] = {}
        self._copied_lists: dict[str, list[Any]] = {}
        self._copied_in_process = 0

    def read(self, index: int) -> tuple[Any, Finish]:
        if not _can_be_copied(self.leaf):
            return self.leaf[index], _identity
        if self._can_leave_out_transform():
            return self._current_copy(lambda leaf: _with_transform(leaf, _identity), index)[index], self.finish
        return (self._current_copy(_shallow_copy, index) if self.on_copies else self.leaf)[index], _identity

    def locate(self, index: int) -> tuple[Any, int]:
        return self.leaf, index

    def finish(self, sample: Any) -> Any:
        """Apply the data set's transform as it is now: users may replace it after wrapping."""
        if (joint := _joint_transform(self.leaf)) is not None:
            return joint(*sample)
        if not callable(transform := getattr(self.leaf, "transform", None)):
            return sample
        image, put_back = self.extract(sample)
        return put_back(transform(image))

    def _can_leave_out_transform(self) -> bool:
        if not _has_transform(self.leaf):
            return False
        if self._transform_is_last is None:
            self._transform_is_last = _applies_transform_last(self.leaf, self.image_key)
        return self._transform_is_last

    def _current_copy(self, make: Callable[[Any], Any], index: int) -> Any:
        if self._copy is None or os.getpid() != self._copied_in_process or not self._is_up_to_date(index):
            now = self.leaf.__dict__
            self._copy, self._copied_attributes, self._copied_in_process = make(self.leaf), dict(now), os.getpid()
            self._copied_lists = {name: value.copy() for name, value in now.items() if isinstance(value, list)}
        return self._copy

    def _is_up_to_date(self, index: int) -> bool:
        now, then = self.leaf.__dict__, self._copied_attributes
        if now.keys() != then.keys() or any(value is not then[name] for name, value in now.items()):
            return False
        return all(_has_same_item(old, now[name], index) for name, old in self._copied_lists.items())

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_copy": None, "_copied_attributes": {}, "_copied_lists": {}}


def _has_transform(leaf: Any) -> bool:
    return callable(getattr(leaf, "transform", None)) or getattr(leaf, "transforms", None) is not None


def _has_same_item(old: list[Any], new: list[Any], index: int) -> bool:
    return len(old) == len(new) and (not -len(old) <= index < len(old) or old[index] is new[index])


class _RecordingIdentity:
    """A transform that changes nothing and records its arguments."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, *given: Any) -> Any:
        self.calls.append(given)
        return given[0] if len(given) == 1 else given


def _applies_transform_last(leaf: Any, key: ImageKey) -> bool:
    """Whether a data set calls its transform once, on the image alone, and returns the result unchanged.

    Otherwise it cannot be read without its transform, and is read as it is: it transforms image and boxes together, makes
    two views or pairs, as LFWPairs does, or works on after the transform.
    """
    # three samples, since a data set may treat some differently
    return bool(len(leaf)) and all(_applies_transform_last_at(i, leaf, key) for i in (0, len(leaf) // 2, len(leaf) - 1))


def _applies_transform_last_at(index: int, leaf: Any, key: ImageKey) -> bool:
    recorder = _RecordingIdentity()
    with torch.random.fork_rng(devices=[]):
        try:
            sample = _with_transform(leaf, recorder)[index]
            image, _ = extract_image(sample, key)
        except Exception:  # of the user's code, which may not expect this transform
            return False
    if len(recorder.calls) != 1:
        return False
    given = recorder.calls[0]
    if _joint_transform(leaf) is not None:
        return type(sample) is tuple and len(sample) == len(given) and all(map(operator.is_, sample, given))
    return len(given) == 1 and given[0] is image


def _can_be_copied(leaf: Any) -> bool:
    """Whether a shallow copy of the attributes works as the data set.

    It does not for a list or a tensor, whose items are no attributes, nor for a class with `__del__`: a copy that goes
    would close the files that it shares.
    """
    is_plain = isinstance(leaf, list | tuple | torch.Tensor)
    return hasattr(leaf, "__dict__") and not is_plain and not hasattr(type(leaf), "__del__")


def _shallow_copy(leaf: Any) -> Any:
    """Copy a data set: it shares all but its lists, dicts and sets.

    Those are copied, because a data set that caches its samples in one would find the copy's untransformed ones there.
    """
    # not copy.copy: torchvision's tv_tensor wrapper rebuilds itself there, and takes the transforms off the original
    copied = object.__new__(type(leaf))
    for name, value in leaf.__dict__.items():
        copied.__dict__[name] = copy.copy(value) if isinstance(value, dict | list | set) else value
    return copied


def _with_transform(leaf: Any, transform: Callable[..., Any]) -> Any:
    """Copy a data set and replace its transform of the image. The target's stays, since targets are not augmented."""
    copied = _shallow_copy(leaf)
    if _joint_transform(leaf) is not None:
        copied.transforms = transform
        return copied
    copied.transform = transform if callable(leaf.transform) else leaf.transform
    if getattr(leaf, "transforms", None) is not None:
        copied.transforms = StandardTransform(transform if callable(leaf.transform) else None, leaf.target_transform)
    return copied


def _joint_transform(leaf: Any) -> Callable[..., Any] | None:
    """Return torchvision's `transforms=` of image and target together, if the data set was given one."""
    joint = getattr(leaf, "transforms", None)
    return joint if callable(joint) and not isinstance(joint, StandardTransform) else None


def _identity(*given: Any) -> Any:
    return given[0] if len(given) == 1 else given
