"""Subject: images by the name that a user types, the weights that suit them, and a fit where there can be one."""

import copy
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from PIL.Image import Image
from torch.utils.data import Dataset

from .. import hub
from ..amounts import fixed_order
from ..base_fit import bundled_for, fitted_to
from ..hub import Weights
from ..images import as_seen, files, spread_places, untransformed_reader
from ..jitter import Jitter
from ..preview import allowed_jitters
from ..source import LabelledImages, open_source, open_whole
from ..transform import VAEAugment


class UnlabelledImages(Dataset[Image]):
    """The image files anywhere under a folder, read one by one."""

    def __init__(self, found: Sequence[Path]) -> None:
        self._files = found

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Image:
        return as_seen(open_whole(self._files, index))


@dataclass(frozen=True, eq=False)
class Subject:
    """Images and what may be done with them.

    Args:
        source, root: as a user named them.
        images: labelled ones, or not.
        weights: the name of the weights.
        loaded: the weights themselves.
        fitted: a copy that a fit gave new images of the classes; None: there can be none, and `notes` say why.
        notes: what the user should know, a sentence each.
    """

    source: str
    root: str | None
    images: LabelledImages | UnlabelledImages
    weights: str
    loaded: Weights
    fitted: VAEAugment | None
    notes: tuple[str, ...]

    @classmethod
    def open(cls, source: str, weights: str | None = None, root: str | os.PathLike[str] | None = None) -> Self:
        """Open images, choose weights, and fit.

        Args:
            source, root: as of `vae_augment.source.open_source`; or a folder of images without classes.
            weights: a name or folder of weights. None: the bundled ones that reconstruct these images best.

        Raises:
            FileNotFoundError: there is no such source, or no such weights.
            ValueError: no bundled weights suit the images.

        Example:
            >>> subject = Subject.open("sample")
            >>> subject.weights, subject.fitted is not None, subject.classes[:2]
            ('fashion-mnist', True, ('T-shirt', 'Trouser'))
        """
        images = _open(source, root)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            reader = untransformed_reader(images, on_copies=True)
            name = bundled_for(reader, len(images)) if weights is None else weights
            loaded = hub.load(name)
            augment = VAEAugment(loaded)
            fitted = None
            if isinstance(images, LabelledImages) and augment.can_fit:
                fitted = fitted_to(augment, reader, fixed_order(len(images)).tolist(), None)
        notes = list(dict.fromkeys(str(one.message) for one in caught if issubclass(one.category, UserWarning)))
        if fitted is None or fitted.fit_report is None or not any(fitted.fit_report.kept.values()):
            fitted = None
            notes += [] if notes else [_why_none(images, loaded)]
        return cls(source, None if root is None else str(root), images, name, loaded, fitted, tuple(notes))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that have images, in the order of their numbers; none of images without labels."""
        if not isinstance(self.images, LabelledImages):
            return ()
        return tuple(self.images.classes[number] for number in sorted(set(self.images.targets)))

    def places(self, count: int, of_class: str | None = None) -> list[int]:
        """The places of so many images, always the same: spread over the classes, or of one of them."""
        if not isinstance(self.images, LabelledImages):
            return spread_places(len(self.images), count).tolist()
        members: dict[int, list[int]] = {}
        for place in fixed_order(len(self.images)).tolist():
            members.setdefault(self.images.targets[place], []).append(place)
        numbers = sorted(members)
        if of_class is not None:
            numbers = [self.images.classes.index(of_class)]
        elif len(numbers) > count:
            numbers = [numbers[i] for i in spread_places(len(numbers), count).tolist()]
        share, rest = divmod(count, len(numbers))
        wanted = [(number, share + (turn < rest)) for turn, number in enumerate(numbers)]
        return [place for number, some in wanted for place in members[number][:some]]

    def label(self, place: int) -> int | None:
        """The class number of an image, or None."""
        return self.images.targets[place] if isinstance(self.images, LabelledImages) else None

    def title(self, place: int) -> str:
        """The name of an image's class, or ""."""
        return self.images.classes[self.images.targets[place]] if isinstance(self.images, LabelledImages) else ""

    def image(self, place: int) -> Any:
        """An image by its place."""
        sample = self.images[place]
        return sample[0] if isinstance(sample, tuple) else sample

    @cached_property
    def jitters(self) -> dict[str, Jitter]:
        """The jitters that these weights allow, by their names, the default first."""
        allowed = allowed_jitters(self.loaded.vae, self.loaded.bank, self.loaded.gains)
        return {type(jitter).__name__: jitter for jitter in allowed}

    def varying(self, strength: float, jitter: str) -> VAEAugment:
        """The transform that varies images, as `VAEAugment.from_pretrained` makes it of these options.

        Raises:
            KeyError: a jitter that these weights do not allow.
        """
        if jitter not in self._varying:
            self._varying[jitter] = VAEAugment(self.loaded, jitter=self.jitters[jitter])
        new = copy.copy(self._varying[jitter])  # a page is shown to several at a time
        new.strength = strength
        return new

    @cached_property
    def _varying(self) -> dict[str, VAEAugment]:
        return {}

    def renewing(self, novelty: float) -> VAEAugment:
        """The fitted transform at this novelty.

        Raises:
            ValueError: nothing was fitted.
        """
        if self.fitted is None:
            raise ValueError("there are no new images of a class: " + " ".join(self.notes))
        new = copy.copy(self.fitted)
        new.novelty = novelty
        return new


def _open(source: str, root: str | os.PathLike[str] | None) -> LabelledImages | UnlabelledImages:
    folder = Path(os.path.expanduser(source.removeprefix("folder:")))
    if source.startswith("folder:") or (folder.is_dir() and source != "sample"):
        found = files.find_images(folder, tell=False)
        if not any(files.labels_and_held_out(found, folder)[0]):
            return UnlabelledImages(found)
    return open_source(source, root)


def _why_none(images: LabelledImages | UnlabelledImages, loaded: Weights) -> str:
    reason = "these weights have no bank of latents"
    if not isinstance(images, LabelledImages):
        reason = "these images have no classes"
    elif loaded.bank is not None:
        reason = "a fit needs two classes"
    return f"No new images of a class: {reason}."
