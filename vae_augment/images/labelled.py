"""A data set of labelled images, read into memory."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from ..user_warning import warn
from .convert import to_model
from .kinds import has_exif_rotation, warn_exif_rotation
from .label import LabelAt, label_of
from .parts import describe_sample, lacks_key, plain_key
from .sample import ImageKey, checked_key, extract_image
from .sources import warn_clipped
from .untransformed import untransformed_reader


def read_labelled(
    dataset: Any,
    channels: int,
    size: int,
    at: LabelAt = None,
    see: Callable[[int, Any], None] | None = None,
    image_key: ImageKey = None,
    through: Callable[[range], Iterable[int]] = iter,
) -> tuple[Tensor, list[int | str]]:
    """Read labelled images to float32 `(N, channels, size, size)` in [0, 1], and their labels.

    An image that occurs again under the same label counts once: a copy among the others would give away its label when it
    is held out.

    Args:
        at: where a sample's label is, see `label_of`.
        see: is given the index and the image itself, at its own size, of each that counts.
        image_key: where a sample's image is, see `extract_image`.
        through: goes through the indices, as one that shows how far it is.

    Raises:
        TypeError: a sample has no image or no label.
        ValueError: there are no samples, or one holds several images, as a video does.

    Example:
        >>> images, labels = read_labelled([(torch.zeros(1, 28, 28), "bag"), (torch.ones(1, 28, 28), "coat")], 1, 28)
        >>> images.shape, labels
        (torch.Size([2, 1, 28, 28]), ['bag', 'coat'])
    """
    reader = untransformed_reader(dataset, on_copies=True, image_key=image_key)
    images, labels, seen, rotated = [], [], set(), 0
    for index in through(range(len(dataset))):
        sample, _ = reader.read(index)
        label = label_of(sample, at)
        if label is None:
            raise TypeError(
                f"{lacks_label(f'sample {index}', sample, at)}. Say where it is, labels='key', and of tensors of images and "
                "labels make TensorDataset(images, labels)"
            )
        image, _ = reader.extract(sample, f"sample {index}")
        if index == 0 and image_key is None:
            _tell_which_picture(sample, image)
        rotated += has_exif_rotation(image)
        x, _ = to_model(image, channels, size)
        if len(x) != 1:
            raise ValueError(f"sample {index} holds {len(x)} images: expected one image and its label")
        x = x.detach().clamp(0, 1).cpu().contiguous()  # clamp: interpolated floats overshoot a little
        if (key := (hashlib.sha256(x.numpy().tobytes()).digest(), label)) not in seen:
            seen.add(key)
            images.append(x)
            labels.append(label)
            if see is not None:
                see(index, image)
    if not images:
        raise ValueError("there are no labelled images: expected a data set of (image, label, ...)")
    warn_exif_rotation(rotated, "labelled images")
    warn_clipped(reader, len(dataset))
    return torch.cat(images), labels


def lacks_label(name: str, sample: Any, at: LabelAt) -> str:
    """Say that a sample has no label, where one was looked for, and what there is.

    Example:
        >>> lacks_label("sample 0", {"image": torch.zeros(1, 28, 28), "label": 3}, "nope")
        "sample 0 has no key 'nope', only 'image', 'label'"
        >>> lacks_label("sample 0", {"image": torch.zeros(1, 28, 28), "age": 3.5}, "age")
        "sample 0, {'image': Tensor of float32 (1, 28, 28), 'age': float}, has no integer or string under 'age'"
    """
    is_named = isinstance(sample, dict) or (isinstance(at, str) and hasattr(sample, "_fields"))
    if isinstance(at, str | int) and is_named and at not in getattr(sample, "_fields", sample):
        return lacks_key(name, sample, at)
    if at is None:
        return (
            f"{name}, {describe_sample(sample)}, has no label: there is no integer or string as (image, label, ...) or under "
            "'label' or 'labels'"
        )
    where = "by the function labels=" if callable(at) else f"under {at!r}"
    return f"{name}, {describe_sample(sample)}, has no integer or string {where}"


def _tell_which_picture(sample: Any, image: Any) -> None:
    """Warn if several pictures of a sample may be meant, and the one that is taken is not named as the image."""
    if not isinstance(sample, dict):
        return
    pictures = [key for key, item in sample.items() if isinstance(item, PIL.Image.Image)]
    taken = [key for key in pictures if sample[key] is image]
    if len(pictures) > 1 and taken and taken[0] not in ("image", "img"):
        warn(
            f"samples hold pictures under {', '.join(map(repr, pictures))}, and the one under {taken[0]!r} is taken: say which "
            f"is the image, image_key={taken[0]!r}, name it 'image', or leave the others out",
        )


COLOURS = (1, 3)  # channels by which an array is told to have them first
Labels = LabelAt | Sequence[Any] | Tensor | np.ndarray
"""Labels beside images, or where a sample has its own."""


def pair_up(labelled: Any, labels: Labels, image_key: ImageKey = None) -> tuple[Any, LabelAt, ImageKey]:
    """Return a data set of labelled images, and where its samples have their labels and images.

    That is at `labels` and `image_key`, unless these are the labels themselves: then it is one of pairs.

    Raises:
        TypeError: there are labels and no images.
    """
    labels = plain_key(labels)
    if labels is None or isinstance(labels, str | int) or callable(labels):
        return labelled, labels, image_key
    if labelled is None:
        raise TypeError("there are labels, and no images beside them: fit(images, labels)")
    return Pairs(labelled, labels, image_key), None, None


class Pairs:
    """Images and their labels, each in one array, tensor or list, as a data set of pairs.

    Args:
        images: a tensor `(N, C, H, W)` or `(N, H, W)`, an array `(N, H, W)`, `(N, H, W, C)` or
            `(N, C, H, W)`, of fewer channels than pixels a side, or a sequence of images.
        labels: one for each.
        image_key: where the image is, if they are samples.

    Raises:
        ValueError: there are more of one than of the other.

    Example:
        >>> pairs = Pairs(np.zeros((5, 28, 28), np.uint8), list("abcde"))
        >>> len(pairs), pairs[1][0].shape, pairs[1][1]
        (5, torch.Size([1, 28, 28]), 'b')
    """

    def __init__(self, images: Any, labels: Sequence[Any] | Tensor | np.ndarray, image_key: ImageKey = None) -> None:
        if len(images) != len(labels):
            raise ValueError(f"there are {len(images)} images and {len(labels)} labels: give one label for each image")
        if isinstance(images, np.ndarray):
            images = torch.from_numpy(images)
            if images.ndim == 4 and _has_channels_last(images):
                images = images.movedim(-1, 1)
        self.images = images[:, None] if isinstance(images, Tensor) and images.ndim == 3 else images
        self.labels, self.image_key = labels, checked_key(image_key)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image = self.images[index]
        if self.image_key is not None:
            image, _ = extract_image(image, self.image_key, f"sample {index}")
        return image, self.labels[index]


def _has_channels_last(images: Tensor) -> bool:
    """Whether images of four dimensions are `(N, H, W, C)`: grey or colour if either end says so, else the end that is less."""
    first, last = images.shape[1], images.shape[-1]
    return last in COLOURS or (first not in COLOURS and last <= first)
