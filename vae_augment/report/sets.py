"""Sets of labelled images that a report compares: read into memory at one size, their classes matched by name."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

import torch
from torch import Tensor

from ..images import as_pixels, decode, label_of, pair_up, spread_places, to_model, untransformed_reader
from ..source import LabelledImages

LARGEST_SIDE = 64  # pixels: measures and networks of a minute see no more
PROBED = 50  # images of each set, by which size and colour are chosen
HELD_OUT_PART = 5  # each so many-th image of a class is held out, where no set of such is given
LEAST_IMAGES = 20  # real ones, of either kind; with fewer no measure says anything
LEAST_SYNTHETIC = 2  # which are compared with each other


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images and their classes.

    Args:
        images: uint8 `(N, C, S, S)`.
        labels: int64 `(N,)`, the number of each image's class.
        places: int64 `(N,)`: index that each had where it was read. None: as they lie here.
    """

    images: Tensor
    labels: Tensor
    places: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def at(self, chosen: Tensor) -> Self:
        """Those of these places, or of a mask."""
        return type(self)(self.images[chosen], self.labels[chosen], self.index[chosen])

    @property
    def index(self) -> Tensor:
        return torch.arange(len(self)) if self.places is None else self.places

    def counts(self, classes: int) -> Tensor:
        """Images of each class, int64 `(classes,)`."""
        return self.labels.bincount(minlength=classes)

    def some(self, count: int, seed: int) -> Self:
        """At most so many, chosen at random and always the same."""
        return self if len(self) <= count else self.at(self.some_places(count, seed))

    def some_places(self, count: int, seed: int) -> Tensor:
        """The places of these, int64, ascending."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return order[:count].sort().values


@dataclass(frozen=True, eq=False)
class Sets:
    """All that a report is of.

    Args:
        training, held_out, synthetic: labels count in `classes`.
        classes: names, as the real images have them.
        notes: what a reader should know of how they were read.
        is_own: whether the held-out images were taken from the real ones here, and so may be known to the generator.
    """

    training: ImageSet
    held_out: ImageSet
    synthetic: ImageSet
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    is_own: bool = False

    @classmethod
    def of(
        cls,
        real: tuple[ImageSet, Sequence[str]],
        synthetic: tuple[ImageSet, Sequence[str]],
        held_out: tuple[ImageSet, Sequence[str]] | None = None,
        notes: Sequence[str] = (),
    ) -> Self:
        """Match the classes of each set, given with their names, with those of the real images.

        Raises:
            ValueError: there are too few images, fewer than two classes, or no class in common.
        """
        training, classes = real[0], tuple(real[1])
        told = list(notes)
        present = training.counts(len(classes)) > 0
        if int(present.sum()) < 2:
            raise ValueError(
                f"a report compares classes, and the real images have {int(present.sum())}: give two or more"
            )
        made = _matched(*synthetic, classes, "synthetic", told)
        if held_out is None:
            training, kept = _split(training)
            told.append(
                f"No held-out images were given: {len(kept):,} of the real ones were held out here. If the generator has seen "
                "them, what is said of copies is milder than the truth."
            )
        else:
            kept = _matched(*held_out, classes, "held-out", told)
        for name, found, least in (
            ("real", training, LEAST_IMAGES),
            ("held-out", kept, LEAST_IMAGES),
            ("synthetic", made, LEAST_SYNTHETIC),
        ):
            if len(found) < least:
                raise ValueError(
                    f"a report wants {least} {name} images at least, and there are {len(found)}: give more"
                )
        return cls(training, kept, made, classes, tuple(told), held_out is None)


def _matched(images: ImageSet, names: Sequence[str], classes: tuple[str, ...], kind: str, told: list[str]) -> ImageSet:
    """The images whose class the real ones have, by name, numbered as these are."""
    if not len(images):
        raise ValueError(f"there are no {kind} images: give some")
    numbers = {name: number for number, name in enumerate(classes)}
    # `vae-augment generate` writes the class "T-shirt/top" to the folder "T-shirt%2Ftop"
    to = torch.tensor([numbers.get(name, numbers.get(unquote(name), -1)) for name in names])
    labels = to[images.labels]
    known = labels >= 0
    if not known.any():
        raise ValueError(
            f"the {kind} images have no class of the real ones: theirs are {_listed(names)}, those of the real ones "
            f"{_listed(classes)}: give them the same names"
        )
    if not known.all():
        others = [name for number, name in enumerate(names) if to[number] < 0 and (images.labels == number).any()]
        count = int((~known).sum())
        told.append(f"{count:,} {kind} images of classes that the real ones have not were left out: {_listed(others)}.")
    return ImageSet(images.images[known], labels[known], images.index[known])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")


def _split(real: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Hold out a fifth of each class, at random and always the same."""
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(0))
    is_held_out = torch.zeros(len(real), dtype=torch.bool)
    for c in real.labels.unique().tolist():
        is_held_out[order[real.labels[order] == c][::HELD_OUT_PART]] = True
    return real.at(~is_held_out), real.at(is_held_out)


def common_look(datasets: Sequence[Any]) -> tuple[int, int]:
    """Channels and side in pixels at which sets of labelled images are compared: colour if any has, the least side up to 64.

    Args:
        datasets: map-style, of samples whose first part is a PIL image or a tensor.
    """
    channels, side = 1, LARGEST_SIDE
    for dataset in map(as_pairs, datasets):
        reader = untransformed_reader(dataset, on_copies=True)
        for place in spread_places(len(dataset), PROBED).tolist():
            image = reader.image(place)
            if isinstance(image, Tensor):
                channels, side = max(channels, 1 if image.shape[-3] == 1 else 3), min(side, *image.shape[-2:])
            else:
                channels = max(channels, 1 if image.mode in decode.GREY_MODES else 3)
                side = min(side, *image.size)
    return channels, side


def read_source(source: LabelledImages, channels: int, side: int, what: str) -> tuple[ImageSet, Sequence[str]]:
    """Read images of a source; a few that cannot be read are left out with a warning.

    Raises:
        ValueError: more than one in a hundred cannot be read.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:  # Windows removes no file that is mapped
        images, kept, unreadable = decode.read_images(
            range(len(source)), lambda i: source[i][0], channels, side, Path(scratch), f"{what} image "
        )
        decode.report_unreadable(unreadable, len(source))
        labels = torch.tensor(source.targets)[kept]
        return ImageSet(images.clone(), labels, torch.tensor(kept)), source.classes


def read_samples(data: Any, channels: int, side: int) -> tuple[ImageSet, Sequence[str]]:
    """Read images and labels from memory: a data set of `(image, label)`, or both, `(images, labels)`.

    Raises:
        TypeError: a sample has no label.
    """
    pairs = as_pairs(data)
    reader, images, labels = untransformed_reader(pairs, on_copies=True), [], []
    for place in range(len(pairs)):
        sample, _ = reader.read(place)
        if (label := label_of(sample)) is None:
            raise TypeError(f"sample {place} has no label: a report wants (image, label), or (images, labels)")
        labels.append(str(label))
        images.append(as_pixels(to_model(reader.image(place), channels, side)[0].clamp(0, 1) * 255, torch.uint8))
    names = _class_names(labels)
    numbers = {name: number for number, name in enumerate(names)}
    return ImageSet(torch.cat(images), torch.tensor([numbers[label] for label in labels])), names


def as_pairs(data: Any) -> Any:
    """A data set of `(image, label)`, of such or of both in a tuple.

    Raises:
        ValueError: there are more of one than of the other, or none.
    """
    pairs = pair_up(*data)[0] if isinstance(data, tuple) and len(data) == 2 else data
    if not len(pairs):
        raise ValueError("there are no images: a report wants data sets of (image, label), or (images, labels)")
    return pairs


def _class_names(labels: list[str]) -> list[str]:
    """The names in use, integers by their value."""
    return sorted(set(labels), key=lambda name: (0, int(name), name) if name.lstrip("-").isdigit() else (1, 0, name))
