"""The images that a preview shows, one a row: a few of whatever its user has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import PIL.Image
from torch import Tensor
from torch.utils.data import Subset

from ..images import (
    ImageKey,
    Labels,
    check_has_channels,
    is_image,
    label_of,
    pair_up,
    spread_places,
    untransformed_reader,
)
from .cells import fit_within


@dataclass(frozen=True, eq=False)
class Rows:
    """Images, each with its label, or None.

    Args:
        images: single ones, of any kinds that the transform takes.
        labels: one for each.
        names: of the classes that integers number, if the data set has such, as `ImageFolder`.
    """

    images: Sequence[Any]
    labels: Sequence[int | str | None]
    names: Sequence[str] = ()

    @property
    def titles(self) -> list[str]:
        """What each row is called; none, if no image has a label."""
        return [] if set(self.labels) == {None} else [self._title(label) for label in self.labels]

    def _title(self, label: int | str | None) -> str:
        if isinstance(label, int) and 0 <= label < len(self.names):
            return str(self.names[label])
        return "" if label is None else str(label)


def choose_rows(images: Any, labels: Labels, count: int, image_key: ImageKey) -> Rows:
    """At most `count` of the images, spread over all; photographs made smaller.

    Args:
        images: one image, a tensor `(N, C, H, W)`, or a map-style data set or list of images or samples.
        labels: beside the images, or where a sample has its label, as of `VAEAugment.fit`.

    Raises:
        TypeError: they are no images.
        ValueError: there are none; or a sample is a clip, or a batch.
    """
    if isinstance(images, PIL.Image.Image) or (isinstance(images, Tensor) and images.ndim <= 3):
        images = [images]
    pairs, at, key = pair_up(images, labels, image_key)
    reader = None if isinstance(pairs, Tensor) else untransformed_reader(pairs, on_copies=True, image_key=key)
    if not len(pairs):
        raise ValueError("there are no images to preview: give one at least")
    found, own = list[Any](), list[int | str | None]()
    for place in spread_places(len(pairs), count).tolist():
        sample = pairs[place] if reader is None else reader.read(place)[0]
        image = sample if reader is None else reader.extract(sample, f"sample {place}")[0]
        if isinstance(image, Tensor) and image.ndim < 3:
            check_has_channels(image)  # which tells
        if isinstance(image, Tensor) and image.ndim != 3:
            raise ValueError(
                f"a preview shows single images (C, H, W), and sample {place} has the shape {tuple(image.shape)}: give the "
                "images, or frames, one by one"
            )
        found.append(fit_within(image))
        own.append(None if is_image(sample) else label_of(sample, at))
    return Rows(found, own, _class_names(images))


def _class_names(dataset: Any) -> Sequence[str]:
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    names = getattr(dataset, "classes", ())
    return names if isinstance(names, list | tuple) else ()
