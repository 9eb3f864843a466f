"""Views: each is one way of comparing images, of a pool with one another and new ones with the pool's."""

from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from ..vae import Codec
from .nearest import PART, USUAL_SEARCH, Search, as_places, nearest_by_cosine, neighbours_by_cosine, without_own

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
    def recall(self) -> float:
        """Part of the ten nearest that are among the neighbours: below 1 where an index found these; not stored."""

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
        neighbours: `(N, k)`, int16 of at most 32,768 images, else int32.
        recall: part of the ten nearest that are among the neighbours, where these were found by an index.
    """

    name: str
    weight: float
    extractor: Extractor
    features: Tensor
    neighbours: Tensor
    recall: float = 1.0

    @classmethod
    @torch.no_grad()
    def of_pool(
        cls, name: str, weight: float, extractor: Extractor, features: Tensor, k: int, how: Search = USUAL_SEARCH
    ) -> Self:
        """Make the view of a pool whose images have these features `(N, D)`, with k neighbours each, or fewer if it is small.

        Args:
            how: from which size of the pool on neighbours are found by an index, and how surely.

        Raises:
            ValueError: faiss is not installed, and the pool is larger.
        """
        features, recall = features.half(), 1.0
        if len(features) > how.exact:
            near, recall = neighbours_by_cosine(features, k, how)
        else:
            near = nearest_by_cosine(features.float(), features, min(k + 1, len(features)))
            near = without_own(near, torch.arange(len(near)))
        return cls(name, weight, extractor, features, as_places(near, len(features)), recall)

    def embed(self, vae: Codec, images: Tensor) -> Tensor:
        """The extractor's features of images, float32 `(M, D)`."""
        return self.extractor.embed(images)

    def nearest(self, vae: Codec, images: Tensor, features: Tensor) -> Tensor:
        """The places of the k nearest of the pool by the angle between features, int64 `(M, k)`."""
        return nearest_by_cosine(features, self.features, self.neighbours.shape[1])

    def distances_within(self, least: Tensor) -> Tensor:
        """Distances of about a thousand images to the nearest of all others, as neighbours by angle are not the nearest."""
        some = self.features[:: max(1, len(self.features) // REFERENCE_IMAGES)].float()
        parts = (torch.cdist(some, part.float()) for part in self.features.split(PART))
        return torch.stack([part.masked_fill_(part <= least, torch.inf).amin(1) for part in parts]).amin(0)
