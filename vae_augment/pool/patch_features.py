"""Patch features: how much of which small patches an image has, and where. An extractor that a pool itself teaches.

Coates, Lee & Ng, "An Analysis of Single-Layer Networks in Unsupervised Feature Learning" (AISTATS 2011): a dictionary of
whitened patches that spherical k-means finds in a pool, without labels. Photographs are compared by it alone, since a spatial
latent keeps an image's detail and knows nothing of its kind.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, conv2d, interpolate, normalize

from ..images import as_floats, spread_places
from ..numerics import eigh, in_one, in_threads
from ..progress import progress
from .nearest import USUAL_SEARCH, Search

SIDE = 32  # pixels to which images are resized
PATCH = 8  # pixels a side
WORDS = 100  # of the dictionary; twice as many label photographs hardly better
CELLS_A_SIDE = 3  # in each of which words are pooled
MOST_DIMENSIONS = 128  # principal components that are kept
PATCHES, ROUNDS = 60_000, 15  # of k-means
CONTRAST = 10 / 255**2  # variance of a patch's pixels, which keeps a blank one from being scaled up
WHITENING = 0.1  # added to each variance
THRESHOLD = 0.25  # of a patch's activation by a word
CHUNK = 20  # images at a time: 5 MB
EMBEDDED = 500  # images of a large pool at a time


@dataclass(frozen=True, eq=False)
class PatchFeatures:
    """A dictionary of patches, and a projection of what is pooled of its words.

    Args:
        filters: float16 `(K, C, p, p)`, with `shifts` `(K,)`: the activation of a patch by each of the K words.
        centre, projection: float16 `(K c c,)` and `(K c c, D)`: from pooled activations to features.

    Raises:
        ValueError: D is not from 1 to 128.
    """

    filters: Tensor
    shifts: Tensor
    centre: Tensor
    projection: Tensor

    def __post_init__(self) -> None:
        if not 1 <= self.dimensions <= MOST_DIMENSIONS:
            raise ValueError(f"projection must have from 1 to {MOST_DIMENSIONS} columns, got {self.dimensions}")

    @staticmethod
    def shapes(channels: int) -> dict[str, tuple[int | None, ...]]:
        """The shapes of its tensors; None: any length."""
        pooled = WORDS * CELLS_A_SIDE**2
        return {
            "filters": (WORDS, channels, PATCH, PATCH),
            "shifts": (WORDS,),
            "centre": (pooled,),
            "projection": (pooled, None),
        }

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The extractor that has these tensors."""
        return cls(**tensors)

    @property
    def dimensions(self) -> int:
        """D, of its features."""
        return self.projection.shape[1]

    @classmethod
    @torch.no_grad()
    def learn(
        cls, images: Tensor, dimensions: int = MOST_DIMENSIONS, how: Search = USUAL_SEARCH
    ) -> tuple[Self, Tensor]:
        """Learn from a pool's images `(N, C, S, S)`, uint8 or floats in [0, 1]; of a large pool from some, spread over it.

        Returns:
            The extractor, and the features of these images, float32 `(N, D)`, float16 of a large pool; D is less than asked for
            in a small pool.
        """
        if len(images) > how.exact:
            extractor, _ = cls.learn(images[spread_places(len(images), how.exact)], dimensions, how)
            parts = images.split(EMBEDDED)
            features = in_threads(lambda part: extractor._of(part.split(CHUNK)).half(), parts)
            return extractor, in_one(progress(features, "patch features", len(parts)), len(images))
        small = torch.cat([_resized(part) for part in images.split(CHUNK)])
        filters, shifts = _dictionary(_patches(small))
        parts = progress(small.split(CHUNK), "patch features")
        pooled = torch.cat([_pooled(part, filters, shifts) for part in parts])
        extractor = cls(filters, shifts, *_principal_components(pooled, dimensions))
        return extractor, extractor._projected(pooled)

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Images `(B, C, S, S)`, uint8 or floats in [0, 1] -> features, float32 `(B, D)`."""
        return self._of(progress(images.split(CHUNK), "patch features"))

    def _of(self, chunks: Iterable[Tensor]) -> Tensor:
        return self._projected(torch.cat([_pooled(_resized(part), self.filters, self.shifts) for part in chunks]))

    def _projected(self, pooled: Tensor) -> Tensor:
        return (pooled - self.centre.float()) @ self.projection.float()


def _resized(images: Tensor) -> Tensor:
    """Images -> `SIDE` pixels a side, in [0, 1]."""
    x = as_floats(images)
    if x.shape[-1] == SIDE:
        return x
    return interpolate(x, size=SIDE, mode="bilinear", antialias=True, align_corners=False)


def _patches(small: Tensor) -> Tensor:
    """Random patches of images, `(M, C p p)`, each with mean 0 and variance 1."""
    generator = torch.Generator().manual_seed(0)
    count = 3 * PATCHES // max(3, small.shape[1])
    image = torch.randint(len(small), (count,), generator=generator)
    row, column = torch.randint(SIDE - PATCH + 1, (2, count, 1), generator=generator) + torch.arange(PATCH)
    found = small[image[:, None, None], :, row[:, :, None], column[:, None, :]]  # (M, p, p, C)
    return _standardised(found.permute(0, 3, 1, 2).flatten(1))


def _standardised(patches: Tensor) -> Tensor:
    variance, mean = torch.var_mean(patches, dim=1, correction=0, keepdim=True)
    return (patches - mean) * (variance + CONTRAST).rsqrt()


def _dictionary(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Filters and shifts of a dictionary's words: spherical k-means of ZCA-whitened patches."""
    generator = torch.Generator().manual_seed(0)
    mean = patches.mean(0)
    variances, axes = eigh((patches - mean).T @ (patches - mean) / len(patches))
    whiten = axes * (variances.clamp_min(0) + WHITENING).rsqrt() @ axes.T
    white = (patches - mean) @ whiten
    words = normalize(white[torch.randperm(len(white), generator=generator)[:WORDS]])
    for _ in progress(range(ROUNDS), "dictionary of patches"):
        nearest = (white @ words.T).argmax(1)
        sums = torch.zeros_like(words).index_add_(0, nearest, white)
        words = torch.where(sums.norm(dim=1, keepdim=True) > 0, normalize(sums), words)
    filters = words @ whiten
    shifts = filters @ mean + THRESHOLD
    filters = filters - filters.mean(1, keepdim=True)  # so that a patch's own mean does not count
    return filters.view(len(words), -1, PATCH, PATCH).half(), shifts.half()


def _pooled(small: Tensor, filters: Tensor, shifts: Tensor) -> Tensor:
    """Activations of each word in each cell: `(B, K c c)`, square roots, which keep frequent words from deciding alone."""
    mean = avg_pool2d(small.mean(1, keepdim=True), PATCH, 1)
    variance = avg_pool2d(small.square().mean(1, keepdim=True), PATCH, 1) - mean.square()
    activations = conv2d(small, filters.float())
    activations.mul_((variance.clamp_min(0) + CONTRAST).rsqrt()).sub_(shifts.float()[:, None, None]).clamp_min_(0)
    return adaptive_avg_pool2d(activations, CELLS_A_SIDE).sqrt_().flatten(1)


def _principal_components(pooled: Tensor, dimensions: int) -> tuple[Tensor, Tensor]:
    """Centre and projection: principal components of standardised columns, half-way to unit variance each."""
    centre, scale = pooled.mean(0), pooled.std(0).clamp_min(1e-2)
    standard = (pooled - centre) / scale
    variances, axes = eigh(standard.T @ standard / len(standard))
    count = min(dimensions, len(pooled) - 1)
    largest = variances[-count:].clamp_min(1e-3)
    return centre.half(), (axes[:, -count:] * largest.pow(-0.25) / scale[:, None]).half()
