"""Near-duplicates in a pool: copies of an image, also re-encoded or slightly noisy ones, are left out."""

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..images import as_floats

CHUNK = 500  # images at a time
# RMS difference of pixels below which two images are near-duplicates, as a part of that of two random images. A JPEG of
# quality 75, noise of eight grey levels and a twentieth less light mostly stay below it, different images of one class do not.
LARGEST_DIFFERENCE = 0.1
LARGEST_THUMBNAIL = 16  # pixels a side
RANDOM_PAIRS = 1000


@torch.no_grad()
def drop_near_duplicates(images: Tensor) -> Tensor:
    """Places of the images that are no near-duplicate of an earlier one, int64, ascending.

    Copies are one another's nearest neighbours and pass no label on, so that a pool full of them is hardly labelled.

    Args:
        images: `(N, C, S, S)`, uint8 or floats in [0, 1].
    """
    limit = LARGEST_DIFFERENCE * _typical_difference(images)
    side = images.shape[-1]
    block = next(k for k in range(math.ceil(side / LARGEST_THUMBNAIL), side + 1) if side % k == 0)
    # no two images are farther apart as thumbnails than in full
    thumbnails = torch.cat([avg_pool2d(as_floats(part), block).flatten(1) for part in images.split(CHUNK)])
    thumbnails -= thumbnails.mean(0)
    kept: list[int] = []
    for start in range(0, len(images), CHUNK):
        places = torch.arange(start, min(start + CHUNK, len(images)))
        others = torch.cat([torch.tensor(kept, dtype=torch.int64), places])
        near = torch.cdist(thumbnails[places], thumbnails[others]) <= limit * thumbnails.shape[1] ** 0.5
        near[:, len(kept) :].tril_(-1)  # the earlier ones
        pairs = near.nonzero()
        mine, other = places[pairs[:, 0]], others[pairs[:, 1]]
        difference = torch.cat(
            [_rms(images[a], images[b]) for a, b in zip(mine.split(CHUNK), other.split(CHUNK), strict=True)]
        )
        copies: set[int] = set()
        for copy, original in zip(mine[difference < limit].tolist(), other[difference < limit].tolist(), strict=True):
            if original not in copies:
                copies.add(copy)
        kept += [place for place in places.tolist() if place not in copies]
    return torch.tensor(kept)


def _typical_difference(images: Tensor) -> Tensor:
    """Mean RMS difference of two random images."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[: RANDOM_PAIRS + 1]
    return _rms(images[order[1:]], images[order[:-1]]).mean()


def _rms(a: Tensor, b: Tensor) -> Tensor:
    """Root mean square difference of pixels, `(B,)`."""
    return (as_floats(a) - as_floats(b)).flatten(1).square().mean(1).sqrt()
