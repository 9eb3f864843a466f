"""Which images of a pool show something of their own: copies, and what is nearly one, are left out."""

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..images import as_floats
from .latent_hog import CHUNK

# Of the distance between two random images. Of the pools of MNIST and Fashion-MNIST at most 4 of 10,000 images are nearer
# to another one; a JPEG of quality 75, noise of eight grey levels and a twentieth less light mostly are.
SAME = 0.1
THUMBNAIL = 16  # pixels a side, at most
SOME = 1000


@torch.no_grad()
def distinct(images: Tensor) -> Tensor:
    """Places of the images that are not nearly an earlier one, int64, ascending.

    Copies are one another's nearest neighbours, and pass no label on: of 1,500 digits, each in five versions, ten labels a
    class told 29 % rightly where they tell 93 % of one version.

    Args:
        images: `(N, C, S, S)`, uint8 or floats in [0, 1].
    """
    limit = SAME * _apart(images)
    side = images.shape[-1]
    block = next(k for k in range(math.ceil(side / THUMBNAIL), side + 1) if side % k == 0)
    # no two images are farther apart as thumbnails than in full
    small = torch.cat([avg_pool2d(as_floats(part), block).flatten(1) for part in images.split(CHUNK)])
    small -= small.mean(0)
    kept: list[int] = []
    for start in range(0, len(images), CHUNK):
        places = torch.arange(start, min(start + CHUNK, len(images)))
        others = torch.cat([torch.tensor(kept, dtype=torch.int64), places])
        near = torch.cdist(small[places], small[others]) <= limit * small.shape[1] ** 0.5
        near[:, len(kept) :].tril_(-1)  # the earlier ones
        pairs = near.nonzero()
        mine, other = places[pairs[:, 0]], others[pairs[:, 1]]
        same = torch.cat(
            [_rms(images[a], images[b]) for a, b in zip(mine.split(CHUNK), other.split(CHUNK), strict=True)]
        )
        copies: set[int] = set()
        for copy, original in zip(mine[same < limit].tolist(), other[same < limit].tolist(), strict=True):
            if original not in copies:
                copies.add(copy)
        kept += [place for place in places.tolist() if place not in copies]
    return torch.tensor(kept)


def _apart(images: Tensor) -> Tensor:
    """How far two random images are apart."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[: SOME + 1]
    return _rms(images[order[1:]], images[order[:-1]]).mean()


def _rms(a: Tensor, b: Tensor) -> Tensor:
    """Root mean square difference of pixels, `(B,)`."""
    return (as_floats(a) - as_floats(b)).flatten(1).square().mean(1).sqrt()
