"""Samples of a data set before its own transforms, each with the function that applies them."""

from bisect import bisect_right
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_flatten
from torch.utils.data import ConcatDataset, Dataset, Subset
from torchvision.datasets.vision import StandardTransform, VisionDataset

from .sample_parts import split_image

Finish = Callable[[Any], Any]


def raw_reader(dataset: Dataset[Any]) -> "LeafReader | SubsetReader | ConcatReader":
    """A reader for any map-style data set; `reader.read(index)` -> (raw sample, finish).

    `finish(sample)` is what the data set would have returned: data sets with a `transform` or `transforms`, as all of
    torchvision's, are read without it, also inside `Subset` and `ConcatDataset`. Others are read as they are.
    """
    # a subclass with its own __getitem__ may transform there: it is read as it is
    if isinstance(dataset, Subset) and type(dataset).__getitem__ is Subset.__getitem__:
        return SubsetReader(dataset)
    if isinstance(dataset, ConcatDataset) and type(dataset).__getitem__ is ConcatDataset.__getitem__:
        return ConcatReader(dataset)
    return LeafReader(dataset)


class SubsetReader:
    def __init__(self, subset: Subset[Any]) -> None:
        self.inner, self.indices = raw_reader(subset.dataset), subset.indices

    def read(self, index: int) -> tuple[Any, Finish]:
        return self.inner.read(self.indices[index])


class ConcatReader:
    def __init__(self, concat: ConcatDataset[Any]) -> None:
        self.parts = [raw_reader(part) for part in concat.datasets]
        self.ends = concat.cumulative_sizes

    def read(self, index: int) -> tuple[Any, Finish]:
        part = bisect_right(self.ends, index)
        return self.parts[part].read(index - (self.ends[part - 1] if part else 0))


class LeafReader:
    def __init__(self, leaf: Any) -> None:
        self.leaf, self.raw = leaf, leaf
        if _has_transform(leaf) and (isinstance(leaf, VisionDataset) or _finishes_alike(leaf)):
            self.raw = _without_transform(leaf)

    def read(self, index: int) -> tuple[Any, Finish]:
        return self.raw[index], self.finish if self.raw is not self.leaf else _identity

    def finish(self, sample: Any) -> Any:
        """The data set's transform as it is now: users may replace it after wrapping."""
        if (joint := _joint_transform(self.leaf)) is not None:
            return joint(*sample)
        if not callable(transform := getattr(self.leaf, "transform", None)):
            return sample
        image, join = split_image(sample)
        return join(transform(image))


def _has_transform(leaf: Any) -> bool:
    return callable(getattr(leaf, "transform", None)) or getattr(leaf, "transforms", None) is not None


def _finishes_alike(leaf: Any) -> bool:
    """Whether a data set of the user's own can be read without its transform, which is then applied to the image alone.

    If not (it transforms image and target together, or works on after the transform), it is read as it is.
    """
    if not len(leaf):
        return False
    with torch.random.fork_rng(devices=[]):
        expected, expected_spec = tree_flatten(leaf[0])
        try:
            reader = LeafReader.__new__(LeafReader)
            reader.leaf, reader.raw = leaf, _without_transform(leaf)
            got, spec = tree_flatten(reader.finish(reader.raw[0]))
        except Exception:  # the user's code, run in a way that it may not be made for
            return False
    return bool(spec == expected_spec) and all(type(a) is type(b) for a, b in zip(expected, got, strict=True))


def _without_transform(leaf: Any) -> Any:
    """A shallow copy that skips the transform of the image; the target's stays, since targets are not augmented."""
    # not copy.copy: torchvision's tv_tensor wrapper rebuilds itself there, and takes the transforms off the original
    raw = object.__new__(type(leaf))
    raw.__dict__.update(leaf.__dict__)
    if _joint_transform(leaf) is not None:
        raw.transforms = None
        return raw
    raw.transform = _identity if callable(leaf.transform) else leaf.transform
    if getattr(leaf, "transforms", None) is not None:
        raw.transforms = StandardTransform(None, leaf.target_transform)
    return raw


def _joint_transform(leaf: Any) -> Callable[..., Any] | None:
    """torchvision's `transforms=` of image and target together, if the data set was given one."""
    joint = getattr(leaf, "transforms", None)
    return joint if callable(joint) and not isinstance(joint, StandardTransform) else None


def _identity(image: Any) -> Any:
    return image
