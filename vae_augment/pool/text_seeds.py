"""Text seeds: images of a pool that texts of the classes name so surely that they stand for labelled images.

A CLIP (Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021) has images and texts
in one space. There they fill different cones (Liang et al., "Mind the Gap", NeurIPS 2022), and some texts lie near to all images.
So images are compared with one another: each class's cosines are standardised over the pool, and the images are taken whose class
leads the second by most. They are few, and their labels spread as those of labelled images do.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..encoders import Encoder
from ..images import plain_label
from .encoder_features import EncoderFeatures

Label = int | str
Texts = str | Sequence[str]
ClassTexts = Mapping[int, Texts] | Mapping[str, Texts] | Mapping[Label, Texts] | Sequence[str]
"""A text, or several, for each class; or names of classes alone, of which the text is "a photo of a NAME"."""

MOST = 12  # images that stand for a class: more add little, and of a rare class the next ones are wrong
LARGEST_SHARE = 0.4  # of an even share of the pool, where that is less
SAME = 0.01  # distance of unit vectors of texts that an encoder does not tell apart
NO_DIRECTION = 1e-3  # length of a mean of unit vectors that is but rounding
CHUNK = 1000  # images at a time


@dataclass(frozen=True, eq=False)
class TextClasses:
    """Classes that texts describe, beside a pool whose images the same encoder compares.

    Args:
        labels: of the classes.
        prototypes: float32 `(C, D)`, unit vectors in the encoder's space: the mean of each class's texts.
        extractor: of the bank.
        pool: `(N, d)`, features of the pool's images by it.
    """

    labels: tuple[Label, ...]
    prototypes: Tensor
    extractor: EncoderFeatures
    pool: Tensor

    @classmethod
    def read(cls, classes: ClassTexts, encoder: Encoder, extractor: EncoderFeatures, pool: Tensor) -> Self:
        """Let the encoder read the texts.

        Raises:
            TypeError, ValueError: they are no texts, or empty; the encoder knows none, or not in the space of its images.
        """
        texts = read_texts(classes)
        prototypes = text_prototypes(encoder, texts)
        if prototypes.shape[1] != len(extractor.centre):
            raise ValueError(
                f"the encoder {encoder.name!r} has {prototypes.shape[1]} features of a text and {len(extractor.centre)} of an "
                "image: texts and images must be in one space"
            )
        return cls(tuple(texts), prototypes, extractor, pool)

    @torch.no_grad()
    def seeds(self, names: Sequence[Label], known: Tensor, labels: Tensor) -> Tensor:
        """The images of the pool that the texts name most surely: int64 `(N,)`, places in `names`, -1 for all others.

        A class without a text has its labelled images' mean in place of one: it takes part, so that its images are not taken for
        another's, and has no seeds.

        Args:
            names: of all classes, those of the texts among them.
            known: `(M, d)`, features of labelled images; labels: int64 `(M,)`, places in `names`.
        """
        prototypes = self._prototypes(names, known, labels)
        parts = [normalize(self.extractor.restored(part.float())) @ prototypes.T for part in self.pool.split(CHUNK)]
        cosines = torch.cat(parts)
        scores = (cosines - cosines.mean(0)) / cosines.std(0).clamp_min(1e-12)
        counts = [seeds_of_a_class(len(scores), len(names)) if name in self.labels else 0 for name in names]
        return surest(scores, counts)

    def _prototypes(self, names: Sequence[Label], known: Tensor, labels: Tensor) -> Tensor:
        """Unit vectors of all classes, `(C, D)`."""
        unit, place = normalize(self.extractor.restored(known.float())), {name: i for i, name in enumerate(self.labels)}
        rows = [
            self.prototypes[place[name]] if name in place else normalize(unit[labels == c].mean(0), dim=0)
            for c, name in enumerate(names)
        ]
        return torch.stack(rows)


def seeds_of_a_class(pool: int, classes: int) -> int:
    """How many of a pool's images stand for a class.

    Example:
        >>> [seeds_of_a_class(pool, 10) for pool in (20, 100, 250, 10_000)]
        [1, 4, 10, 12]
    """
    return max(1, min(MOST, int(LARGEST_SHARE * pool / classes)))


def surest(scores: Tensor, counts: Sequence[int]) -> Tensor:
    """The images whose class leads the second by most, so many of each class at most: their classes, int64 `(N,)`, else -1.

    Args:
        scores: float32 `(N, C)`, of two classes at least.
        counts: for each class.
    """
    best = scores.topk(2, dim=1)
    lead, first = best.values[:, 0] - best.values[:, 1], best.indices[:, 0]
    found = torch.full_like(first, -1)
    for c, count in enumerate(counts):
        own = (first == c).nonzero()[:, 0]
        found[own[lead[own].argsort(descending=True)[:count]]] = c
    return found


def text_prototypes(encoder: Encoder, texts: Mapping[Label, Sequence[str]]) -> Tensor:
    """The mean of the unit vectors of each class's texts, as a unit vector: float32 `(C, D)`.

    Raises:
        ValueError: two classes have one and the same, or one has none; or the encoder knows no text.
    """
    unit = normalize(encoder.embed_texts([text for own in texts.values() for text in own]))
    means = [part.mean(0) for part in unit.split([len(own) for own in texts.values()])]
    if none := [name for name, mean in zip(texts, means, strict=True) if mean.norm() < NO_DIRECTION]:
        raise ValueError(
            f"the encoder {encoder.name!r} has no direction for the texts of {none}: their features are zeros, or cancel one "
            "another. Say it otherwise, or check that its function reads them"
        )
    prototypes = normalize(torch.stack(means))
    if len(same := (torch.cdist(prototypes, prototypes) < SAME).triu(1).nonzero()):
        one, other = (list(texts)[i] for i in same[0].tolist())
        raise ValueError(
            f"the encoder {encoder.name!r} does not tell the texts of {one!r} and {other!r} apart: say more of them, or check "
            "that its function reads them"
        )
    return prototypes


def read_texts(classes: ClassTexts) -> dict[Label, tuple[str, ...]]:
    """Texts of classes as a user gives them -> those of each class.

    Raises:
        TypeError: they are no texts, or of no integer or string.
        ValueError: there is none, an empty one, or a class twice.

    Example:
        >>> read_texts({"ant": "a photo of an ant", 7: ["a bee", "a drawing of a bee"]})
        {'ant': ('a photo of an ant',), 7: ('a bee', 'a drawing of a bee')}
        >>> read_texts(["ant", "bee"])
        {'ant': ('a photo of an ant',), 'bee': ('a photo of a bee',)}
    """
    if isinstance(classes, str) or not isinstance(classes, Mapping | Sequence):
        raise TypeError(
            f"classes are texts of each class, {{'ant': 'a photo of an ant', ...}}, or a list of names, got {classes!r:.200}"
        )
    pairs: Iterable[tuple[object, object]] = (
        classes.items() if isinstance(classes, Mapping) else [(name, _named(name)) for name in classes]
    )
    texts: dict[Label, tuple[str, ...]] = {}
    for label, own in pairs:
        name, each = plain_label(label), (own,) if isinstance(own, str) else own
        if name is None or not isinstance(each, Sequence) or not all(isinstance(text, str) for text in each):
            raise TypeError(
                f"a class is an integer or a string, and its text a string or a list of such, got {label!r}: {own!r:.200}"
            )
        if not each or not all(text.strip() for text in each):
            raise ValueError(f"the class {name!r} has an empty text: say what its images show, 'a photo of an ant'")
        if name in texts:
            raise ValueError(f"the class {name!r} is there twice: give all its texts at once, a list")
        texts[name] = tuple(each)
    if not texts:
        raise ValueError("there are no classes: give a text of each, classes={'ant': 'a photo of an ant', ...}")
    return texts


def _named(name: object) -> object:
    """The text of a class that has only a name, as CLIP's authors write it."""
    if not isinstance(name, str) or not name.strip():
        return name
    return f"a photo of {'an' if name.strip()[0] in 'aeiouAEIOU' else 'a'} {name}"
