"""A sample's label: where it is, and what it is."""

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from .parts import of_kind, place_of

LabelAt = str | int | Callable[[Any], Any] | None
"""Where a sample's label is: a key, field or position, a function of it; None: `(image, label, ...)`, "label" or "labels"."""


def label_of(sample: Any, at: LabelAt = None) -> int | str | None:
    """Return the label of a sample `(image, label, ...)`, `{"label": ...}` or `{"labels": ...}`, or None if it has no class.

    `at` says where else it is: a key, a field or a position, or a function of the sample.

    Example:
        >>> label_of(("image", 3)), label_of({"labels": "coat"}), label_of(("image", 0.5))
        (3, 'coat', None)
    """
    return plain_label(_label_part(sample, at))


def labels_of(sample: Any, lead: tuple[int, ...], at: LabelAt = None) -> list[int | str] | None:
    """Return the labels of an image, or of a batch with these leading dimensions; None unless each image has a class.

    Example:
        >>> labels_of(("image", 3), ()), labels_of(("batch", ["bag", "coat"]), (2,)), labels_of(("batch", 3), (2,))
        ([3], ['bag', 'coat'], None)
    """
    part = _label_part(sample, at)
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


def _label_part(sample: Any, at: LabelAt) -> Any:
    if callable(at):
        return at(sample)
    if at is not None:
        try:
            return sample[place_of(sample, at)]
        except (KeyError, IndexError, TypeError):
            return None
    if isinstance(sample, dict):
        return sample.get("label", sample.get("labels"))
    if isinstance(sample, tuple | list):
        return sample[1] if len(sample) > 1 else None
    return _label_part(dict(sample), None) if isinstance(sample, Mapping) else None


def with_label(sample: Any, change: Callable[[Any], Any], at: LabelAt = None) -> Any:
    """Return a sample with another label, `change(label)`; one without a label, or whose label is computed, as it is.

    Example:
        >>> with_label(("image", 3), str), with_label({"image": "image", "target": 3}, str, "target")
        (('image', '3'), {'image': 'image', 'target': '3'})
    """
    if isinstance(sample, dict) or (not isinstance(sample, tuple | list) and isinstance(sample, Mapping)):
        key = next((key for key in (at, "label", "labels") if key in sample), None)
        return sample if key is None else {**sample, key: change(sample[key])}
    place = 1 if at is None else place_of(sample, at)
    if not isinstance(sample, tuple | list) or not isinstance(place, int) or len(sample) <= place:
        return sample
    parts = [change(part) if i == place % len(sample) else part for i, part in enumerate(sample)]
    return parts if isinstance(sample, list) else of_kind(sample, dict(enumerate(parts)))


def plain_label(label: Any) -> int | str | None:
    """Convert an integer of any type, 0-d tensors included, or a string to a Python label; return None for anything else.

    Example:
        >>> plain_label(np.int64(3)), plain_label("coat"), plain_label(0.5)
        (3, 'coat', None)
    """
    if isinstance(label, str):
        return label
    if isinstance(label, np.bool_):  # the one integer type of numpy without __index__
        return int(label)
    try:
        return operator.index(label)
    except TypeError:
        return None
