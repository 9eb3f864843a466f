"""A sample's parts: what a key stands for, a sample of the same kind, and words for messages."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor


def plain_key(key: Any) -> Any:
    """A position of numpy's as Python's; anything else as it is.

    Example:
        >>> plain_key(np.int64(2)), plain_key("photo")
        (2, 'photo')
    """
    return int(key) if isinstance(key, np.integer) else key


def place_of(sample: Any, key: Any) -> Any:
    """Where a sample has a key: a field of a named tuple at its position."""
    return sample._fields.index(key) if key in getattr(sample, "_fields", ()) else key


def lacks_key(name: str, sample: Any, key: Any) -> str:
    """Say that a sample has nothing at a key, and what there is.

    Example:
        >>> lacks_key("sample 0", {"image": 0, "label": 3}, "nope"), lacks_key("sample 0", (0, 3), 2)
        ("sample 0 has no key 'nope', only 'image', 'label'", 'sample 0, (int, int), has no key 2')
    """
    if names := sample if isinstance(sample, dict) else getattr(sample, "_fields", ()):
        return f"{name} has no key {key!r}, only {', '.join(map(repr, names))}"
    return f"{name}, {describe_sample(sample)}, has no key {key!r}"


def plain_dict(sample: Any) -> Any:
    """Convert another mapping, as a row of a Hugging Face data set, to a dict; return anything else as it is."""
    return dict(sample) if isinstance(sample, Mapping) and not isinstance(sample, dict) else sample


def of_kind(sample: Any, items: dict[Any, Any]) -> Any:
    """Items by their keys or places -> a sample of the same kind."""
    if isinstance(sample, dict):
        return items
    return type(sample)(*items.values()) if hasattr(sample, "_fields") else tuple(items.values())


def describe_sample(sample: Any) -> str:
    """Describe a sample for a message: the types, and the dtypes and shapes of arrays.

    Example:
        >>> import torch
        >>> describe_sample((torch.zeros(1, 28, 28), 3))
        '(Tensor of float32 (1, 28, 28), int)'
    """
    if isinstance(sample, dict):
        return "{" + ", ".join(f"{key!r}: {describe_part(value)}" for key, value in sample.items()) + "}"
    if not isinstance(sample, tuple | list):
        return describe_part(sample)
    return "(" + ", ".join(map(describe_part, sample)) + ")"


def describe_part(part: Any) -> str:
    """Describe one part of a sample."""
    if isinstance(part, Tensor | np.ndarray):
        return f"{type(part).__name__} of {str(part.dtype).removeprefix('torch.')} {tuple(part.shape)}"
    return type(part).__name__
