"""All that is measured, before anything is judged."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..progress import progress
from ..seeding import global_seed
from .comparison import Features3, Figure, Measured, Trial, compare, figure
from .copying import c_t, training_side
from .features import Features, fit_features, of_network, of_user
from .frechet import DIMENSIONS
from .judging import MOST_JUDGED, LabelTruth, Lesson, label_truth, lesson
from .near import Closeness, Nearest, closeness, distinct, nearest
from .network import Network, train, usual_steps
from .sets import ImageSet, Sets
from .two_sample import TwoSample, two_sample_test

LARGEST_TEST = 1000  # images of each side of the two-sample test
LEAST_TESTED = 40
OWN_FEATURES = (
    "a small classifier, trained here on the {:,} real images (mean and deviation of each channel of its layers)"
)


@dataclass(frozen=True, eq=False)
class Copies:
    """Nearness to real images.

    Args:
        to_training, to_held_out: of all synthetic images.
        unseen, back: of held-out images to training ones, and the other way round: what real images have of copies.
        c_t: see `copying.c_t`; nan if not known.
        ours, nearest: see `copying.training_side`.
    """

    to_training: Closeness
    to_held_out: Closeness
    unseen: Closeness
    back: Closeness
    c_t: float
    ours: int
    nearest: int

    @cached_property
    def is_copy(self) -> Tensor:
        """Of each synthetic image, whether it is a copy of a real one."""
        return self.to_training.is_copy | self.to_held_out.is_copy

    @cached_property
    def of_held_out(self) -> Tensor:
        """Whether the real image that it is likest to is a held-out one."""
        return self.to_held_out.ratio < self.to_training.ratio

    @property
    def known(self) -> tuple[int, int]:
        """How many real images are copies of ones of the other kind, and of how many."""
        kinds = (self.unseen, self.back)
        return sum(len(x.place[x.is_copy].unique()) for x in kinds), sum(len(x.place) for x in kinds)

    @property
    def ratio(self) -> Tensor:
        """Of each synthetic image, to the real one that it is likest to."""
        return torch.minimum(self.to_training.ratio, self.to_held_out.ratio)


@dataclass(frozen=True, eq=False)
class Facts:
    """What was measured.

    Args:
        sets: the images.
        sample: synthetic ones that were looked at, at most `MOST_JUDGED`; distinct: those of them that repeat no other.
        real_distinct: part of as many training images that repeat no other.
        features: what images are compared by.
        embedded: features and classes of distinct synthetic, held-out and training images.
        trials: see `compare`; empty if there are too few.
        test, real_test: a classifier tells synthetic, and training, from held-out images; None if there are too few.
        copies, truth, lessons: see there.
    """

    sets: Sets
    sample: ImageSet
    distinct: ImageSet
    real_distinct: float
    features: Features
    embedded: Features3
    trials: list[Trial]
    test: TwoSample | None
    real_test: TwoSample | None
    copies: Copies
    truth: LabelTruth
    lessons: tuple[Lesson, ...]
    asked: ImageSet
    repeats: Nearest

    def figure(self, get: Callable[[Measured], Tensor | float]) -> Figure:
        return figure(self.trials, get)

    @property
    def distinct_part(self) -> float:
        return len(self.distinct) / len(self.sample)


def measure(sets: Sets, features: Any, seed: int, show: bool) -> Facts:
    """Measure all, with a bar of its steps."""
    bar = iter(progress(range(8), "report", total=8, unit="step", show=show))
    classes, training = len(sets.classes), sets.training
    next(bar)
    held_out, seen = sets.held_out.some(MOST_JUDGED, seed), training.some(MOST_JUDGED, seed)
    looked_at = sets.synthetic.some_places(MOST_JUDGED, seed)
    sample = sets.synthetic.at(looked_at)
    kept = distinct(sample.images, seen.images)
    unique, own = sample.at(kept), training.some(len(sample), seed)
    real_distinct = len(distinct(own.images, own.images)) / len(own)
    repeats = nearest(sample.images, sample.images, torch.arange(len(sample)))
    next(bar)
    embed = _features(features, training, seen, classes, seed)
    sides = ((embed(part.images), part.labels) for part in (unique, held_out, seen))
    embedded = Features3(*sides)
    next(bar)
    judge, lessons = _lessons(sets, held_out, classes, seed, lambda: next(bar))
    with global_seed(seed):  # KID draws from it
        trials = compare(embedded, embed.axes, classes, seed)
    next(bar)
    test = _tested(embedded.synthetic, embedded.held_out, classes, seed)
    real_test = _tested(embedded.training, embedded.held_out, classes, seed)
    next(bar)
    copies = _copies(sets, looked_at[kept], embedded, classes, seed)
    truth = label_truth(judge, unique, held_out, classes)
    for _ in bar:
        pass  # which ends it
    return Facts(
        sets,
        sample,
        unique,
        real_distinct,
        embed,
        embedded,
        trials,
        test,
        real_test,
        copies,
        truth,
        lessons,
        held_out,
        repeats,
    )


def _features(features: Any, training: ImageSet, seen: ImageSet, classes: int, seed: int) -> Features:
    if features is not None:
        return fit_features(*of_user(features), seen.images, DIMENSIONS)
    # a network of its own, which does not know what the judge of labels has learnt
    network = train(training.images, training.labels, classes, usual_steps(len(training)), seed + 1)
    return fit_features(OWN_FEATURES.format(len(training)), of_network(network), seen.images, DIMENSIONS)


def _lessons(
    sets: Sets, held_out: ImageSet, classes: int, seed: int, step: Callable[[], object]
) -> tuple[Network, tuple[Lesson, ...]]:
    """A classifier that the real images have taught, and what each set teaches."""
    steps = usual_steps(len(sets.training))
    found, networks = [], []
    for name, part in (
        ("real", sets.training),
        ("synthetic", sets.synthetic),
        ("both", _both(sets.training, sets.synthetic)),
    ):
        networks.append(train(part.images, part.labels, classes, steps, seed))
        found.append(lesson(networks[-1], name, len(part), held_out))
        step()
    return networks[0], tuple(found)


def _both(a: ImageSet, b: ImageSet) -> ImageSet:
    return ImageSet(torch.cat([a.images, b.images]), torch.cat([a.labels, b.labels]))


def _tested(mine: tuple[Tensor, Tensor], real: tuple[Tensor, Tensor], classes: int, seed: int) -> TwoSample | None:
    """The two-sample test, of as many images of each class from either side."""
    generator = torch.Generator().manual_seed(seed)
    limit = max(1, LARGEST_TEST // classes)
    kept: tuple[list[Tensor], list[Tensor]] = ([], [])
    for c in range(classes):
        places = [(labels == c).nonzero()[:, 0] for _, labels in (mine, real)]
        count = min(limit, *map(len, places))
        for chosen, place in zip(kept, places, strict=True):
            chosen.append(place[torch.randperm(len(place), generator=generator)[:count]])
    a, b = map(torch.cat, kept)
    if len(a) < LEAST_TESTED:
        return None
    return two_sample_test(mine[0][a], real[0][b], seed)


def _copies(sets: Sets, distinct_places: Tensor, embedded: Features3, classes: int, seed: int) -> Copies:
    training, held_out, synthetic = sets.training, sets.held_out, sets.synthetic
    to_training = closeness(synthetic.images, training.images)
    to_held_out = closeness(synthetic.images, held_out.images)
    asked = held_out.some(MOST_JUDGED, seed)
    unseen = closeness(asked.images, training.images)
    back = closeness(training.some(MOST_JUDGED, seed).images, held_out.images)
    unique = synthetic.at(distinct_places)
    # cells of the space: around the mean of each class, by features
    means = _class_means(*embedded.training)
    cells = [torch.cdist(features, means).argmin(1) for features, _ in (embedded.synthetic, embedded.held_out)]
    value = c_t(to_training.distance[distinct_places], unseen.distance, cells[0], cells[1])
    a, b = _as_many(training, held_out, classes, seed)
    if not len(a):
        return Copies(to_training, to_held_out, unseen, back, math.nan, 0, 0)
    near_a, near_b = nearest(unique.images, a.images), nearest(unique.images, b.images)
    ours, all_ = training_side(near_a.distance, near_b.distance, near_a.place, near_b.place)
    return Copies(to_training, to_held_out, unseen, back, value, ours, all_)


def _class_means(features: Tensor, labels: Tensor) -> Tensor:
    """Mean features of each class that occurs, `(classes, D)`."""
    return torch.stack([features[labels == c].mean(0) for c in labels.unique()])


def _as_many(a: ImageSet, b: ImageSet, classes: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """As many images of each class from either set."""
    generator = torch.Generator().manual_seed(seed)
    kept: tuple[list[Tensor], list[Tensor]] = ([], [])
    for c in range(classes):
        places = [(s.labels == c).nonzero()[:, 0] for s in (a, b)]
        count = min(map(len, places))
        for chosen, place in zip(kept, places, strict=True):
            chosen.append(place[torch.randperm(len(place), generator=generator)[:count]])
    return a.at(torch.cat(kept[0])), b.at(torch.cat(kept[1]))
