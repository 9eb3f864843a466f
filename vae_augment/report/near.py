"""Images compared pixel by pixel, whatever their brightness, a mirror or a shift: the nearest real one, and repeats."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..images import spread_places

THUMBNAIL = 14  # pixels a side, at most, by which candidates are found
CANDIDATES = 4  # of each image and of its mirror, that are compared in full
SHIFT = 1  # pixels
CHUNK = 250  # images at a time
FAINT = 4.0  # grey levels: an image that varies less counts as if it varied so much, so that grain of a flat one is not stretched
# of the distances of real images to their nearest, that below which one may be a duplicate: real sets hold a few themselves
DUPLICATES = 0.05
REFERENCE = 300  # real images that this is measured of
# part of the distance at which real images have their nearest other, below which two images are copies of each other. A JPEG
# of quality 75, noise of eight grey levels, a mirror, a shift, a change of brightness, contrast or gamma stay below it, and
# of real held-out images hardly one in a thousand does: `benchmarks.report_controls` prints how many.
COPY = 0.5


class Nearest(NamedTuple):
    """The nearest real image of each: its place, int64 `(N,)`, and how far it is, float32 `(N,)`.

    A distance is the root mean square difference of pixels, each image having mean 0 and deviation 1: about 1.4 of two
    images that have nothing in common.
    """

    place: Tensor
    distance: Tensor


def nearest(images: Tensor, real: Tensor, own: Tensor | None = None) -> Nearest:
    """Find the nearest of the real images.

    Args:
        images, real: uint8 `(N, C, S, S)` and `(M, C, S, S)`.
        own: the places that the images have among the real ones, int64 `(N,)`; their nearest are then others.

    Example:
        >>> from vae_augment.demo_data import fashion_sample
        >>> real = fashion_sample()[0]
        >>> nearest(real[5:7].flip(-1), real).place
        tensor([5, 6])
    """
    thumbnails = _thumbnails(real)
    found = []
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        mine = None if own is None else own[start : start + CHUNK]
        found.append(_nearest_of_chunk(part, real, thumbnails, mine))
    if not found:
        return Nearest(torch.empty(0, dtype=torch.int64), torch.empty(0))
    return Nearest(torch.cat([n.place for n in found]), torch.cat([n.distance for n in found]))


def _nearest_of_chunk(part: Tensor, real: Tensor, thumbnails: Tensor, own: Tensor | None) -> Nearest:
    k = min(CANDIDATES, len(real) - (own is not None))
    places, distances = [], []
    for turned in (part, part.flip(-1)):
        alike = _thumbnails(turned) @ thumbnails.T  # (B, M)
        if own is not None:
            alike[torch.arange(len(part)), own] = -torch.inf
        candidates = alike.topk(k).indices
        places.append(candidates)
        distances.append(_shifted_distance(turned, real[candidates.flatten()].unflatten(0, (-1, k))))
    place, distance = torch.cat(places, 1), torch.cat(distances, 1)
    least = distance.argmin(1, keepdim=True)
    return Nearest(place.gather(1, least)[:, 0], distance.gather(1, least)[:, 0])


def _shifted_distance(images: Tensor, others: Tensor) -> Tensor:
    """The least distance over shifts of each image `(B, C, S, S)` to its candidates `(B, k, C, S, S)`: `(B, k)`."""
    side = images.shape[-1]
    x, others = _normalised(images), _normalised(others)[..., SHIFT : side - SHIFT, SHIFT : side - SHIFT]
    least = x.new_full(others.shape[:2], torch.inf)
    for down in range(2 * SHIFT + 1):
        for right in range(2 * SHIFT + 1):
            moved = x[:, None, :, down : down + others.shape[-2], right : right + others.shape[-1]]
            least = torch.minimum(least, (moved - others).square().flatten(2).mean(2))
    return least.sqrt()


def _normalised(images: Tensor) -> Tensor:
    """Bytes -> float32 of mean 0 and deviation 1, each image: the same however bright and rich in contrast it is."""
    x = images.float()
    x = x - x.mean((-3, -2, -1), keepdim=True)
    return x / x.std((-3, -2, -1), keepdim=True).clamp_min(FAINT)


def _thumbnails(images: Tensor) -> Tensor:
    """Bytes -> unit vectors `(N, D)`: blurred, so that a pixel's shift changes little."""
    parts = []
    for part in images.split(CHUNK):
        x = F.avg_pool2d(part.float(), 3, 1, 1, count_include_pad=False)
        x = F.adaptive_avg_pool2d(x, min(THUMBNAIL, images.shape[-1])).flatten(1)
        parts.append(F.normalize(x - x.mean(1, keepdim=True)))
    return torch.cat(parts)


class Closeness(NamedTuple):
    """How near each image is to its nearest real one, and that as a part of what is usual there.

    Args:
        place, distance: as of `Nearest`.
        usual: distance at which that real image has its nearest other real one, `(N,)`.
    """

    place: Tensor
    distance: Tensor
    usual: Tensor

    @property
    def ratio(self) -> Tensor:
        """Below `COPY`: a copy. Above 1: authentic, as Alaa et al. have it."""
        return self.distance / self.usual

    @property
    def is_copy(self) -> Tensor:
        return self.ratio < COPY


def closeness(images: Tensor, real: Tensor) -> Closeness:
    """Compare images, uint8 `(N, C, S, S)`, with real ones, and the distance of each with what is usual around its nearest.

    A sample is authentic if it is farther from its nearest real image than that is from other real ones (Alaa, van Breugel,
    Saveliev & van der Schaar, "How Faithful is your Synthetic Data?", ICML 2022).
    """
    found = nearest(images, real)
    places, back = found.place.unique(return_inverse=True)
    usual = nearest(real[places], real, own=places).distance
    return Closeness(*found, usual.clamp_min(_least_usual(real))[back])


def _least_usual(real: Tensor) -> float:
    """The least distance to the nearest other that counts: a real image that lies twice in the set has its own at 0, and would
    never be found copied.
    """
    places = spread_places(len(real), REFERENCE)
    return max(1e-3, float(nearest(real[places], real, own=places).distance.quantile(DUPLICATES)))


def distinct(images: Tensor, real: Tensor) -> Tensor:
    """Places of images that repeat no earlier one, int64, ascending.

    Two repeat each other if they are as near as hardly two real images are.

    Args:
        images, real: uint8 `(N, C, S, S)`, some thousand at most, as all are compared with all.

    Example:
        >>> from vae_augment.demo_data import fashion_sample
        >>> real = fashion_sample()[0]
        >>> distinct(real[[3, 4, 3, 3, 5]], real)
        tensor([0, 1, 4])
    """
    x, known = _thumbnails(images), _thumbnails(real)
    apart = torch.cdist(known, known).fill_diagonal_(torch.inf).amin(1)
    near = torch.cdist(x, x) <= COPY * apart.quantile(DUPLICATES)
    is_kept = torch.zeros(len(x), dtype=torch.bool)
    for i in range(len(x)):
        is_kept[i] = not (near[i] & is_kept).any()
    return is_kept.nonzero()[:, 0]
