"""Cross-validation of ratios: classifiers of real images and samples in each share, judged by labelled images held out."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import PIL.Image
import torch
from torch import Generator, Tensor
from torch.utils.data import Subset

from ..images import LabelAt, Reader, label_of, to_model
from ..seeding import global_seed
from .classifier import BATCH, LARGEST_SIDE, log_probabilities, trained, varied

MOST_IMAGES = 5000  # of a base that are looked at
MOST_SAMPLES = 2000  # synthetic images made for a fold
CHUNK = 500  # of them made at a time

MakeSamples = Callable[[Any], Any]
"""A part of a base -> a `SyntheticDataset` of it with ratio 1, fitted to that part alone."""


@dataclass(frozen=True)
class Labelled:
    """Labelled images of a base as the classifier sees them.

    Args:
        places: int64 `(N,)`, where they are in the base.
        images: uint8 `(N, C, S, S)`.
        targets: int64 `(N,)`, the places of their labels among `classes`.
    """

    places: Tensor
    images: Tensor
    targets: Tensor
    classes: tuple[int | str, ...]

    @classmethod
    def read(cls, base: Reader, count: int, at: LabelAt) -> "Labelled":
        """Read at most `MOST_IMAGES` of a base, drawn at random.

        Raises:
            ValueError: one has no label; or there are no two classes, or no class has two images to hold one out.
        """
        places = torch.randperm(count, generator=Generator().manual_seed(0))[:MOST_IMAGES].sort().values
        seen, labels, form = [], [], None
        for place in places.tolist():
            sample = base.read(place)[0]
            if (label := label_of(sample, at)) is None:
                raise ValueError(f"ratio='auto' judges by labels, and sample {place} of base has none: give a number")
            image = base.extract(sample)[0]
            form = form or form_of(image)
            seen.append(as_seen(image, *form))
            labels.append(label)
        classes = tuple(sorted(set(labels), key=lambda label: (isinstance(label, str), label)))
        if len(classes) < 2 or len(classes) == len(labels):
            raise ValueError(
                f"ratio='auto' holds out labelled images, and needs two classes, one of which has two: of {len(labels)} images "
                f"there are {len(classes)} classes. Give ratio a number"
            )
        index = {label: c for c, label in enumerate(classes)}
        return cls(places, torch.stack(seen), torch.tensor([index[label] for label in labels]), classes)

    def folds(self, count: int, generator: Generator) -> list[Tensor]:
        """Which images are held out in turn, bool `(N,)`: each once, of each class as many in each fold, and of none all."""
        fold = torch.full((len(self.targets),), -1)
        start = 0  # goes on from class to class, so that folds are of one size
        for c in range(len(self.classes)):
            own = (self.targets == c).nonzero()[:, 0]
            if len(own) > 1:
                fold[own[torch.randperm(len(own), generator=generator)]] = (torch.arange(len(own)) + start) % count
                start += len(own)
        return [held for f in range(count) if (held := fold == f).any()]


def form_of(image: Any) -> tuple[int, int]:
    """Channels and side of what the classifier sees, by the first image."""
    if isinstance(image, PIL.Image.Image):
        return (1 if image.mode in ("L", "LA") else 3), min(LARGEST_SIDE, max(image.size))
    return image.shape[-3], min(LARGEST_SIDE, max(image.shape[-2:]))


def as_seen(image: Any, channels: int, size: int) -> Tensor:
    """An image as uint8 `(channels, size, size)`."""
    return (to_model(image, channels, size)[0][0].clamp(0, 1) * 255).round().to(torch.uint8)


@dataclass(frozen=True)
class Fold:
    """What one fold found.

    Args:
        held: places among the labelled images, int64 `(H,)`.
        right: whether a classifier of each ratio tells their labels, bool `(ratios, H)`.
        score: the logarithm of the probability that it gives to these labels, float32 `(ratios, H)`.
    """

    held: Tensor
    right: Tensor
    score: Tensor


def judge_fold(
    base: Any,
    reader: Reader,
    labelled: Labelled,
    held: Tensor,
    make: MakeSamples,
    ratios: Sequence[float],
    steps: int,
    seed: int,
) -> Fold:
    """Train a classifier for each ratio on the images that are not held out, and judge it by those that are.

    All take the same steps over the same real images, samples and draws of the policy, as far as their shares allow: item k of a
    batch is a sample where a number drawn for it is below the share.
    """
    known = (~held).nonzero()[:, 0]
    with warnings.catch_warnings(), global_seed(seed):
        warnings.simplefilter("ignore")  # the fit to all images tells the same, once
        dataset = make(Subset(base, labelled.places[known].tolist()))
        synthetic, source = samples_of(dataset, reader, len(known), labelled.images.shape[1:], steps)
        items = steps * BATCH
        real_at, made_at = torch.randint(len(known), (items,)), torch.randint(len(synthetic), (items,))
        real, made = varied(labelled.images[known[real_at]]), varied(synthetic[made_at])
        real_targets, made_targets = labelled.targets[known[real_at]], labelled.targets[known[source[made_at]]]
        drawn = torch.rand(items, dtype=torch.float64)
    right, score = [], []
    for ratio in ratios:
        is_made = drawn < ratio / (1 + ratio)
        images = torch.where(is_made[:, None, None, None], made, real)
        targets = torch.where(is_made, made_targets, real_targets)
        net = trained(images, targets, len(labelled.classes), seed)
        predicted, truth = log_probabilities(net, labelled.images[held]), labelled.targets[held]
        right.append(predicted.argmax(1) == truth)
        score.append(predicted.gather(1, truth[:, None])[:, 0])
    return Fold(held.nonzero()[:, 0], torch.stack(right), torch.stack(score))


def samples_of(dataset: Any, reader: Reader, count: int, shape: Sequence[int], steps: int) -> tuple[Tensor, Tensor]:
    """Samples of a `SyntheticDataset` of `count` real images, as the classifier sees them, uint8, and their sources."""
    dataset.transform = None  # the base's own comes after augmentation, and may normalise
    indices = (count + torch.randint(len(dataset) - count, (min(MOST_SAMPLES, steps * BATCH),))).tolist()
    made = []
    for start in range(0, len(indices), CHUNK):
        samples = dataset.__getitems__(indices[start : start + CHUNK])
        made += [as_seen(reader.extract(sample)[0], shape[0], shape[1]) for sample in samples]
    return torch.stack(made), torch.tensor([dataset.source(index) for index in indices])
