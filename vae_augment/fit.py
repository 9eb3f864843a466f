"""What a fit learns from labelled images; kept as one safetensors file, with the classes' labels in its header."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from .classes import ClassDifferences, ClassLatents
from .images import plain_label, read_labelled
from .pool import LatentBank
from .vae import Codec

Classes = ClassLatents | ClassDifferences
Labels = tuple[int | str, ...]
UNKNOWN_TO_BANK = (
    "the bank of latents does not know images like these, so that samples are variations of the labelled images, not new "
    "ones of their classes. Pass a bank of your own unlabelled images, bank=LatentBank.from_images(vae, images), or weights "
    "trained on such images"
)
# Labelled images a class. Three of each garment, whose samples help, agree by 0.73 +- 0.09 over draws, five by 0.79 +- 0.05
ENOUGH_TO_JUDGE = 3
# Part of the way from chance to all right. Five labels of each garment reach 0.64 to 0.89; of five kinds of flowers, whose
# samples cost a classifier five points, three to twenty reach 0.5 in one or two draws of forty
LEAST_AGREEMENT = 0.5
# By textures less is enough: with five and ten labels of each class of CIFAR-10, 0.2 to 0.4, samples gain a classifier 11 and 10
# points, since it does no better itself
LEAST_AGREEMENT_BY_TEXTURES = 0.1
LEAST_FAMILIARITY = 0.25  # of half of the labelled images
# Area under the curve of a classifier that tells ten labelled images and more from the pool's. Of CIFAR-10's ten classes 0.54 +-
# 0.03, of two in a pool of ten 0.66 to 0.80 +- 0.1, flowers and its pool 0.98
ENOUGH_TO_TELL_APART, OTHER_KIND, OTHERS_TOO = 10, 0.85, 0.65
KEEP, KEEP_BY_TEXTURES = 0.95, 0.5  # part of each class


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a fit knows.

    Args:
        jitter: how an image, or a latent, of a class is made.
        labels: of the classes, integers or strings, sorted.
    """

    jitter: Classes
    labels: Labels

    @classmethod
    def learn(cls, vae: Codec, bank: LatentBank | None, labelled: Any, keep: float | None) -> Self:
        """From a data set of labelled images; see `VAEAugment.fit`.

        Raises:
            ValueError: there are fewer than two classes.
        """
        if keep is not None and not 0 < keep <= 1:
            raise ValueError(f"keep must be above 0 and at most 1, got {keep!r}")
        images, labels = read_labelled(labelled, vae.channels, vae.size)
        names = tuple(sorted(set(labels), key=lambda label: (isinstance(label, str), label)))
        if len(names) < 2:
            raise ValueError(f"fit needs images of at least two classes, got {len(labels)} of {names}")
        if -1 in names and len(names) > 2:
            warnings.warn("label -1 is taken for a class like others: leave images without a label out", stacklevel=3)
        index = torch.tensor([names.index(label) for label in labels])
        latents = None if bank is None else _spread_over(bank, vae, images, index, names, keep)
        if latents is not None:
            return cls(latents, names)
        if len(names) == len(labels):
            warnings.warn(
                "there is one image of each class, and nothing to tell how images of a class differ: samples are copies",
                stacklevel=3,
            )
        return cls(ClassDifferences.from_images(vae, images, index, len(names)), names)

    def index(self, labels: Sequence[Any]) -> Tensor:
        """Labels -> the places of their classes, int64 `(B,)`.

        Raises:
            ValueError: a label that the fit has not seen.
        """
        wanted = [plain_label(label) for label in labels]
        known: dict[Any, int] = {label: place for place, label in enumerate(self.labels)}
        places = [known.get(label, -1) for label in wanted]
        if -1 in places:
            if None in wanted:
                bad = labels[wanted.index(None)]
                raise ValueError(f"a sample of a class needs a label, an integer or a string, got {bad!r}")
            unknown = sorted(set(wanted) - set(self.labels), key=str)
            raise ValueError(f"no such class: {unknown}; fit has seen {self.labels}")
        return torch.tensor(places, dtype=torch.int64, device="cpu")


def _spread_over(
    bank: LatentBank, vae: Codec, images: Tensor, labels: Tensor, names: Labels, keep: float | None
) -> ClassLatents | None:
    """Latents of the bank by class; None, and a warning, if it does not know such images, or does not tell their classes."""
    familiarity, classes = bank.familiarity(vae, images), len(names)
    keep = keep or (KEEP if bank.textures_alone is None else KEEP_BY_TEXTURES)
    apart = bank.told_apart(images) if len(images) >= ENOUGH_TO_TELL_APART else 0.5
    if familiarity.median() < LEAST_FAMILIARITY or apart > OTHER_KIND:
        warnings.warn(UNKNOWN_TO_BANK, stacklevel=4)
        return None
    links = bank.links(vae, images)
    if len(labels) >= ENOUGH_TO_JUDGE * classes:
        right = bank.agreement(links, labels, classes)
        if right < _least_agreement(bank, len(labels), classes):
            is_old = len(vae.latent_shape) == 3 and bank.textures is None
            warnings.warn(
                f"these weights do not tell the classes apart: spread over the bank, labels are right for {right:.0%} of the "
                "labelled images held out. So samples are variations of the labelled images, not new ones of their classes, and "
                "rarely help a classifier: use weights or a bank that know such images, or leave samples out (p=0, ratio=0)"
                + (
                    ". This bank, of an earlier version, has no textures: LatentBank.from_images(vae, images)"
                    if is_old
                    else ""
                ),
                stacklevel=4,
            )
            return None
    if apart > OTHERS_TOO:
        warnings.warn(
            "the bank holds many images unlike the labelled ones, and samples will show such things too: a bank of your own "
            "unlabelled images of these classes has better ones, bank=LatentBank.from_images(vae, images)",
            stacklevel=4,
        )
    latents = ClassLatents.from_bank(vae, bank, images, links, labels, familiarity, classes, keep)
    if absent := [name for name, end in zip(names, latents.ends.tolist(), strict=True) if latents.members[end - 1] < 0]:
        warnings.warn(
            f"the bank holds no images like those of {absent}: samples of these are redrawn labelled images. Pass a bank of "
            "unlabelled images with all classes among them",
            stacklevel=4,
        )
    return latents


def _least_agreement(bank: LatentBank, count: int, classes: int) -> float:
    """Which part of so many labels, held out, must be right for the bank to be used."""
    chance = 1 / classes
    if bank.textures_alone is None:
        return chance + LEAST_AGREEMENT * (1 - chance)
    standard_error = math.sqrt(chance * (1 - chance) / count)  # of guesses
    return chance + max(LEAST_AGREEMENT_BY_TEXTURES * (1 - chance), standard_error)
