"""What a fit learns from labelled images: read them, query the pool, check it, spread the labels, keep the classes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Self

import torch
from torch import Tensor

from .classes import ClassDifferences, ClassLatents
from .encoders import Encoder, Features, read_features
from .fit_report import FitReport
from .images import ImageKey, LabelAt, plain_label, read_labelled, untransformed_reader
from .pool import ClassTexts, LabelledFeatures, LatentBank, Query, TextClasses
from .pool_labels import PoolLabels, Spread
from .progress import progress
from .user_warning import warn
from .vae import Codec

Classes = ClassLatents | ClassDifferences
Labels = tuple[int | str, ...]
MANY_CLASSES, TINY_CLASS = 30, 3  # labels, and images of one, that look like numbers


@dataclass(frozen=True, eq=False)
class Fit:
    """What a fit knows of the classes.

    Args:
        jitter: draws an image, or a latent, of a class.
        labels: of the classes, integers or strings, sorted.
        report: what was found out about a pool; None without one, and of a fit that was read from a file.
        spread: what is known of the pool's images; None without a pool, and of a fit from a file.
    """

    jitter: Classes
    labels: Labels
    report: FitReport | None = None
    spread: Spread | None = None

    @classmethod
    def learn(
        cls,
        vae: Codec,
        bank: LatentBank | None,
        labelled: Any,
        keep: float | None,
        at: LabelAt = None,
        features: Features | None = None,
        classes: ClassTexts | None = None,
        image_key: ImageKey = None,
    ) -> Self:
        """Learn from a data set of labelled images, from texts of classes, or from both; see `VAEAugment.fit`.

        Raises:
            ValueError: there are fewer than two classes, or `keep` is no part of a class.
        """
        if keep is not None and not 0 < keep <= 1:
            raise ValueError(f"keep must be above 0 and at most 1, got {keep!r}")
        known = Known.read(vae, bank, labelled, at, features, classes, image_key)
        for message in known.oddities():
            warn(message)
        index, names, unseen = known.labels, known.names, known.without_images()
        report = None
        if bank is not None:
            asked = bank.query(vae, known.images, known.features)
            if known.seeds is not None:
                asked = asked.with_seeds(known.seeds, alone=len(unseen) > 0)
            query = asked.weighed(index, len(names))
            verdict = check_pool(bank, query, index, len(names))
            if not verdict.is_of_use and unseen:
                raise ValueError(
                    f"{verdict.warning}. Of {unseen} there are texts alone, and no images to vary: label some"
                )
            if verdict.warning is not None:
                warn(verdict.warning)
            if verdict.is_of_use:
                scores = query.scores(index, len(names))
                members = query.class_members(index, len(names), keep, scores)
                if absent := [name for name, places in zip(names, members, strict=True) if not len(places)]:
                    warn(
                        f"the bank holds no images like those of {absent}: samples of these are redrawn labelled images. "
                        "Pass a bank of unlabelled images with all classes among them"
                    )
                report = FitReport.of(asked, query, index, names, members, verdict.warning)
                seeds = None if query.seeds is None else known.seeds  # none where texts proved to mislead
                latents = ClassLatents.from_bank(vae, bank, members, known.images, index, seeds)
                return cls(latents, names, report, Spread.of(scores, members, bank.index, verdict.accuracy))
            report = FitReport.of(asked, query, index, names, [], verdict.warning)
        if len(names) == len(index):
            warn(
                "there is one image of each class, and nothing to tell how images of a class differ: samples are copies"
            )
        return cls(ClassDifferences.from_images(vae, known.images, index, len(names)), names, report)

    @cached_property
    def _places(self) -> dict[Any, int]:
        return {label: place for place, label in enumerate(self.labels)}

    def pool_labels(self) -> PoolLabels:
        """The labels of the pool's images.

        Raises:
            RuntimeError: there are none.
        """
        if self.spread is not None:
            return self.spread.labels(self.labels)
        if isinstance(self.jitter, ClassLatents):
            raise RuntimeError(
                "a fit from a file does not hold the labels of the pool's images: fit again to have them"
            )
        raise RuntimeError(
            "no labels were spread: there is no bank, or the fit warned that it is of no use. Make one of your own unlabelled "
            "images, bank=LatentBank.from_images(vae, images)"
        )

    def index(self, labels: Sequence[Any]) -> Tensor:
        """Labels -> the places of their classes, int64 `(B,)`.

        Raises:
            ValueError: a label that the fit has not seen.
        """
        wanted = [plain_label(label) for label in labels]
        places = [self._places.get(label, -1) for label in wanted]
        if -1 in places:
            if None in wanted:
                bad = labels[wanted.index(None)]
                raise ValueError(f"a sample of a class needs a label, an integer or a string, got {bad!r}")
            unknown = sorted(set(wanted) - set(self.labels), key=str)
            raise ValueError(f"no such class: {unknown}; fit has seen {self.labels}")
        return torch.tensor(places, dtype=torch.int64, device="cpu")

    def index_all(self, labels: Sequence[Any] | Tensor) -> Tensor:
        """The same of a list or a vector of labels, as a user gives it. Raises TypeError for a lone label."""
        if isinstance(labels, str) or not isinstance(labels, Iterable) or getattr(labels, "ndim", 1) != 1:
            raise TypeError(f"sample takes a list or a vector of labels, one for each image: [{labels!r}]")
        return self.index(labels.tolist() if isinstance(labels, Tensor) else list(labels))


@dataclass(frozen=True, eq=False)
class Known:
    """What a fit is given: labelled images, images of the pool that texts name, or both.

    Args:
        names: of all classes, sorted.
        images: float32 `(M, C, S, S)` in [0, 1]; labels: int64 `(M,)`, places in `names`.
        features: of the images, in the view of the bank's encoder; None without one.
        seeds: int64 `(N,)`, places in `names` of the pool's images that texts name, -1 for others; None without texts.
    """

    names: Labels
    images: Tensor
    labels: Tensor
    features: Tensor | None
    seeds: Tensor | None

    @classmethod
    def read(
        cls,
        vae: Codec,
        bank: LatentBank | None,
        labelled: Any,
        at: LabelAt,
        features: Features | None,
        classes: ClassTexts | None,
        image_key: ImageKey,
    ) -> Self:
        """Read the images and the texts, and let these choose their seeds.

        Raises:
            TypeError: there are neither.
            ValueError: there are fewer than two classes, or one of which there is no image at all.
        """
        if labelled is None and classes is None:
            raise TypeError(
                "fit needs labelled images, fit(labelled), or texts of classes, fit(classes={...}), or both"
            )
        check_no_texts(labelled)
        source = None if features is None else read_features(features)
        if labelled is None and isinstance(source, Tensor):
            raise ValueError(
                "an array of features has a row for each labelled image, and there are none: fit(classes=..., "
                "features=encoder), or leave features out"
            )
        texts = None if classes is None else text_classes(bank, classes, source)
        images, own, rows = _read_images(vae, bank, labelled, at, source, image_key)
        check_of_one_kind(own, () if texts is None else texts.labels)
        names = tuple(
            sorted({*own, *(() if texts is None else texts.labels)}, key=lambda label: (isinstance(label, str), label))
        )
        if len(names) < 2:
            given = "texts" if texts is not None and not own else len(own)
            raise ValueError(f"fit needs images or texts of at least two classes, got {given} of {names}")
        labels = torch.tensor([names.index(label) for label in own], dtype=torch.int64)
        if texts is None:
            return cls(names, images, labels, rows, None)
        seeds = texts.seeds(names, texts.pool[:0] if rows is None else rows, labels)
        if lacking := [name for c, name in enumerate(names) if not ((labels == c).any() or (seeds == c).any())]:
            raise ValueError(
                f"no image of the pool is more like the text of {lacking} than like those of other classes: say it otherwise, "
                "leave such classes out, or label some images of them"
            )
        return cls(names, images, labels, rows, seeds)

    def oddities(self) -> Iterator[str]:
        """What its user should know of labels that do not look like those of classes."""
        if -1 in self.names and len(self.names) > 2:
            yield "label -1 is taken for a class like others: leave images without a label out"
        sizes = self.labels.unique(return_counts=True)[1].sort().values.tolist()
        if len(sizes) >= MANY_CLASSES and (middle := sizes[len(sizes) // 2]) <= TINY_CLASS:
            yield (
                f"the fit takes {len(sizes)} labels for classes, half of them with {middle} images or fewer. If they are "
                "numbers, as ages or counts, leave the fit out (SyntheticDataset: fit=False): then images are varied, and no "
                "new ones are made"
            )

    def without_images(self) -> list[int | str]:
        """Classes of which no image is labelled."""
        return [name for c, name in enumerate(self.names) if not (self.labels == c).any()]


def _read_images(
    vae: Codec,
    bank: LatentBank | None,
    labelled: Any,
    at: LabelAt,
    source: Encoder | Tensor | None,
    image_key: ImageKey,
) -> tuple[Tensor, list[int | str], Tensor | None]:
    """Labelled images, their labels and, if the bank compares by an encoder, their features; none if there are none."""
    if labelled is None:
        return torch.empty(0, vae.channels, vae.size, vae.size, dtype=torch.float32), [], None
    untransformed_reader(labelled)  # which tells what cannot be read
    beside = labelled_features(bank, source, labelled)
    see = None if beside is None else beside.see
    through = partial(progress, what="read images", unit=" images")
    images, labels = read_labelled(labelled, vae.channels, vae.size, at, see, image_key, through)
    return images, labels, None if beside is None else beside.result()


def check_no_texts(labelled: Any) -> None:
    """Raises TypeError for texts in place of labelled images."""
    if not isinstance(labelled, str | Mapping | list | tuple):
        return
    first = next(iter(labelled.values() if isinstance(labelled, Mapping) else labelled), None)
    of_class = first if isinstance(first, list | tuple) and first else [first]
    if all(isinstance(text, str) for text in of_class):
        raise TypeError(
            f"fit takes labelled images first, and got texts, {labelled!r:.100}: those of classes go by name, "
            "fit(classes={...}), and files of images are read by a data set, as ImageFolder"
        )


def check_of_one_kind(labels: Sequence[int | str], of_texts: Sequence[int | str]) -> None:
    """Raises ValueError if images have integers for labels and texts have names, or the other way round: no class has both."""
    kinds = [{isinstance(label, str) for label in given} for given in (labels, of_texts)]
    if all(kinds) and not kinds[0] & kinds[1]:
        raise ValueError(
            f"images have labels as {labels[0]!r}, and texts as {of_texts[0]!r}, so that no class would have both: give texts "
            f"under the labels of the images, classes={{{labels[0]!r}: 'a photo of an ant', ...}}"
        )


def text_classes(bank: LatentBank | None, classes: ClassTexts, source: Encoder | Tensor | None) -> TextClasses:
    """Classes that texts describe, beside the pool. Raises ValueError if there is no pool, or no encoder that reads texts."""
    if bank is None:
        raise ValueError(
            "texts of classes are compared with the images of a pool, and there is none: bank=LatentBank.from_images(vae, "
            "images, features=encoder), of an encoder that knows texts"
        )
    return bank.text_classes(classes, source if isinstance(source, Encoder) else None)


def labelled_features(
    bank: LatentBank | None, source: Encoder | Tensor | None, labelled: Any
) -> LabelledFeatures | None:
    """What collects features of labelled images while they are read; None for a bank that compares images by no encoder.

    Raises:
        ValueError: there is no encoder here, or features are given to a bank without one.
    """
    own = None if bank is None else bank.encoder_features
    if own is not None:
        return LabelledFeatures(own, source, len(labelled))
    if source is not None:
        raise ValueError(
            "fit was given features, and there is no bank that compares images by such: "
            "bank=LatentBank.from_images(vae, images, features=...)"
        )
    return None


ENOUGH_BY_CLASS = 30  # images, by which classes are told from a pool's where each counts alike


@dataclass(frozen=True)
class Verdict:
    """Whether samples are drawn from a pool, and what its user should know of it."""

    is_of_use: bool
    warning: str | None = None
    accuracy: float | None = None  # part of the labels that are right, by cross-validation; None if it was not asked


def check_pool(bank: LatentBank, query: Query, labels: Tensor, classes: int) -> Verdict:
    """Judge whether a pool holds images like the labelled ones, and whether their labels spread over it.

    Args:
        query: the labelled images, compared with the bank.
        labels: int64 `(M,)`, from 0 to classes - 1.
    """
    policy, accuracy = query.policy, None
    count, held = len(labels), "labelled images"
    if not count and query.seeds is not None:
        count, held = int((query.seeds >= 0).sum()), "images that texts name,"
    is_unlike = len(labels) > 0 and bool(query.typicality.median() < policy.least_typicality)
    if is_unlike or query.two_sample_auc > policy.largest_auc:
        return Verdict(
            False,
            "the bank of latents does not know images like these, so that samples are variations of the labelled images, not "
            "new ones of their classes. Pass a bank of your own unlabelled images, bank=LatentBank.from_images(vae, images), or "
            "weights trained on such images",
        )
    if count >= policy.accuracy_from_labels * classes:
        accuracy = query.cross_validated_accuracy(labels, classes)
        if accuracy < policy.least_accuracy_of(count, classes):
            lacking = " and ".join(bank.missing_views(query.vae))
            return Verdict(
                False,
                f"these weights do not tell the classes apart: spread over the bank, labels are right for {accuracy:.0%} of the "
                f"{held} held out. So samples are variations of the labelled images, not new ones of their classes, and "
                "rarely help a classifier: use weights or a bank that know such images, or leave samples out (p=0, ratio=0)"
                + (
                    f". This bank, of an earlier version, has no {lacking}: LatentBank.from_images(vae, images)"
                    if lacking
                    else ""
                ),
            )
    if _holds_others(query, labels):
        return Verdict(
            True,
            "the bank holds many images unlike the labelled ones, and samples will show such things too: a bank of your own "
            "unlabelled images of these classes has better ones, bank=LatentBank.from_images(vae, images)",
            accuracy,
        )
    return Verdict(True, accuracy=accuracy if len(labels) else None)  # of seeds it says how easy they are


def _holds_others(query: Query, labels: Tensor) -> bool:
    """Whether a pool holds many images unlike the labelled ones, as far as these are enough to say so.

    Classes of unequal number are told from a pool by their number, too. So each counts alike, where the images then count as
    much as enough of equal classes do (Kish's effective sample size): one or two images of a class say little.
    """
    most = query.policy.largest_auc_without_warning
    if query.two_sample_auc <= most:
        return False
    count = labels.bincount()
    effective = int((count > 0).sum()) ** 2 / float((1 / count[count > 0]).sum())
    return effective < ENOUGH_BY_CLASS or query.two_sample_auc_of_classes(labels) > most
