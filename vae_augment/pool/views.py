"""Views: each is one way of comparing images, of a pool with one another and new ones with the pool's."""

from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..progress import progress
from ..vae import Codec

CHUNK = 20  # images compared with a pool at a time: 5 MB
REFERENCE_IMAGES = 1000  # of a pool, whose distances to their nearest stand for all of them


class Extractor(Protocol):
    """A function from images to features: all that a new `FeatureView` needs.

    Example:
        >>> from vae_augment.images import as_floats
        >>> class MeanColours:
        ...     def embed(self, images):
        ...         return as_floats(images).mean((2, 3))
        >>> pool = torch.rand(30, 3, 32, 32)
        >>> view = FeatureView.of_pool("colours", 1.0, MeanColours(), MeanColours().embed(pool), k=5)
        >>> view.neighbours.shape
        torch.Size([30, 5])
    """

    def embed(self, images: Tensor) -> Tensor:
        """Images `(B, C, S, S)`, uint8 or floats in [0, 1] -> features, float32 `(B, D)`. Angles between them count."""


class View(Protocol):
    """One way of comparing images: what it knows of a pool of N, and what it computes of M others."""

    @property
    def name(self) -> str:
        """The name that messages and a model card print; a bank has no two views of one name."""

    @property
    def weight(self) -> float:
        """The vote beside a bank's other views, in proportion."""

    @property
    def neighbours(self) -> Tensor:
        """Places of the k nearest others of each image of the pool, the nearest first: an integer tensor `(N, k)`."""

    @property
    def features(self) -> Tensor:
        """Features of the pool's images, float16 or float32 `(N, D)`."""

    def embed(self, vae: Codec, images: Tensor) -> Tensor:
        """Features of images, uint8 or floats in [0, 1], `(M, C, S, S)` -> float32 `(M, D)`."""

    def nearest(self, vae: Codec, images: Tensor, features: Tensor) -> Tensor:
        """Floats in [0, 1] and their features -> places of the k nearest of the pool, the nearest first: int64 `(M, k)`."""

    def distances_within(self, least: Tensor) -> Tensor:
        """Distances from images of the pool to a near other, by features, float32 `(n,)`. One nearer than `least` is a copy."""


@dataclass(frozen=True, eq=False)
class FeatureView:
    """Images compared by the angle between the features that an extractor computes.

    Args:
        name: as messages print it.
        weight: its vote.
        extractor: anything with `embed`, see `Extractor`.
        features: float16 `(N, D)`, of the pool's images.
        neighbours: int16 `(N, k)`.
    """

    name: str
    weight: float
    extractor: Extractor
    features: Tensor
    neighbours: Tensor

    @classmethod
    @torch.no_grad()
    def of_pool(cls, name: str, weight: float, extractor: Extractor, features: Tensor, k: int) -> Self:
        """Make the view of a pool whose images have these features `(N, D)`, with k neighbours each, or fewer if it is small."""
        features = features.half()
        nearest = _nearest_by_cosine(features.float(), features, min(k + 1, len(features)))
        # an image's own place goes, or the last, where so many are the same as it that its own is not among them
        is_other = nearest != torch.arange(len(nearest))[:, None]
        is_other[is_other.all(1), -1] = False
        return cls(name, weight, extractor, features, nearest[is_other].view(len(nearest), -1).short())

    def embed(self, vae: Codec, images: Tensor) -> Tensor:
        """The extractor's features of images, float32 `(M, D)`."""
        return self.extractor.embed(images)

    def nearest(self, vae: Codec, images: Tensor, features: Tensor) -> Tensor:
        """The places of the k nearest of the pool by the angle between features, int64 `(M, k)`."""
        return _nearest_by_cosine(features, self.features, self.neighbours.shape[1])

    def distances_within(self, least: Tensor) -> Tensor:
        """Distances of about a thousand images to the nearest of all others, as neighbours by angle are not the nearest."""
        pool = self.features.float()
        distances = torch.cdist(pool[:: max(1, len(pool) // REFERENCE_IMAGES)], pool)
        return distances.masked_fill_(distances <= least, torch.inf).amin(1)


def _nearest_by_cosine(features: Tensor, pool: Tensor, k: int) -> Tensor:
    """Features `(M, D)` -> the k of a pool `(N, D)` at the smallest angle, the nearest first: int64 `(M, k)`."""
    pool = normalize(pool.float())
    parts = progress(features.split(CHUNK), "compare by features")
    return torch.cat([(normalize(part) @ pool.T).topk(k, dim=1).indices for part in parts])
