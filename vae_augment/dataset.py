"""SyntheticDataset: a data set with synthetic samples added."""

import copy
import operator
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_leaves
from torch.utils.data import Dataset

from .amounts import balanced_sources, fixed_order, synthetic_count
from .base_fit import bundled_for, check_companions, check_label, fitted_to
from .export import Saving
from .images import (
    Finish,
    ImageKey,
    LabelAt,
    Reader,
    in_kind_of,
    is_as_it_is,
    label_of,
    plain_key,
    untransformed_reader,
    with_label,
)
from .numerics import float32_on_cpu
from .pool_images import Drawn, PoolImages, check_pool_options, over_pool, own_images
from .seeding import derived_seed, global_seed, thread_generator
from .share import SECONDS, RatioReport, check_unfitted, choose_ratio
from .transform import VAEAugment


class SyntheticDataset(Saving, Dataset[Any]):
    """`base` followed by synthetic samples: new images of the same class, or variations of its own; the rest is kept.

    If `augment` has a bank of latents and `base` has labels, it is fitted to them (a copy of it, on at most 100 images a
    class): a synthetic image is then a new one of its source's class. Otherwise, or if `augment` was given a jitter, a
    strength other than 1 or `residual=False`, it is its source's image, varied. Labels are integers or strings; where no two
    images share one they are taken for names, which is told by a warning, as other labels are.

    Indices of `base` keep their meaning; synthetic ones come after them. A base with its own transform (torchvision's,
    also inside `Subset` and `ConcatDataset`) is read before it, and its transform is then applied to the synthetic
    image as to the real one. DataLoader fetches whole batches, whose synthetic images cost one pass of the network.

    Args:
        base: any map-style data set, or list, of images or of samples that hold one image: `(image, label, ...)`, dicts.
        ratio: synthetic samples per real one, at least 0; may exceed 1. `len(self) == n + round(ratio * n)`. "auto": the one
            that earns most by cross-validation on `base` alone, or 0; `print(self.ratio_report)` shows what was tried.
        augment: what makes a synthetic image of a real one: a `VAEAugment`, a name or folder of weights as of
            `VAEAugment.from_pretrained`, or any callable on images. None: the bundled weights that reconstruct these
            images best.
        labels: where a sample's label is, if not in `(image, label, ...)` or under "label" or "labels": a key, a position, or a
            function of the sample.
        image_key: where a sample's image is, in `base` and in `pool`: a key or a position. None: as `augment` has it.
        balance: give the synthetic samples to the smallest classes first, instead of evenly.
        fit: False keeps a `VAEAugment` that was not fitted as it is.
        pool: unlabelled images, as `LatentBank.from_images` takes them, over which the labels spread: they are the
            bank. If `augment` has a bank of them, it is not made again.
        decode: of a pool, False serves its own images under the labels that spread to them, True decoded ones as without `pool`.
            None: its own if the VAE draws them badly, which is told by a warning.
        soft: labels are probabilities of the classes, float32 `(C,)` in the order of `self.augment.classes`, as MixUp gives them:
            of a pool's own image what spread to it, of a real image 1 for its class.
        seed: an integer gives the same synthetic image at an index every time, if `augment` draws from torch's generator, as
            torchvision's transforms do; None a fresh one.
        ratio_seconds: how long "auto" may take, beyond its first fold.

    Raises:
        TypeError: `base` has no length or no indexing, or `augment` is nothing that augments.
        ValueError: `augment` is None and no bundled weights fit the images; there is a pool, and nothing to fit to it; or
            ratio is "auto", and there are no labels to hold out, or `augment` was fitted before.

    Example:
        >>> import torch
        >>> from vae_augment import SyntheticDataset, VAEAugment
        >>> base = [(torch.rand(1, 28, 28), 3)] * 10
        >>> dataset = SyntheticDataset(base, ratio=0.5, augment=VAEAugment.from_pretrained("mnist"))
        >>> len(dataset), dataset.is_synthetic(12), dataset[12][1]
        (15, True, 3)
    """

    @float32_on_cpu()
    def __init__(
        self,
        base: Dataset[Any] | Sequence[Any],
        ratio: float | str = 0.5,
        augment: Callable[[Any], Any] | str | os.PathLike[str] | None = None,
        *,
        labels: LabelAt = None,
        image_key: ImageKey = None,
        balance: bool = False,
        fit: bool = True,
        pool: Any = None,
        decode: bool | None = None,
        soft: bool = False,
        seed: int | None = None,
        ratio_seconds: float = SECONDS,
    ) -> None:
        check_pool_options(pool, decode, soft, fit, labels)
        if image_key is None and isinstance(augment, VAEAugment):
            image_key = augment.image_key
        self._reader, look = (untransformed_reader(base, on_copies, image_key) for on_copies in (False, True))
        self._count = len(base)  # type: ignore[arg-type]  # untransformed asked for it
        if not (augment is None or callable(augment) or isinstance(augment, str | os.PathLike)):
            raise TypeError(
                f"augment must be a VAEAugment, a name of weights or another callable on images, got {augment!r}"
            )
        if seed is not None:
            seed = operator.index(seed)
        self.ratio_report: RatioReport | None = None
        if ratio == "auto":
            check_unfitted(augment)
            augment = _ready(augment, look, self._count, pool, image_key)
            options = {"labels": labels, "image_key": image_key, "balance": balance, "fit": fit, "pool": pool}
            self.ratio_report = choose_ratio(
                base,
                lambda part: SyntheticDataset(part, 1, augment, decode=decode, **options),
                labels=labels,
                image_key=image_key,
                seconds=ratio_seconds,
                seed=seed or 0,
            )
            ratio = self.ratio_report.ratio
        self._synthetic = synthetic_count(ratio, self._count)
        assert not isinstance(ratio, str)  # of which that has told
        self.base, self.ratio, self.seed, self.soft, self._labels_at = base, ratio, seed, soft, plain_key(labels)
        if soft and not self._synthetic:
            raise ValueError(
                f"soft labels come of a fit for synthetic samples, and ratio={ratio} asks for none: raise it"
            )
        self._order = fixed_order(self._count)
        self._sources = self._balanced_sources(look) if balance and self._synthetic else None
        self._assigned: dict[str, Callable[[Any], Any] | None] = {}  # transforms
        if self._synthetic or isinstance(augment, str | os.PathLike):
            augment = _ready(augment, look, self._count, pool if self._synthetic else None, image_key)
        self.augment = augment
        self._unfitted: VAEAugment | None = None
        if isinstance(self.augment, VAEAugment) and self._synthetic:
            if self.augment.classes is not None:
                first = look.read(0)[0]
                check_label(first, self.augment, labels)
                check_companions(first, look.extract(first)[0])
            elif fit and self.augment.can_fit:
                self._unfitted, self.augment = (
                    copy.copy(self.augment),
                    fitted_to(self.augment, look, self._order.tolist(), self._labels_at),
                )
        self._own: PoolImages | None = None
        if pool is not None and self._synthetic:
            assert isinstance(self.augment, VAEAugment)
            self._own = own_images(self.augment, pool, decode, soft, image_key)

    def __len__(self) -> int:
        return self._count + self._synthetic

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.__getitems__(range(*index.indices(len(self))))
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """The samples at these indices, their synthetic images made in one batch. DataLoader calls it."""
        indices = [self._checked(index) for index in indices]
        synthetic = iter(self._make([index for index in indices if index >= self._count]))
        return [self._real(index) if index < self._count else next(synthetic) for index in indices]

    @property
    def transform(self) -> Callable[[Any], Any] | None:
        """The transform of the images, real and synthetic: that of `base`, or one that was assigned here.

        An assigned one takes the place of the base's own, where the base can be read without it; else it comes after it.
        """
        return self._assigned.get("transform", getattr(self.base, "transform", None))

    @transform.setter
    def transform(self, value: Callable[[Any], Any] | None) -> None:
        self._assigned["transform"] = value

    @property
    def target_transform(self) -> Callable[[Any], Any] | None:
        """The transform of the labels: that of `base`, or one that was assigned here, which comes after it."""
        return self._assigned.get("target_transform", getattr(self.base, "target_transform", None))

    @target_transform.setter
    def target_transform(self, value: Callable[[Any], Any] | None) -> None:
        if self.soft and value is not None:
            raise ValueError(
                "soft labels are distributions over the classes: give target_transform to base, before the fit"
            )
        self._assigned["target_transform"] = value

    @property
    def targets(self) -> Any:
        """Labels of all samples, of the kind that `base.targets` is; AttributeError if it has none."""
        own = self.base.targets
        sources = [self._source(index) for index in range(self._count, len(self))]
        if isinstance(own, torch.Tensor):
            return torch.cat([own, own[sources]])
        if isinstance(own, np.ndarray):
            return np.concatenate([own, own[sources]])
        return [*own, *(own[source] for source in sources)]

    @property
    def classes(self) -> Any:
        """`base.classes`; AttributeError if it has none."""
        return self.base.classes

    @property
    def class_to_idx(self) -> Any:
        """`base.class_to_idx`; AttributeError if it has none."""
        return self.base.class_to_idx

    def is_synthetic(self, index: int) -> bool:
        """Whether the sample at this index is synthetic."""
        return self._checked(index) >= self._count

    def source(self, index: int) -> int:
        """The index in `base` of the sample that this one is, or was made from.

        Sources are spread evenly over `base` (unless balanced) in a random order that is always the same: every n-th one
        would meet only some classes of a data set in which they take turns.
        """
        index = self._checked(index)
        return index if index < self._count else self._source(index)

    def _source(self, index: int) -> int:
        if self._sources is not None:
            return self._sources[index - self._count]
        return int(self._order[(index - self._count) % self._count])

    def __repr__(self) -> str:
        return (
            f"SyntheticDataset({self._count} real + {self._synthetic} synthetic, ratio={self.ratio}, "
            f"augment={self.augment}, base={type(self.base).__name__})"
        )

    def _checked(self, index: int) -> int:
        """The index as an int from 0 to len - 1; negative ones count from the end."""
        position, length = operator.index(index), self._count + self._synthetic
        if not -length <= position < length:
            raise IndexError(f"index {index} is out of range for {length} samples")
        return position % length

    def _make(self, indices: list[int]) -> list[Any]:
        read, parts, labels = self._read_sources([self._source(index) for index in indices])
        drawn = self._vary([image for image, _ in parts], labels, indices)
        if (
            self._own is None and not self.soft
        ):  # of the old ones' kind and size; a step less an image, in the usual case
            each = zip(parts, read, drawn, strict=True)
            return [self._finished(join(new), finish) for (_, join), (_, finish), (new, _) in each]
        made = []
        for (old, join), (_, finish), (new, distribution) in zip(parts, read, drawn, strict=True):
            # the pool's own keeps its size on its way through base's transform, if there is one
            keeps_size = not is_as_it_is(finish) or self._assigned.get("transform") is not None
            image = new if distribution is None else in_kind_of(new, old, same_size=not keeps_size)
            made.append(self._with_soft_label(self._finished(join(image), finish), distribution))
        return made

    def new_images(self, sources: Sequence[int], seed: int) -> list[Any]:
        """Synthetic images of these samples of `base`, before its transforms: a batch that depends on the seed alone."""
        _, parts, labels = self._read_sources(sources)
        return [new for new, _ in self._vary_by(seed, [image for image, _ in parts], labels)]

    def _read_sources(
        self, sources: Sequence[int]
    ) -> tuple[list[tuple[Any, Finish]], list[tuple[Any, Callable[[Any], Any]]], list[int | str | None]]:
        """Samples of `base`, taken apart, and their labels, known to be ones that `augment` makes images of."""
        read = [self._reader.read(source) for source in sources]
        if isinstance(self.augment, VAEAugment):
            self.augment.check_geometry(leaf for sample, _ in read for leaf in tree_leaves(sample))
        parts = [self._reader.extract(sample) for sample, _ in read]
        labels = [label_of(sample, self._labels_at) for sample, _ in read]
        if (
            isinstance(self.augment, VAEAugment)
            and self._unfitted is None
            and (known := self.augment.classes) is not None
        ):
            for (sample, _), label in zip(read, labels, strict=True):
                if label not in known:
                    check_label(sample, self.augment, self._labels_at)  # which tells
        return read, parts, labels

    def _real(self, index: int) -> Any:
        sample = self._finished(*self._reader.read(index)) if self._assigned else self.base[index]
        return self._with_soft_label(sample, None)

    def _with_soft_label(self, sample: Any, distribution: torch.Tensor | None) -> Any:
        """A sample with a distribution as its label, by default 1 for the label that it has; as it is unless labels are soft."""
        if not self.soft:
            return sample
        if distribution is None:
            assert isinstance(self.augment, VAEAugment)
            assert self.augment.classes is not None  # labels are soft after a fit alone
            check_label(sample, self.augment, self._labels_at)
            distribution = torch.zeros(len(self.augment.classes), dtype=torch.float32, device="cpu")
            distribution[self.augment.classes.index(label_of(sample, self._labels_at))] = 1
        return with_label(sample, lambda _: distribution, self._labels_at)

    def _finished(self, sample: Any, finish: Finish) -> Any:
        """Apply the base's own transforms to a raw sample, or those that were assigned in their place."""
        if "transform" not in self._assigned:
            sample = finish(sample)
        elif (transform := self._assigned["transform"]) is not None:
            image, join = self._reader.extract(sample)
            sample = join(transform(image))
        if (target_transform := self._assigned.get("target_transform")) is not None:
            sample = with_label(sample, target_transform, self._labels_at)
        return sample

    def _vary(self, images: list[Any], labels: list[int | str | None], indices: list[int]) -> list[Drawn]:
        if self.seed is None:
            return self._vary_fresh(images, labels, None)
        # one by one: in a batch, rounding would depend on which other images are in it
        varied: list[Drawn] = []
        for image, label, index in zip(images, labels, indices, strict=True):
            varied += self._vary_by(derived_seed(self.seed, index), [image], [label])
        return varied

    def _vary_by(self, seed: int, images: list[Any], labels: list[int | str | None]) -> list[Drawn]:
        if isinstance(self.augment, VAEAugment):
            return self._vary_fresh(images, labels, torch.Generator().manual_seed(seed))
        with global_seed(seed):  # another callable draws from the global generator
            return self._vary_fresh(images, labels, None)

    def _vary_fresh(
        self, images: list[Any], labels: list[int | str | None], generator: torch.Generator | None
    ) -> list[Drawn]:
        if self._own is None:
            return [Drawn(image) for image in self._new_pixels(images, labels, generator)]
        return [self._drawn(image, label, generator) for image, label in zip(images, labels, strict=True)]

    def _drawn(self, image: Any, label: int | str | None, generator: torch.Generator | None) -> Drawn:
        """An image of the pool in place of one of this label; a class of which it holds none is as without `pool`."""
        assert self._own is not None
        if label is None or label not in self._own:
            return Drawn(self._new_pixels([image], [label], generator)[0])
        generator = generator or thread_generator()
        is_kept = torch.rand((), generator=generator, dtype=torch.float32, device="cpu") >= self.augment.p
        return Drawn(image) if is_kept else self._own.draw(label, generator)

    def _new_pixels(
        self, images: list[Any], labels: list[int | str | None], generator: torch.Generator | None
    ) -> list[Any]:
        if not isinstance(self.augment, VAEAugment):
            return [self.augment(image) for image in images]
        if self.augment.classes is None:
            return self.augment.vary_all(images, generator=generator)
        if self._unfitted is None or set(labels) <= set(self.augment.classes):
            return self.augment.vary_all(images, labels, generator)
        # a class so rare that the fit did not meet it: its images are varied instead
        self._unfitted.p, self._unfitted.strength = self.augment.p, self.augment.strength
        return [
            self.augment.vary_all([image], [label], generator)[0]
            if label in self.augment.classes
            else self._unfitted.vary_all([image], generator=generator)[0]
            for image, label in zip(images, labels, strict=True)
        ]

    def _balanced_sources(self, look: Reader) -> list[int]:
        """Sources of the synthetic samples, so that the smallest classes are filled first."""
        labels = [label_of(look.read(index)[0], self._labels_at) for index in range(self._count)]
        if None in labels:
            raise ValueError("balance needs samples with a label: (image, label, ...)")
        return balanced_sources(labels, self._synthetic)  # type: ignore[arg-type]


def _ready(augment: Any, look: Reader, count: int, pool: Any, image_key: ImageKey) -> Callable[[Any], Any]:
    """What augments, loaded and over the pool, but not fitted."""
    if augment is None:
        augment = bundled_for(look, count)
    ready = VAEAugment.from_pretrained(augment) if isinstance(augment, str | os.PathLike) else augment
    if pool is None:
        return ready
    if not isinstance(ready, VAEAugment):
        raise TypeError(f"pool= takes a VAEAugment, or a name of weights, as augment, got {ready!r}")
    return over_pool(ready, pool, image_key)
