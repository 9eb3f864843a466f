"""Priors: where latents of new images come from when no class is asked for.

A prior is a callable `(count, generator) -> z`, whitened latents `(count, *latent_shape)`. Decoded, N(0, I) shows no images,
since the latents of real ones fill a small part of it. So a prior is fitted to latents after training, as in the second stage
of Ghosh et al. (From Variational to Deterministic Autoencoders, ICLR 2020).
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Generator, Tensor

from .neighbourhoods import USUAL_NOVELTY, Neighbourhoods
from .numerics import float32_on_cpu

Prior = Callable[[int, Generator | None], Tensor]

COMPONENTS, RANK = 500, 8  # of a mixture, at most
LARGEST_MIXTURE = 500_000  # values: a megabyte in float16
USUAL_MEMBERS = 20  # latents of a component, on average
LEAST_MEMBERS = 10  # and at least: of fewer it would keep single images
ROUNDS = 15  # of k-means
CHUNK = 4096  # latents compared at a time


@dataclass(frozen=True)
class StandardNormal:
    """N(0, I), which training pulls latents toward, and which they do not reach.

    Args:
        latent_shape: of one latent.
    """

    latent_shape: tuple[int, ...]

    def __call__(self, count: int, generator: Generator | None = None) -> Tensor:
        return torch.randn(count, *self.latent_shape, generator=generator, dtype=torch.float32, device="cpu")


@dataclass(frozen=True, eq=False)
class Exemplars:
    """New latents beside those of a pool (Norouzi et al., Exemplar VAE, NeurIPS 2020), see `Neighbourhoods`.

    Args:
        latents: `(N, *latent_shape)`, whitened.
        novelty: from 0 to 1; 0 is the pool itself.
    """

    latents: Tensor
    novelty: float = USUAL_NOVELTY
    _around: Neighbourhoods = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_latents(self.latents)
        _check_novelty(self.novelty)
        object.__setattr__(self, "_around", Neighbourhoods(self.latents, torch.tensor([len(self.latents)])))

    def __call__(self, count: int, generator: Generator | None = None) -> Tensor:
        places = torch.randint(len(self.latents), (count,), generator=generator, device="cpu")
        return self._around.draw(places, self.novelty, generator)

    def with_novelty(self, novelty: float) -> Self:
        """The same latents, and new ones so far from them."""
        _check_novelty(novelty)
        new = copy.copy(self)  # and not `replace`, which would look for neighbours again
        object.__setattr__(new, "novelty", novelty)
        return new

    def __repr__(self) -> str:
        return f"Exemplars({len(self.latents)} latents, novelty={self.novelty:g})"


@dataclass(frozen=True, eq=False)
class Mixture:
    """Gaussians of low rank around the means of k-means clusters, each of ten latents at least: where none of single images may
    be kept.

    Args:
        shares: float `(K,)`: parts of the latents that are in each.
        means: float `(K, *latent_shape)`, whitened.
        factors: float `(K, R, *latent_shape)`: principal directions, as long as the deviation along them.
    """

    shares: Tensor
    means: Tensor
    factors: Tensor

    @classmethod
    @float32_on_cpu()
    def of_latents(cls, latents: Tensor, components: int = COMPONENTS, rank: int = RANK) -> Self:
        """Fit to whitened latents `(N, *latent_shape)`, of which 20 on average, and 10 at least, are of one Gaussian.

        Raises:
            ValueError: there are none, or they are not finite; no component, or no rank.
        """
        _check_latents(latents)
        if components < 1 or rank < 1:
            raise ValueError(f"a mixture has components and a rank of at least 1, got {components} and {rank}")
        flat = latents.flatten(1).float()
        fitting = LARGEST_MIXTURE // (flat.shape[1] * (rank + 1))
        means, nearest = _k_means(flat, max(1, min(components, fitting, len(flat) // USUAL_MEMBERS)))
        factors = torch.zeros(len(means), rank, flat.shape[1], dtype=torch.float32)
        for c in range(len(means)):
            of_cluster = flat[nearest == c] - means[c]
            _, deviations, directions = torch.linalg.svd(of_cluster, full_matrices=False)
            kept = min(rank, len(deviations))
            factors[c, :kept] = directions[:kept] * deviations[:kept, None] / len(of_cluster) ** 0.5
        shares = torch.bincount(nearest, minlength=len(means)) / len(flat)
        shape = latents.shape[1:]
        return cls(shares, means.view(-1, *shape), factors.view(-1, rank, *shape))

    def __call__(self, count: int, generator: Generator | None = None) -> Tensor:
        part = torch.rand(count, generator=generator, dtype=torch.float32, device="cpu")
        ends = self.shares.float().cumsum(0)
        chosen = torch.searchsorted(ends, part * ends[-1], right=True).clamp_(max=len(ends) - 1)
        rank = self.factors.shape[1]
        eps = torch.randn(count, rank, generator=generator, dtype=torch.float32, device="cpu")
        with torch.autocast("cpu", enabled=False):
            return self.means[chosen].float() + torch.einsum("br,br...->b...", eps, self.factors[chosen].float())

    def __repr__(self) -> str:
        return f"Mixture({len(self.shares)} Gaussians of rank {self.factors.shape[1]})"


def _check_latents(latents: Tensor) -> None:
    if not len(latents) or not bool(latents.isfinite().all()):
        what = "none" if not len(latents) else "values that are not finite"
        raise ValueError(f"a prior is fitted to finite latents (N, *latent_shape), got {what}")


def _check_novelty(novelty: float) -> None:
    if not 0 <= novelty <= 1:
        raise ValueError(f"novelty must be a number from 0 to 1, got {novelty!r}")


def _k_means(flat: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Means `(K, L)` of clusters and the cluster of each latent, int64 `(N,)` (Lloyd's algorithm).

    Clusters of fewer than ten, as outliers make, are given up at the end, and their latents go to others.
    """
    means = flat[torch.randperm(len(flat), generator=torch.Generator().manual_seed(0))[:count]]
    for _ in range(ROUNDS):
        nearest = _nearest(flat, means)
        sizes = torch.bincount(nearest, minlength=len(means))
        means = (torch.zeros_like(means).index_add_(0, nearest, flat) / sizes.clamp_min(1)[:, None])[sizes > 0]
    sizes = torch.bincount(_nearest(flat, means), minlength=len(means))
    is_large = sizes >= min(LEAST_MEMBERS, int(sizes.max()))
    nearest = _nearest(flat, means[is_large])  # to fewer means, each of which has as many as before or more
    sizes = torch.bincount(nearest, minlength=int(is_large.sum()))
    return torch.zeros_like(means[is_large]).index_add_(0, nearest, flat) / sizes[:, None], nearest


def _nearest(flat: Tensor, means: Tensor) -> Tensor:
    return torch.cat([torch.cdist(part, means).argmin(1) for part in flat.split(CHUNK)])
