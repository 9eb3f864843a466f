"""Textures: which small patches an image is made of, and where. Photographs are compared by them, other images also.

Coates, Lee & Ng, "An Analysis of Single-Layer Networks in Unsupervised Feature Learning" (AISTATS 2011): a dictionary of
whitened patches that spherical k-means finds in a pool itself, without labels. A spatial latent keeps an image's detail and
knows nothing of its kind: of an image's ten nearest among 10,000 of CIFAR-10, 21 % show the same class by latents, 48 % by
textures.
"""

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, conv2d, interpolate, normalize

from ..images import as_floats

SIDE = 32  # images are compared at this many pixels a side
PATCH, WORDS = 8, 100  # pixels a side of a patch, and how many kinds; 200 kinds label 0.5 points of CIFAR-10 better
CELLS = 3  # a side, in each of which they are counted
DIMENSIONS = 128  # principal components that are kept
SAMPLE, ROUNDS = 60_000, 15  # of k-means
CONTRAST = 10 / 255**2  # variance of a patch below which it is taken for blank
WHITENING = 0.1
THRESHOLD = 0.25  # of a patch's likeness to a word
NEIGHBOURS = 20
CHUNK = 20  # images at a time: 5 MB


@dataclass(frozen=True, eq=False)
class Textures:
    """A dictionary of patches, and the images of a pool in its terms.

    Args:
        filters: float16 `(K, C, p, p)`, with `shifts` `(K,)`: how much a patch is like each of the K words.
        centre, projection: float16 `(K c c,)` and `(K c c, D)`: from what is counted in each cell to points.
        points: float16 `(N, D)`: the pool's images; which are alike, the angle between them tells.
    """

    filters: Tensor
    shifts: Tensor
    centre: Tensor
    projection: Tensor
    points: Tensor

    @staticmethod
    def shapes(channels: int) -> dict[str, tuple[int | None, ...]]:
        """Of the tensors that are saved."""
        counts = WORDS * CELLS**2
        return {
            "filters": (WORDS, channels, PATCH, PATCH),
            "shifts": (WORDS,),
            "centre": (counts,),
            "projection": (counts, None),
            "points": (None, None),
        }

    def tensors(self) -> dict[str, Tensor]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    @torch.no_grad()
    def learn(cls, images: Tensor, dimensions: int = DIMENSIONS) -> Self:
        """From a pool's images, uint8 or floats in [0, 1], `(N, C, S, S)`; 10,000 of 32x32 pixels take ten seconds."""
        small = torch.cat([_small(part) for part in images.split(CHUNK)])
        filters, shifts = _words(_patches(small))
        counted = torch.cat([_counted(part, filters, shifts) for part in small.split(CHUNK)])
        centre, projection = _principal(counted, dimensions)
        points = (counted - centre.float()) @ projection.float()
        return cls(filters, shifts, centre, projection, points.half())

    @torch.no_grad()
    def of(self, images: Tensor) -> Tensor:
        """Images `(B, C, S, S)`, as of a pool -> their points, float32 `(B, D)`."""
        parts = [_counted(_small(part), self.filters, self.shifts) for part in images.split(CHUNK)]
        return (torch.cat(parts) - self.centre.float()) @ self.projection.float()

    def nearest(self, points: Tensor, k: int) -> Tensor:
        """Points `(B, D)` -> the pool's images that are most like each, the nearest first: int64 `(B, k)`."""
        pool = normalize(self.points.float())
        return torch.cat([(normalize(part) @ pool.T).topk(k, dim=1).indices for part in points.split(CHUNK)])

    def neighbours(self, k: int = NEIGHBOURS) -> Tensor:
        """For each image of the pool, those most like it, the nearest first: int64 `(N, k)`, or fewer in a small pool."""
        nearest = self.nearest(self.points.float(), min(k + 1, len(self.points)))
        # an image's own place goes, or the last, where so many are the same as it that its own is not among them
        other = nearest != torch.arange(len(nearest))[:, None]
        other[other.all(1), -1] = False
        return nearest[other].view(len(nearest), -1)


def _small(images: Tensor) -> Tensor:
    """`SIDE` pixels a side, in [0, 1]."""
    x = as_floats(images)
    if x.shape[-1] == SIDE:
        return x
    return interpolate(x, size=SIDE, mode="bilinear", antialias=True, align_corners=False)


def _patches(small: Tensor) -> Tensor:
    """Random patches of images, `(M, C p p)`, each with mean 0 and variance 1."""
    generator = torch.Generator().manual_seed(0)
    count = 3 * SAMPLE // max(3, small.shape[1])
    image = torch.randint(len(small), (count,), generator=generator)
    row, column = torch.randint(SIDE - PATCH + 1, (2, count, 1), generator=generator) + torch.arange(PATCH)
    found = small[image[:, None, None], :, row[:, :, None], column[:, None, :]]  # (M, p, p, C)
    return _standard(found.permute(0, 3, 1, 2).flatten(1))


def _standard(patches: Tensor) -> Tensor:
    variance, mean = torch.var_mean(patches, dim=1, correction=0, keepdim=True)
    return (patches - mean) * (variance + CONTRAST).rsqrt()


def _words(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Filters and shifts of a dictionary: centres of whitened patches, by the angle between them."""
    generator = torch.Generator().manual_seed(0)
    mean = patches.mean(0)
    variances, axes = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    whiten = axes * (variances.clamp_min(0) + WHITENING).rsqrt() @ axes.T
    white = (patches - mean) @ whiten
    words = normalize(white[torch.randperm(len(white), generator=generator)[:WORDS]])
    for _ in range(ROUNDS):
        nearest = (white @ words.T).argmax(1)
        sums = torch.zeros_like(words).index_add_(0, nearest, white)
        words = torch.where(sums.norm(dim=1, keepdim=True) > 0, normalize(sums), words)
    filters = words @ whiten
    shifts = filters @ mean + THRESHOLD
    filters = filters - filters.mean(1, keepdim=True)  # so that a patch's own mean does not count
    return filters.view(len(words), -1, PATCH, PATCH).half(), shifts.half()


def _counted(small: Tensor, filters: Tensor, shifts: Tensor) -> Tensor:
    """How much of each word is in each cell: `(B, K c c)`, square roots, which keep frequent words from deciding alone."""
    mean = avg_pool2d(small.mean(1, keepdim=True), PATCH, 1)
    variance = avg_pool2d(small.square().mean(1, keepdim=True), PATCH, 1) - mean.square()
    likeness = conv2d(small, filters.float())
    likeness.mul_((variance.clamp_min(0) + CONTRAST).rsqrt()).sub_(shifts.float()[:, None, None]).clamp_min_(0)
    return adaptive_avg_pool2d(likeness, CELLS).sqrt_().flatten(1)


def _principal(counted: Tensor, dimensions: int) -> tuple[Tensor, Tensor]:
    """Centre and projection: principal components of standardised columns, half-way to unit variance each."""
    centre, scale = counted.mean(0), counted.std(0).clamp_min(1e-2)
    standard = (counted - centre) / scale
    variances, axes = torch.linalg.eigh(standard.T @ standard / len(standard))
    count = min(dimensions, len(counted) - 1)
    largest = variances[-count:].clamp_min(1e-3)
    return centre.half(), (axes[:, -count:] * largest.pow(-0.25) / scale[:, None]).half()
