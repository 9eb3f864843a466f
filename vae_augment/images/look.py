"""Look: what images are like at a glance, by which a recipe is chosen: colours, size, background."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from .decode import CHANNEL_CHECK_IMAGES, detect_channels, open_image
from .spread import spread_places

LARGEST_SIDE_READ = 256  # pixels: the background of larger images is not asked
LEVELS = 16  # of grey, of which the most frequent is the background


class Look(NamedTuple):
    """Images at a glance.

    Args:
        images: how many there are.
        channels: 1 if they are grey, 3 of other image files; of an array its own.
        side: in pixels, of the longer sides the median.
        background: part of an image that has its most frequent level of grey, of 16; the median over images, 0 of large ones.
    """

    images: int
    channels: int
    side: int
    background: float


def look_at(sources: Sequence[Any], open_image: Callable[[Any], Image.Image] = open_image) -> Look:
    """Look at no more than 200 images, spread over all; files that cannot be read are left to `read_images`."""
    sides, backgrounds = [], []
    for place in spread_places(len(sources), CHANNEL_CHECK_IMAGES).tolist():
        try:
            with open_image(sources[place]) as image:
                sides.append(max(image.size))
                backgrounds.append(_background(image) if sides[-1] <= LARGEST_SIDE_READ else 0.0)
        except Exception:  # PIL raises errors of many types for damaged files
            continue
    channels = detect_channels(sources, open_image)
    return Look(len(sources), channels, round(statistics.median(sides or [0])), statistics.median(backgrounds or [0.0]))


def look_at_grey(pixels: Tensor, images: int, side: int) -> Look:
    """The same of some grey images, uint8 `(N, 1, H, W)`, of so many of this side."""
    return Look(images, 1, side, statistics.median(_background(Image.fromarray(one[0].numpy())) for one in pixels))


def _background(image: Image.Image) -> float:
    levels = np.asarray(image.convert("L")) // (256 // LEVELS)
    return float(np.bincount(levels.ravel(), minlength=LEVELS).max() / levels.size)
