"""A sample of any data set: where its image is, and what its label is."""

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from .kinds import check_has_channels, is_image, is_pure_tensor, lead_shape, spatial_companions


def extract_image(sample: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Return the image of a sample, and the function that returns the sample with another image in its place.

    The image is, as in torchvision's v2 transforms, the first PIL image or tv_tensors image, else the first plain tensor.

    Raises:
        TypeError: the sample holds no image.

    Example:
        >>> import torch
        >>> image, put_back = extract_image({"image": torch.zeros(1, 28, 28), "label": 3})
        >>> image.shape, put_back("another image")
        (torch.Size([1, 28, 28]), {'image': 'another image', 'label': 3})
    """
    if type(sample) is tuple and len(sample) == 2 and is_image(sample[0]) and isinstance(sample[1], int | str):
        label = sample[1]
        return sample[0], lambda image: (image, label)  # the usual sample, without the cost of walking a tree
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


def extract_labelled(sample: Any, leaves: list[Any]) -> tuple[Any, list[int | str], Callable[[Any], Any]]:
    """Split a sample, or a batch of them, into image, its labels, and the function that puts another image in its place.

    Args:
        leaves: all that the sample holds.

    Raises:
        TypeError: there is no label for each image.
        ValueError: the image has no channels, as a label before it, or beside it lies what would not fit another image.
    """
    image, join = extract_image(sample)
    shape = lead_shape(image)
    if isinstance(image, Tensor):
        check_has_channels(image)
    if (labels := labels_of(sample, shape)) is None:
        raise TypeError(
            f"after fit, an image is replaced by a new one of its label, and {describe_sample(sample)} has none: it takes "
            "(image, label, ...) or {'image': ..., 'label': ...}, integers or strings, for a batch one for each image, and "
            "comes before MixUp and CutMix. For an image alone, augment(image), the nearest labelled image's class is taken"
        )
    if kinds := spatial_companions(image, leaves):
        raise ValueError(
            f"after fit, an image is replaced by a new one of its label, which {', '.join(kinds)} would not fit: use a "
            "transform that was not fitted"
        )
    return image, labels, join


def label_of(sample: Any) -> int | str | None:
    """Return the label of a sample `(image, label, ...)`, `{"label": ...}` or `{"labels": ...}`, or None if it has no class.

    Example:
        >>> label_of(("image", 3)), label_of({"labels": "coat"}), label_of(("image", 0.5))
        (3, 'coat', None)
    """
    return plain_label(_label_part(sample))


def labels_of(sample: Any, lead: tuple[int, ...]) -> list[int | str] | None:
    """Return the labels of an image, or of a batch with these leading dimensions; None unless each image has a class.

    Example:
        >>> labels_of(("image", 3), ()), labels_of(("batch", ["bag", "coat"]), (2,)), labels_of(("batch", 3), (2,))
        ([3], ['bag', 'coat'], None)
    """
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


def describe_sample(sample: Any) -> str:
    """Describe a sample for a message: the types, and the dtypes and shapes of arrays.

    Example:
        >>> import torch
        >>> describe_sample((torch.zeros(1, 28, 28), 3))
        '(Tensor of float32 (1, 28, 28), int)'
    """
    if isinstance(sample, dict):
        return "{" + ", ".join(f"{key!r}: {_describe_part(value)}" for key, value in sample.items()) + "}"
    if not isinstance(sample, tuple | list):
        return _describe_part(sample)
    return "(" + ", ".join(map(_describe_part, sample)) + ")"


def _describe_part(part: Any) -> str:
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
