"""Precision, recall, density and coverage: how two sets of features lie in each other's neighbourhoods.

Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models" (NeurIPS 2019), equations 1 and 2;
Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models" (ICML 2020), equations 6 and 7.
"""

import torch
from torch import Tensor

NEIGHBOURS = 5  # k, as Naeem et al. recommend for density and coverage; Kynkäänniemi et al. take 3


def radii(features: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Distance from each of `(N, D)` features to its k-th nearest other, `(N,)`: the balls that make up their manifold.

    Example:
        >>> radii(torch.tensor([[0.0], [1.0], [3.0]]), k=1)
        tensor([1., 1., 2.])
    """
    return torch.cdist(features, features).kthvalue(min(k + 1, len(features)), dim=1).values


def inside(points: Tensor, centres: Tensor, radius: Tensor) -> Tensor:
    """Whether each of `(M, D)` points lies in a ball around one of `(N, D)` centres: bool `(M,)`.

    Its mean is the precision of synthetic points in balls of real ones, and the recall the other way round.
    """
    return (torch.cdist(points, centres) < radius).any(1)


def density(points: Tensor, centres: Tensor, radius: Tensor, k: int = NEIGHBOURS) -> float:
    """Mean number of balls around real centres that hold a synthetic point, divided by k; 1 of images of one distribution."""
    return float((torch.cdist(points, centres) < radius).float().sum(1).mean() / k)


def covered(points: Tensor, centres: Tensor, radius: Tensor) -> Tensor:
    """Whether the ball of each real centre holds a synthetic point: bool `(N,)`. Its mean is coverage."""
    return (torch.cdist(centres, points) < radius[:, None]).any(1)
