"""PoolImages: a pool's own images as samples, under the labels that a fit spread to them; and whether to decode them instead."""

from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from .classes import ClassDifferences, Spans
from .images import ImageKey, LabelAt, spread_places, to_model, untransformed_reader
from .pool import LatentBank
from .pool_labels import PoolLabels
from .transform import VAEAugment
from .user_warning import warn
from .vae import Codec

LOOKED_AT = 16  # images of a pool, by which it is told whether a bank is of them
DRAWN_TO_JUDGE = 200  # of its images, by which it is told whether a VAE draws it well
# Part of what tells a pool's images apart that a VAE loses, above which decoded samples cost accuracy: it is 0.03 to 0.06 of the
# kind that the bundled weights know, and 0.13 or more of others.
MOST_UNEXPLAINED = 0.1
CHUNK = 100  # images decoded at a time
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
        image_key: where a sample's image is, as of `LatentBank.from_images`.

    Raises:
        ValueError: the bank does not know its images' places.
    """

    def __init__(self, images: Any, labels: PoolLabels, image_key: ImageKey = None) -> None:
        kept = labels.kept()
        order = kept.target.argsort(stable=True)
        self._reader = untransformed_reader(images, image_key=image_key)
        self._index, self._distribution = kept.index[order], kept.distribution[order]
        self._spans = Spans.of(torch.bincount(kept.target, minlength=len(labels.classes)).cumsum(0))
        self._target = {label: c for c, label in enumerate(labels.classes) if self._spans.counts[c] > 0}

    def __contains__(self, label: object) -> bool:
        """Whether an image of the pool stands for this class."""
        return label in self._target

    def draw(self, label: int | str, generator: Generator | None) -> Drawn:
        """A random image of a class, before the pool's own transform."""
        row = int(self._spans.draw(torch.tensor([self._target[label]], device="cpu"), generator))
        return Drawn(self._reader.image(int(self._index[row])), self._distribution[row])

    def __repr__(self) -> str:
        return f"PoolImages({len(self._index)} images of {len(self._target)} classes)"


def check_pool_options(pool: Any, decode: bool | None, soft: bool, fit: bool, labels: LabelAt) -> None:
    """Refuse options of `SyntheticDataset` that contradict one another, before anything is computed."""
    if decode not in (None, True, False):
        raise TypeError(f"decode must be True, False or None, got {decode!r}")
    if pool is None and (decode is False or soft):
        asked = "soft=True" if soft else "decode=False"
        raise ValueError(f"{asked} serves the pool's own images, and there is no pool: pool=images")
    if pool is not None and not fit:
        raise ValueError("pool= spreads the labels of base over it, which fit=False forbids: leave one of them out")
    if soft and decode:
        raise ValueError("soft labels are those of the pool's own images, and decode=True serves others: leave it out")
    if soft and callable(labels):
        raise ValueError("soft=True puts a vector where the label is: let labels be a key or a position, no function")


def over_pool(augment: VAEAugment, pool: Any, image_key: ImageKey = None) -> VAEAugment:
    """The transform with a bank of these images: its own, if that is of them, else one that is made here.

    Raises:
        ValueError: it was fitted over others, or given a jitter, a strength or `residual`, with which nothing is fitted.
    """
    is_of_pool = augment.bank is not None and bank_is_of(augment.bank, augment.vae, pool, image_key)
    if augment.classes is not None:
        if not is_of_pool:
            raise ValueError(
                "augment was fitted over another pool than these images. Pass one that was not fitted, or fitted with "
                "bank=LatentBank.from_images(vae, pool)"
            )
        return augment
    fits = augment
    if not is_of_pool:
        fits = augment.with_bank(LatentBank.from_images(augment.vae, pool, image_key=image_key))
    if not fits.can_fit:
        raise ValueError(
            f"pool= is for new images of a class, and {augment} was given a jitter, a strength other than 1 or residual=False, "
            "which are for variations: leave those out"
        )
    return fits


def own_images(
    augment: VAEAugment, pool: Any, decode: bool | None, soft: bool, image_key: ImageKey = None
) -> PoolImages | None:
    """The pool's own images under the labels that a fit spread to them; None if decoded ones are served in their place.

    A fit that spread no labels has told why, and varies the labelled images.

    Args:
        augment: fitted over the pool.
        decode, soft: of `SyntheticDataset`.

    Raises:
        ValueError: it was not fitted.
        RuntimeError: its fit is from a file, which does not hold the labels of a pool.
    """
    if augment.classes is None:
        raise ValueError(
            "pool= spreads the labels of base over these images, and base has no labels that some images share. If it has "
            "them elsewhere, say where, labels='key'; else leave pool out"
        )
    if decode or isinstance(augment.jitter, ClassDifferences):
        return None
    if decode is None and not soft:
        assert augment.bank is not None
        assert augment.bank.index is not None  # of the pool
        some = _some(augment.vae, pool, augment.bank.index, DRAWN_TO_JUDGE, image_key)
        lost = unexplained(augment.vae, some)
        if lost <= MOST_UNEXPLAINED:
            return None
        warn(
            f"this VAE draws the pool's images badly: its error is {lost:.2f} of their variance, below {MOST_UNEXPLAINED} of "
            "images that it knows. So their own images are served under the labels that spread to them; decode=False says "
            "that it shall be so, decode=True asks for decoded ones",
        )
    return PoolImages(pool, augment.pool_labels(), image_key)


@torch.no_grad()
def bank_is_of(bank: LatentBank, vae: Codec, images: Any, image_key: ImageKey = None) -> bool:
    """Whether a bank was made of these images: it knows their places, and some of them have its latents."""
    if bank.index is None or int(bank.index[-1]) >= len(images):
        return False
    own = bank.latents[spread_places(len(bank), LOOKED_AT)].float()
    seen = vae.encode(_some(vae, images, bank.index, LOOKED_AT, image_key))[0]
    return bool((seen - own).norm() <= LARGEST_DIFFERENCE * own.norm())


def _some(vae: Codec, images: Any, index: Tensor, count: int, image_key: ImageKey) -> Tensor:
    """Some of the images of a bank, as the VAE sees them, float32 `(B, C, S, S)`."""
    reader = untransformed_reader(images, on_copies=True, image_key=image_key)
    read = [reader.image(i) for i in index[spread_places(len(index), count)].tolist()]
    return torch.cat([to_model(image, vae.channels, vae.size)[0] for image in read]).clamp(0, 1)


@torch.no_grad()
def unexplained(vae: Codec, images: Tensor) -> float:
    """Part of what tells images from one another that their reconstructions lack, in [0, 1] or above.

    It is their squared error over the variance of the images: PSNR alone calls everything well drawn that is mostly background.

    Args:
        images: float32 `(B, C, S, S)` in [0, 1].
    """
    drawn = torch.cat([vae.decode(vae.encode(part)[0]) for part in images.split(CHUNK)])
    return float((drawn - images).square().mean() / (images - images.mean(0)).square().mean().clamp_min(1e-12))
