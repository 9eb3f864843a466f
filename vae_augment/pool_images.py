"""PoolImages: a pool's own images as samples, under the labels that a fit spread to them; and whether to decode them instead."""

import math
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from .classes import ClassDifferences, Spans
from .images import extract_image, to_model, untransformed_reader
from .pool import LatentBank
from .pool_labels import PoolLabels
from .transform import VAEAugment
from .vae import Codec

LOOKED_AT = 16  # images of a pool, by which it is told whether a bank is of them
LARGEST_DIFFERENCE = 0.02  # of their latents, as a part of these: rounding, to float16 and of other batches


class Drawn(NamedTuple):
    """A sample's image and, if it has one, the distribution of its label over the classes, float32 `(C,)`."""

    image: Any
    distribution: Tensor | None = None


class PoolImages:
    """The images of a pool that stand for each class, as they are given.

    Args:
        images: what `LatentBank.from_images` was given.
        labels: those of a fit over that bank.

    Raises:
        ValueError: the bank does not know its images' places.
    """

    def __init__(self, images: Any, labels: PoolLabels) -> None:
        kept = labels.kept()
        order = kept.target.argsort(stable=True)
        self._reader = untransformed_reader(images)
        self._index, self._distribution = kept.index[order], kept.distribution[order]
        self._spans = Spans.of(torch.bincount(kept.target, minlength=len(labels.classes)).cumsum(0))
        self._target = {label: c for c, label in enumerate(labels.classes) if self._spans.counts[c] > 0}

    def __contains__(self, label: object) -> bool:
        """Whether an image of the pool stands for this class."""
        return label in self._target

    def draw(self, label: int | str, generator: Generator | None) -> Drawn:
        """A random image of a class, before the pool's own transform."""
        row = int(self._spans.draw(torch.tensor([self._target[label]]), generator))
        image, _ = extract_image(self._reader.read(int(self._index[row]))[0])
        return Drawn(image, self._distribution[row])

    def __repr__(self) -> str:
        return f"PoolImages({len(self._index)} images of {len(self._target)} classes)"


def over_pool(augment: VAEAugment, pool: Any) -> VAEAugment:
    """The transform with a bank of these images: its own, if that is of them, else one that is made here.

    Raises:
        ValueError: it was fitted over others, or given a jitter, a strength or `residual`, with which nothing is fitted.
    """
    is_of_pool = augment.bank is not None and bank_is_of(augment.bank, augment.vae, pool)
    if augment.classes is not None:
        if not is_of_pool:
            raise ValueError(
                "augment was fitted over another pool than these images. Pass one that was not fitted, or fitted with "
                "bank=LatentBank.from_images(vae, pool)"
            )
        return augment
    fits = augment if is_of_pool else augment.with_bank(LatentBank.from_images(augment.vae, pool))
    if not fits.can_fit:
        raise ValueError(
            f"pool= is for new images of a class, and {augment} was given a jitter, a strength other than 1 or residual=False, "
            "which are for variations: leave those out"
        )
    return fits


def own_images(augment: VAEAugment, pool: Any, decode: bool | None, soft: bool) -> PoolImages | None:
    """The pool's own images under the labels that a fit spread to them; None if decoded ones are served in their place.

    A fit that spread no labels has told why, and varies the labelled images.

    Args:
        augment: fitted over the pool.
        decode, soft: of `SyntheticDataset`.

    Raises:
        ValueError: it was not fitted.
    """
    if augment.classes is None:
        raise ValueError(
            "pool= spreads the labels of base over these images, and base has no labels that some images share. If it has "
            "them elsewhere, say where, labels='key'; else leave pool out"
        )
    if decode or isinstance(augment.jitter, ClassDifferences):
        return None
    labels = augment.pool_labels()
    if decode is None and not soft:
        return None
    return PoolImages(pool, labels)


@torch.no_grad()
def bank_is_of(bank: LatentBank, vae: Codec, images: Any) -> bool:
    """Whether a bank was made of these images: it knows their places, and some of them have its latents."""
    if bank.index is None or int(bank.index[-1]) >= len(images):
        return False
    reader, places = untransformed_reader(images, on_copies=True), torch.arange(min(LOOKED_AT, len(bank)))
    places = places * len(bank) // len(places)
    some = [extract_image(reader.read(i)[0])[0] for i in bank.index[places].tolist()]
    x = torch.cat([to_model(image, vae.channels, vae.size)[0] for image in some]).clamp(0, 1)
    own = bank.latents[places].float()
    return bool((vae.encode(x)[0] - own).norm() <= LARGEST_DIFFERENCE * own.norm())


@torch.no_grad()
def reconstruction_psnr(vae: Codec, images: Tensor) -> float:
    """PSNR in dB of the reconstructions of images, float32 `(B, C, S, S)` in [0, 1]."""
    error = float((vae.decode(vae.encode(images)[0]) - images).square().mean())
    return -10 * math.log10(max(error, 1e-12))
