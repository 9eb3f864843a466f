"""A sample of any data set: where its image is, what its label is."""

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from .kinds import is_image, is_pure_tensor


def split_image(sample: Any) -> tuple[Any, Callable[[Any], Any]]:
    """A sample -> its image, and the function that puts another image in its place.

    As in torchvision's v2 transforms: PIL images and tv_tensors are images, else the first plain tensor is.
    """
    if type(sample) is tuple and len(sample) == 2 and is_image(sample[0]) and isinstance(sample[1], int | str):
        label = sample[1]
        return sample[0], lambda image: (image, label)  # what most data sets give: not worth a walk through a tree
    flat, spec = tree_flatten(sample)
    explicit = [i for i, item in enumerate(flat) if is_image(item) and not is_pure_tensor(item)]
    tensors = [i for i, item in enumerate(flat) if is_pure_tensor(item)]
    if not (explicit or tensors):
        kinds = ", ".join(type(item).__name__ for item in flat)
        raise TypeError(
            f"a sample holds no image, only: {kinds}. Images are PIL images or tensors; convert ndarrays with v2.ToImage()"
        )
    position = (explicit or tensors)[0]
    return flat[position], lambda image: tree_unflatten([*flat[:position], image, *flat[position + 1 :]], spec)


def label_of(sample: Any) -> int | str | None:
    """The label of a sample `(image, label, ...)`, `{"label": ...}` or `{"labels": ...}`; None if it has none that is a class."""
    return plain_label(_label_part(sample))


def labels_of(sample: Any, lead: tuple[int, ...]) -> list[int | str] | None:
    """The labels of an image, or of a batch of this leading shape; None if it has none for each, integers or strings."""
    part = _label_part(sample)
    if not lead:
        part = [part]
    elif isinstance(part, Tensor | np.ndarray):
        part = part.reshape(-1).tolist() if part.shape in (lead, (*lead, 1)) else None
    elif len(lead) > 1:  # a list has one dimension
        part = None
    if not isinstance(part, tuple | list) or len(part) != math.prod(lead):
        return None
    labels = [plain_label(label) for label in part]
    return None if None in labels else labels  # type: ignore[return-value]


def kinds_of(sample: Any) -> str:
    """A sample as a message shows it."""
    if isinstance(sample, dict):
        return "{" + ", ".join(f"{key!r}: {_kind(value)}" for key, value in sample.items()) + "}"
    if not isinstance(sample, tuple | list):
        return _kind(sample)
    return "(" + ", ".join(map(_kind, sample)) + ")"


def _kind(part: Any) -> str:
    if isinstance(part, Tensor | np.ndarray):
        return f"{type(part).__name__} of {str(part.dtype).removeprefix('torch.')} {tuple(part.shape)}"
    return type(part).__name__


def _label_part(sample: Any) -> Any:
    if isinstance(sample, dict):
        return sample.get("label", sample.get("labels"))
    return sample[1] if isinstance(sample, tuple | list) and len(sample) > 1 else None


def with_label(sample: Any, change: Callable[[Any], Any]) -> Any:
    """A sample with another label, `change(label)`; one without a label as it is."""
    if isinstance(sample, dict):
        key = next((key for key in ("label", "labels") if key in sample), None)
        return sample if key is None else {**sample, key: change(sample[key])}
    if not isinstance(sample, tuple | list) or len(sample) < 2:
        return sample
    parts = [sample[0], change(sample[1]), *sample[2:]]
    return parts if isinstance(sample, list) else tuple(parts)


def plain_label(label: Any) -> int | str | None:
    """An integer of any kind, 0-d integer tensors too, or a string; None for anything else."""
    if isinstance(label, str):
        return label
    if isinstance(label, np.bool_):  # the one integer of numpy's that has no __index__
        return int(label)
    try:
        return operator.index(label)
    except TypeError:
        return None
