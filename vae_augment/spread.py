"""Label spreading: a few labels, carried over a graph of nearest neighbours.

Zhou, Bousquet, Lal, Weston & Schölkopf, "Learning with Local and Global Consistency" (NeurIPS 2004).
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

STEPS = 60


@torch.no_grad()
def spread_labels(neighbours: Tensor, labels: Tensor, classes: int, alpha: float) -> Tensor:
    """Labels of some points -> scores of all.

    Args:
        neighbours: int64 `(N, k)`: the points that each is joined to.
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


def _normalised_graph(neighbours: Tensor) -> Tensor:
    """D^-1/2 W D^-1/2, sparse `(N, N)`; W joins two points once for each that names the other."""
    count, k = neighbours.shape
    there, here = neighbours.flatten(), torch.arange(count).repeat_interleave(k)
    edges = torch.stack([torch.cat([here, there]), torch.cat([there, here])])
    degree = torch.bincount(edges[0], minlength=count).float()
    weights = (degree[edges[0]] * degree[edges[1]]).rsqrt()
    return torch.sparse_coo_tensor(edges, weights, (count, count), check_invariants=False).coalesce()
