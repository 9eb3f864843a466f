"""The transform that suits a base data set: bundled weights that draw its images well, fitted to its labels."""

import copy
import logging
import math
import statistics
from collections.abc import Sequence
from typing import Any

import PIL.Image
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from . import hub
from .images import (
    LabelAt,
    Reader,
    describe_sample,
    has_exif_rotation,
    label_of,
    lacks_label,
    spatial_companions,
    spread_places,
    to_model,
    unpack,
    warn_clipped,
    warn_exif_rotation,
)
from .transform import VAEAugment
from .user_warning import warn

MOST_READ, MOST_PER_CLASS = 5000, 100  # samples that a fit reads, and uses
LEAST_PSNR = 15.0  # dB; below it, bundled weights do not know these images

log = logging.getLogger("vae_augment")


def fitted_to(augment: VAEAugment, base: Reader, order: Sequence[int], at: LabelAt) -> VAEAugment:
    """Fit a copy of the transform to the first labelled images of a base, in this order; itself, if it has no two classes."""
    config, by_class = augment.vae, dict[int | str, list[Any]]()
    read, turned = order[:MOST_READ], 0
    has_encoder = augment.bank is not None and augment.bank.encoder is not None
    for index in read:
        sample = base.read(index)[0]
        if (label := label_of(sample, at)) is None:
            if len(tree_leaves(sample)) > 1:
                _warn_not_fitted(lacks_label(f"the sample {index}", sample, at))
            return augment
        image, _ = base.extract(sample)
        if isinstance(image, Tensor) and image.ndim != 3:  # a clip, or a batch
            return augment
        if len(own := by_class.setdefault(label, [])) < MOST_PER_CLASS:
            turned += has_exif_rotation(image)
            # as small as the fit sees it: thousands of photographs would fill the memory. An encoder sees them at their own size
            own.append((index if has_encoder else to_model(image, config.channels, config.size)[0][0], label))
    if len(by_class) < 2:
        return augment
    if len(by_class) == len(read):
        _warn_not_fitted(f"no two of its {len(read)} images share a label, as if those were their names")
        return augment
    if kinds := spatial_companions(image, tree_leaves(sample)):
        has = f"{', '.join(kinds)}, which would not fit a new image: {describe_sample(sample)}"
        _warn_not_fitted(f"its samples have {has}")
        return augment
    warn_exif_rotation(turned, "labelled images")
    warn_clipped(base, len(order))
    pairs = [pair for own in by_class.values() for pair in own]
    fitted = copy.copy(augment).fit(_ReadAgain(base, pairs) if has_encoder else pairs, image_key=0)
    fitted.image_key = base.image_key
    return fitted


class _ReadAgain:
    """Images of a base by their indices, with their labels."""

    def __init__(self, base: Reader, pairs: list[tuple[Any, int | str]]) -> None:
        self.base, self.pairs = base, pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, place: int) -> tuple[Any, int | str]:
        index, label = self.pairs[place]
        return self.base.image(index), label


def bundled_for(base: Reader, count: int) -> str:
    """Name the bundled weights that suit a base of so many samples, by a few of its images.

    They are grey or of colours as the images are, and of the size that is nearest to theirs: a spatial latent draws anything
    well at more pixels than there are. Of several those that reconstruct the images best.

    Raises:
        ValueError: none reconstruct them well.
    """
    images = [base.image(i) for i in spread_places(count, 16).tolist()]
    vaes = {name: hub.load(name).vae for name in hub.bundled()}
    channels, side = max(map(_channels, images)), statistics.median(max(_shape(image)[-2:]) for image in images)
    away = {name: abs(math.log(max(side, 1) / c.size)) for name, c in vaes.items() if c.channels == channels}
    quality = {name: _psnr(vaes[name], images) for name, far in away.items() if far == min(away.values())}
    if not quality or max(quality.values()) < LEAST_PSNR:
        listed = ", ".join(f"{name} ({c.channels}x{c.size}x{c.size})" for name, c in vaes.items())
        best = f", at best {max(quality.values()):.1f} dB PSNR" if quality else ""
        raise ValueError(
            f"no bundled weights fit images of shape {_shape(images[0])}{best}. There are {listed}: name one "
            "of them, weights from the Hub, or your own (python -m train), as augment=NAME, or --weights NAME"
        )
    best = max(quality, key=lambda name: quality[name])
    log.info("weights %s suit the images: they reconstruct some at %.1f dB PSNR", best, quality[best])
    return best


def check_label(sample: Any, augment: VAEAugment, at: LabelAt) -> None:
    """Of the first sample before a worker meets it, of each when it is used.

    Raises:
        ValueError: the transform was fitted to other labels than this sample's.
    """
    if (label := label_of(sample, at)) not in (augment.classes or ()):
        has = (
            f"the label {label!r}" if label is not None else f"no integer or string as label: {describe_sample(sample)}"
        )
        raise ValueError(
            f"augment was fitted to classes {augment.classes}, and a sample of base has {has}. Fit it to such labels, or "
            "pass one that was not fitted"
        )


def check_companions(sample: Any, image: Any) -> None:
    """Of the first sample, for a transform that was fitted before.

    Raises:
        ValueError: beside its image lies what would not fit another image, as a mask.
    """
    if kinds := spatial_companions(image, tree_leaves(sample)):
        raise ValueError(
            f"augment was fitted, and would put a new image beside {', '.join(kinds)} of the old one, in a sample of base: "
            f"{describe_sample(sample)}. Pass one that was not fitted, which varies the image in its place"
        )


def _warn_not_fitted(reason: str) -> None:
    warn(
        f"SyntheticDataset varies the images of base, and makes no new ones of their classes: {reason}. If there are classes, "
        "let base have them so, or say where they are, labels='key'; fit=False says that it shall be so",
    )


def _shape(image: PIL.Image.Image | Tensor) -> tuple[int, ...]:
    if isinstance(image, PIL.Image.Image):
        return (len(image.getbands()), image.height, image.width)
    return tuple(image.shape)


def _channels(image: PIL.Image.Image | Tensor) -> int:
    """Channels of an image; 1 of a grey one, which may be stored as RGB."""
    pixels, _ = unpack(image)
    is_grey = pixels.shape[-3] == 3 and bool((pixels == pixels[..., :1, :, :]).all())
    return 1 if is_grey else pixels.shape[-3]


@torch.no_grad()
def _psnr(vae: Any, images: list[Any]) -> float:
    x = torch.cat([to_model(image, vae.channels, vae.size)[0] for image in images])
    return -10 * math.log10(max(float((vae.decode(vae.encode(x)[0]) - x).square().mean()), 1e-12))
