"""Settings: what the page's controls say, as the lines of code to paste, and as the pictures that these lines make."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..jitter import Noise
from ..neighbourhoods import USUAL_NOVELTY
from ..preview import fit_within
from ..seeding import global_seed
from .subject import Subject

ALL_CLASSES = "all classes"
COLUMNS, ROWS = 4, 4  # of what becomes of each image; images


@dataclass(frozen=True)
class Settings:
    """What the page shows.

    Args:
        is_new: new images of a class, made by a fit; False: variations of the images.
        strength, jitter: of variations; the jitter by its name.
        novelty: of new images.
        of_class: a class by its name, or `ALL_CLASSES`.
        seed: of the draws.
    """

    is_new: bool = False
    strength: float = 1.0
    jitter: str = Noise.__name__
    novelty: float = USUAL_NOVELTY
    of_class: str = ALL_CLASSES
    seed: int = 0

    def code(self, subject: Subject) -> str:
        """The lines that make this transform, to paste into a program.

        Example:
            >>> print(Settings(strength=1.5, jitter="LocalNoise", seed=3).code(Subject.open("sample")))
            import torch
            from vae_augment import LocalNoise, VAEAugment
            <BLANKLINE>
            augment = VAEAugment.from_pretrained("fashion-mnist", strength=1.5, jitter=LocalNoise())
            torch.manual_seed(3)  # for these very pictures
        """
        name = _quoted(subject.weights)
        if self.is_new:
            root = "" if subject.root is None else f", {_quoted(subject.root)}"
            lines = [
                "import torch",
                "from vae_augment import SyntheticDataset, VAEAugment",
                "from vae_augment.source import open_source",
                "",
                f"augment = VAEAugment.from_pretrained({name}, novelty={self.novelty:g})",
                f"dataset = SyntheticDataset(open_source({_quoted(subject.source)}{root}), ratio=1, augment=augment)",
            ]
        else:
            is_usual = self.jitter == Noise.__name__
            names = "VAEAugment" if is_usual else ", ".join(sorted([self.jitter, "VAEAugment"]))
            jitter = "" if is_usual else f", jitter={self.jitter}()"
            lines = [
                "import torch",
                f"from vae_augment import {names}",
                "",
                f"augment = VAEAugment.from_pretrained({name}, strength={self.strength:g}{jitter})",
            ]
        return "\n".join([*lines, f"torch.manual_seed({self.seed})  # for these very pictures"])

    def rows(self, subject: Subject) -> list["Row"]:
        """Images of the subject, and beside each what becomes of it, as often as there are columns."""
        places = subject.places(ROWS, None if self.of_class == ALL_CLASSES else self.of_class)
        images, labels = [fit_within(subject.image(place)) for place in places], [subject.label(p) for p in places]
        transform = subject.renewing(self.novelty) if self.is_new else subject.varying(self.strength, self.jitter)
        with global_seed(self.seed):  # as the pasted lines do
            rounds = [transform.vary_all(images, labels if self.is_new else None) for _ in range(COLUMNS)]
        others = zip(*rounds, strict=True)
        titles = [subject.title(place) for place in places]
        return [Row(title, image, own) for title, image, own in zip(titles, images, others, strict=True)]


@dataclass(frozen=True, eq=False)
class Row:
    """An image, its class or "", and what became of it, round by round."""

    title: str
    original: Any
    others: Sequence[Any]


def _quoted(text: str) -> str:
    """A string of Python, in the quotes of the package's own code."""
    return repr(text) if '"' in text or not text.isprintable() else '"' + repr(text)[1:-1].replace("\\'", "'") + '"'
