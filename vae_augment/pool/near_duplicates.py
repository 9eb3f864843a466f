"""Near-duplicates in a pool: copies of an image, also re-encoded or slightly noisy ones, are left out."""

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..images import as_floats
from ..numerics import in_one, in_threads
from ..progress import progress
from .nearest import USUAL_SEARCH, Index, Search

CHUNK = 500  # images at a time
# RMS difference of pixels below which two images are near-duplicates, as a part of that of two random images. A JPEG of
# quality 75, noise of eight grey levels and a twentieth less light mostly stay below it, different images of one class do not.
LARGEST_DIFFERENCE = 0.1
LARGEST_THUMBNAIL = 16  # pixels a side
RANDOM_PAIRS = 1000
FOUND, PROBES = 8, 4  # of a large pool: the nearest that are compared, and lists of an index in which they are sought


@torch.no_grad()
def drop_near_duplicates(images: Tensor, how: Search = USUAL_SEARCH) -> Tensor:
    """Places of the images that are no near-duplicate of an earlier one, int64, ascending.

    Copies are one another's nearest neighbours and pass no label on, so that a pool full of them is hardly labelled.

    Args:
        images: `(N, C, S, S)`, uint8 or floats in [0, 1].
        how: of a pool larger than this compares all with all, each is compared with the eight that an index finds.
    """
    limit = LARGEST_DIFFERENCE * _typical_difference(images)
    side = images.shape[-1]
    block = next(k for k in range(math.ceil(side / LARGEST_THUMBNAIL), side + 1) if side % k == 0)
    # no two images are farther apart as thumbnails than in full
    small = torch.float32 if len(images) <= how.exact else torch.float16
    parts = (avg_pool2d(as_floats(part), block).flatten(1).to(small) for part in images.split(CHUNK))
    thumbnails = in_one(parts, len(images))
    if len(images) > how.exact:
        return _without_copies(images, thumbnails, limit)
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


def _without_copies(images: Tensor, thumbnails: Tensor, limit: Tensor) -> Tensor:
    """The same of a large pool: of two near images the later one goes. Of images with many copies some are left, and go next."""
    kept, again = torch.arange(len(images)), True
    while again:
        pairs = _NearPairs(images, thumbnails, limit, kept)
        parts = torch.arange(len(kept)).split(CHUNK)
        found = list(progress(in_threads(pairs, parts), "near-duplicates", len(parts)))
        again = any(are_all for _, are_all in found)
        is_kept = torch.ones(len(images), dtype=torch.bool)
        is_kept[torch.cat([copies for copies, _ in found])] = False
        kept = kept[is_kept[kept]]
    return kept


class _NearPairs:
    """Images of a large pool, each to be compared with the nearest that an index finds."""

    def __init__(self, images: Tensor, thumbnails: Tensor, limit: Tensor, kept: Tensor) -> None:
        self._images, self._thumbnails, self._limit, self._kept = images, thumbnails, limit, kept
        self._index = Index(len(kept), self._rows)

    def __call__(self, some: Tensor) -> tuple[Tensor, bool]:
        """The later ones of near pairs, places in the pool; and whether all that were found for an image are near it."""
        mine = self._kept[some][:, None]
        others = self._kept[self._index.search(self._rows(some), FOUND, PROBES)[0]]
        apart = (self._rows(some)[:, None] - self._thumbnails[others].float()).square().mean(2).sqrt()
        is_near = (apart <= self._limit) & (others != mine)
        pair = torch.stack([mine.expand_as(others)[is_near], others[is_near]])
        is_near[is_near.clone()] = torch.cat(
            [_rms(self._images[a], self._images[b]) < self._limit for a, b in pair.split(CHUNK, dim=1)]
        )
        return others.maximum(mine)[is_near], bool((is_near.sum(1) >= FOUND - 1).any())

    def _rows(self, some: Tensor) -> Tensor:
        return self._thumbnails[self._kept[some]].float()


def _typical_difference(images: Tensor) -> Tensor:
    """Mean RMS difference of two random images."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[: RANDOM_PAIRS + 1]
    return _rms(images[order[1:]], images[order[:-1]]).mean()


def _rms(a: Tensor, b: Tensor) -> Tensor:
    """Root mean square difference of pixels, `(B,)`."""
    return (as_floats(a) - as_floats(b)).flatten(1).square().mean(1).sqrt()
