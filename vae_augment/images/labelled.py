"""A data set of labelled images, read into memory."""

import hashlib
from typing import Any

import torch
from torch import Tensor

from .convert import to_model
from .kinds import has_exif_rotation, warn_exif_rotation
from .sample import describe_sample, extract_image, label_of
from .untransformed import untransformed_reader


def read_labelled(dataset: Any, channels: int, size: int) -> tuple[Tensor, list[int | str]]:
    """Read labelled images to float32 `(N, channels, size, size)` in [0, 1], and their labels.

    An image that occurs again under the same label counts once: a copy among the others would give away its label when it
    is held out.

    Raises:
        TypeError: a sample has no image or no label.
        ValueError: there are no samples, or one holds several images, as a video does.

    Example:
        >>> images, labels = read_labelled([(torch.zeros(1, 28, 28), "bag"), (torch.ones(1, 28, 28), "coat")], 1, 28)
        >>> images.shape, labels
        (torch.Size([2, 1, 28, 28]), ['bag', 'coat'])
    """
    reader = untransformed_reader(dataset, on_copies=True)
    images, labels, seen, rotated = [], [], set(), 0
    for index in range(len(dataset)):
        sample, _ = reader.read(index)
        label = label_of(sample)
        if label is None:
            raise TypeError(
                f"sample {index}, {describe_sample(sample)}, has no label: expected (image, label, ...) with an integer or a "
                "string. If you have tensors of images and labels, make TensorDataset(images, labels)"
            )
        image, _ = extract_image(sample)
        rotated += has_exif_rotation(image)
        x, _ = to_model(image, channels, size)
        if len(x) != 1:
            raise ValueError(f"sample {index} holds {len(x)} images: expected one image and its label")
        x = x.detach().clamp(0, 1).cpu().contiguous()  # clamp: interpolated floats overshoot a little
        if (key := (hashlib.sha256(x.numpy().tobytes()).digest(), label)) not in seen:
            seen.add(key)
            images.append(x)
            labels.append(label)
    if not images:
        raise ValueError("there are no labelled images: expected a data set of (image, label, ...)")
    warn_exif_rotation(rotated, "labelled images")
    return torch.cat(images), labels
