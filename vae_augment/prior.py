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

Prior = Callable[[int, Generator | None], Tensor]

COMPONENTS, RANK = 500, 8  # of a mixture, at most
LARGEST_MIXTURE = 500_000  # values: a megabyte in float16
LEAST_MEMBERS = 20  # latents of a component, on average: with fewer it would keep single images
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
        object.__setattr__(self, "_around", Neighbourhoods(self.latents, torch.tensor([len(self.latents)])))

    def __call__(self, count: int, generator: Generator | None = None) -> Tensor:
        places = torch.randint(len(self.latents), (count,), generator=generator, device="cpu")
        return self._around.draw(places, self.novelty, generator)

    def with_novelty(self, novelty: float) -> Self:
        """The same latents, and new ones so far from them."""
        new = copy.copy(self)  # and not `replace`, which would look for neighbours again
        object.__setattr__(new, "novelty", novelty)
        return new

    def __repr__(self) -> str:
        return f"Exemplars({len(self.latents)} latents, novelty={self.novelty:g})"


@dataclass(frozen=True, eq=False)
class Mixture:
    """Gaussians of low rank around the means of k-means clusters: where no latents of single images may be kept.

    Args:
        shares: float `(K,)`: parts of the latents that are in each.
        means: float `(K, *latent_shape)`, whitened.
        factors: float `(K, R, *latent_shape)`: principal directions, as long as the deviation along them.
    """

    shares: Tensor
    means: Tensor
    factors: Tensor

    @classmethod
    @torch.no_grad()
    def of_latents(cls, latents: Tensor, components: int = COMPONENTS, rank: int = RANK) -> Self:
        """Fit to whitened latents `(N, *latent_shape)`, at least 20 to a component on average."""
        flat = latents.flatten(1).float()
        fitting = LARGEST_MIXTURE // (flat.shape[1] * (rank + 1))
        means, nearest = _k_means(flat, max(1, min(components, fitting, len(flat) // LEAST_MEMBERS)))
        factors = torch.zeros(len(means), rank, flat.shape[1])
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
        return self.means[chosen].float() + torch.einsum("br,br...->b...", eps, self.factors[chosen].float())

    def __repr__(self) -> str:
        return f"Mixture({len(self.shares)} Gaussians of rank {self.factors.shape[1]})"


def _k_means(flat: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Means `(K, L)` of clusters, none of them empty, and the cluster of each latent, int64 `(N,)` (Lloyd's algorithm)."""
    generator = torch.Generator().manual_seed(0)
    means = flat[torch.randperm(len(flat), generator=generator)[:count]].clone()
    for _ in range(ROUNDS):
        nearest = torch.cat([torch.cdist(part, means).argmin(1) for part in flat.split(CHUNK)])
        sizes = torch.bincount(nearest, minlength=len(means))
        means, nearest = means[sizes > 0], (torch.cumsum(sizes > 0, 0) - 1)[nearest]
        means = torch.zeros_like(means).index_add_(0, nearest, flat) / sizes[sizes > 0][:, None]
    return means, nearest
