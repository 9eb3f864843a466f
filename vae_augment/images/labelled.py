"""A data set of labelled images, read into memory."""

import hashlib
from typing import Any

import torch
from torch import Tensor

from .convert import to_model
from .kinds import is_turned, warn_of_turned
from .sample import kinds_of, label_of, split_image
from .untransformed import untransformed


def read_labelled(dataset: Any, channels: int, size: int) -> tuple[Tensor, list[int | str]]:
    """A data set of labelled images -> float32 `(N, channels, size, size)` in [0, 1], and their labels.

    An image that is there again under the same label, to make an epoch longer, counts once: held out to judge the others'
    labels, it would be told by its copy.

    Raises:
        TypeError: a sample without an image or a label.
        ValueError: no samples, or one of several images, as a video.
    """
    reader = untransformed(dataset, aside=True)
    images, labels, seen, turned = [], [], set(), 0
    for index in range(len(dataset)):
        sample, _ = reader.read(index)
        label = label_of(sample)
        if label is None:
            raise TypeError(
                f"sample {index}, {kinds_of(sample)}, has no label: expected (image, label, ...) with an integer or a string; of "
                "tensors of images and labels make TensorDataset(images, labels)"
            )
        image, _ = split_image(sample)
        turned += is_turned(image)
        x, _ = to_model(image, channels, size)
        if len(x) != 1:
            raise ValueError(f"sample {index} holds {len(x)} images: expected one image and its label")
        x = x.detach().clamp(0, 1).cpu().contiguous()  # floats that an interpolation left a little outside
        if (copy := (hashlib.sha256(x.numpy().tobytes()).digest(), label)) not in seen:
            seen.add(copy)
            images.append(x)
            labels.append(label)
    if not images:
        raise ValueError("there are no labelled images")
    warn_of_turned(turned, "labelled images")
    return torch.cat(images), labels
