"""Label spreading: a few labels, propagated over kNN graphs.

Zhou, Bousquet, Lal, Weston & Schölkopf, "Learning with Local and Global Consistency" (NeurIPS 2004), on edges weighted by
shared neighbours (Jarvis & Patrick, "Clustering Using a Similarity Measure Based on Shared Near Neighbors", 1973).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..numerics import in_threads

STEPS = 60  # of propagation
EDGES_A_POINT = 8  # to its nearest neighbours; the farther ones only tell what two points share
LEAST_EDGE_WEIGHT = 1e-3  # of an edge whose ends share no neighbour: labels still reach a point that has no other edge
FOLDS = 5  # of cross-validation
ENOUGH_HELD_OUT = 100  # labels: of more, only the first folds that hold so many are judged
ENOUGH_OF_LARGE = 40  # the same over a large graph, each fold of which takes seconds
LARGE = 65_536  # points: of more, scores are propagated
CHUNK = 2048  # points whose neighbourhoods are compared at a time: they stay in a core's cache
PART = 262_144  # points whose edges are sorted at a time
COLUMNS = 16  # at a time, at most: a line of a core's cache for each point
CLUSTERINGS = (
    12,
    7,
    4,
    2,
)  # edges that the centre of a cluster is away at most: coarse clusters, and finer ones within them


@dataclass(frozen=True, eq=False)
class Graph:
    """A kNN graph as label spreading reads it.

    Args:
        affinity: sparse CSR `(N, N)`, float32: D^-1/2 W D^-1/2.
        weight: its vote beside other graphs of the same points.
        seeds: int64 `(N,)`, labels that some points have in this graph besides, as texts say, -1 elsewhere; None: there are none.
        order: int64 `(N,)`, the points that the affinity's rows and columns are of; None: they are in the points' own order.
    """

    affinity: Tensor
    weight: float = 1.0
    seeds: Tensor | None = None
    order: Tensor | None = None

    def known(self, labels: Tensor) -> Tensor:
        """Labels of points, -1 where unknown, and with them its own."""
        return labels if self.seeds is None else torch.where(labels < 0, self.seeds, labels)


def knn_graph(neighbours: Tensor, weight: float = 1.0) -> Graph:
    """Neighbours, int64 `(N, k)`, the nearest first -> the graph that joins each point to the first 8.

    Two points are joined once for each that names the other. Points of a large graph are put into an order of its own.
    """
    count, edges = len(neighbours), min(EDGES_A_POINT, neighbours.shape[1])
    order = None
    if count > LARGE:
        order = order_by_clusters(neighbours[:, :edges])
        neighbours = inverse(order)[neighbours[order]]
    weights = shared_neighbours(neighbours, edges) + LEAST_EDGE_WEIGHT
    return Graph(normalized_affinity(neighbours[:, :edges], weights), weight, order=order)


def normalized_affinity(neighbours: Tensor, weights: Tensor) -> Tensor:
    """Neighbours, int64 `(N, k)`, and the weights, above 0, of the edges to them `(N, k)` -> sparse CSR `(N, N)`.

    Each edge counts once from each end: two points that name each other are joined twice as strongly.
    """
    count, edges = neighbours.shape
    degree = torch.zeros(count, dtype=torch.float32)
    for ends in (torch.arange(count).repeat_interleave(edges), neighbours.flatten()):
        degree.index_add_(0, ends, weights.flatten())
    forth = weights * (degree[:, None] * degree[neighbours]).rsqrt()
    back = torch.zeros_like(forth)  # of an edge that the other end names, too
    for own in torch.arange(count).split(CHUNK):
        of_own = neighbours[own]
        told = ((neighbours[of_own] == own[:, None, None]) * forth[of_own]).sum(2)
        back[own] = told / (of_own[:, :, None] == of_own[:, None, :]).sum(2)  # an index may name a point several times
    is_named_once = back == 0  # such edges are written down a second time, from the end that is named
    named, naming, of_naming = neighbours[is_named_once], is_named_once.nonzero()[:, 0], forth[is_named_once]
    lengths, columns, values = [], [], []
    for own in torch.arange(count).split(PART):  # a large graph in parts, which take less memory
        here = (named >= own[0]) & (named <= own[-1])
        entries = torch.cat([(own[:, None] * count + neighbours[own]).flatten(), named[here] * count + naming[here]])
        entries, order = entries.sort()
        lengths.append((entries // count - own[0]).bincount(minlength=len(own)))
        columns.append((entries % count).int())
        values.append(torch.cat([(forth[own] + back[own]).flatten(), of_naming[here]])[order])
    rows = torch.cat([torch.zeros(1, dtype=torch.int64), *lengths]).cumsum(0).int()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        # by rows, which propagates much sooner than COO; in int32, which a product reads in half the time
        return torch.sparse_csr_tensor(
            rows, torch.cat(columns), torch.cat(values), (count, count), check_invariants=False
        )


def order_by_clusters(neighbours: Tensor) -> Tensor:
    """Points `(N,)` in an order in which neighbours, int64 `(N, k)`, lie near each other, for the sake of caches.

    In each round a point joins the cluster of the smallest number among its own and its neighbours' clusters.
    """
    cluster = torch.randperm(len(neighbours), generator=torch.Generator().manual_seed(0)).int()
    found, columns = {}, neighbours.T.contiguous()
    for rounds in range(1, max(CLUSTERINGS) + 1):
        before = cluster
        for column in columns:  # sooner than the least of each row
            cluster = torch.minimum(cluster, before[column])
        found[rounds] = cluster
    order = torch.arange(len(neighbours))
    for rounds in sorted(
        CLUSTERINGS
    ):  # the last sort, by the coarsest clusters, keeps the finer ones' order within each
        order = order[found[rounds][order].argsort(stable=True)]
    return order


def inverse(order: Tensor) -> Tensor:
    """Where each point is in an order `(N,)` of all."""
    return torch.empty_like(order).index_copy_(0, order, torch.arange(len(order)))


def shared_neighbours(neighbours: Tensor, edges: int) -> Tensor:
    """Jaccard index of the neighbourhoods at both ends of each point's first edges: float32 `(N, edges)` in [0, 1].

    A point belongs to its own neighbourhood. An edge into another class shares fewer neighbours than one within a class.

    Args:
        neighbours: int64 `(N, k)`.
    """
    count, k = neighbours.shape
    members = torch.cat([neighbours, torch.arange(count)[:, None]], dim=1).int()
    weights = torch.empty(count, edges, dtype=torch.float32)
    counts = torch.uint8 if k < 255 else torch.int32
    for start in range(0, count, CHUNK):
        here = slice(start, start + CHUNK)
        own = members[here].T.contiguous()[:, None]  # (k + 1, 1, chunk)
        others = members[neighbours[here, :edges].T].permute(2, 0, 1).contiguous()  # (k + 1, edges, chunk)
        shared = torch.zeros(others.shape[1:], dtype=counts)
        for other in others:
            shared += (own == other).sum(0, dtype=counts) > 0  # sooner than any()
        weights[here] = (shared / (2 * (k + 1) - shared.float())).T
    return weights


@torch.no_grad()
def spread_labels(graphs: Sequence[Graph], labels: Tensor, classes: int, alpha: float) -> Tensor:
    """Labels of some points -> scores of all: the mean over graphs, each as heavy as its weight.

    Args:
        graphs: of the same N points.
        labels: int64 `(N,)`, from 0 to classes - 1, and -1 where unknown.
        alpha: how far labels travel, below 1; known labels keep the part 1 - alpha at each step.

    Returns:
        float32 `(N, classes)`, rows that sum to 1, or are 0 where no label arrived in one of the graphs.
    """
    scores = torch.zeros(len(labels), classes, dtype=torch.float32)
    is_unreached = torch.zeros(len(labels), dtype=torch.bool)
    total = sum(graph.weight for graph in graphs)
    for graph in graphs:
        arrived = propagated(graph, [labels], classes, alpha)
        scores += graph.weight / total * _with_rows_of_sum_1(arrived)
        is_unreached |= arrived.sum(1) <= 0
    scores[is_unreached] = 0
    return scores


def cross_validated_accuracy(graphs: Sequence[Graph], labels: Tensor, classes: int, alpha: float) -> float:
    """Part of the known labels that the others predict rightly, in five-fold cross-validation: the mean over classes.

    Args: as of `spread_labels`.

    Returns:
        A part in [0, 1]; nan if no two labels share a class.
    """
    return held_out(graphs, labels, classes, alpha).accuracy([graph.weight for graph in graphs])


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Labels that were held out in turn, and what the others say of their points.

    Args:
        own: int64 `(J,)`, the labels; not one of them is alone in its class.
        rows: for each graph, float32 `(J, classes)`: scores of these points, rows that sum to 1, or are 0.
    """

    own: Tensor
    rows: tuple[Tensor, ...]

    def predicted(self, weights: Sequence[float]) -> Tensor:
        """The classes of the points if graphs vote by these weights, int64 `(J,)`, -1 where no label arrives."""
        scores, total = torch.zeros_like(self.rows[0]), sum(weights)
        for weight, rows in zip(weights, self.rows, strict=True):
            scores += weight / total * rows
        score, predicted = scores.max(1)
        return torch.where(score > 0, predicted, -1)

    def accuracy(self, weights: Sequence[float]) -> float:
        """Part that is right then, the mean over classes; nan if there are no points."""
        right = (self.predicted(weights) == self.own).float()
        counts = self.own.bincount()
        of_class = right.new_zeros(len(counts)).index_add(0, self.own, right) / counts
        return float(of_class[counts > 0].mean())

    def accuracies(self) -> list[float]:
        """The same of each graph alone."""
        graphs = range(len(self.rows))
        return [self.accuracy([float(graph == other) for other in graphs]) for graph in graphs]


@torch.no_grad()
def held_out(graphs: Sequence[Graph], labels: Tensor, classes: int, alpha: float) -> HeldOut:
    """Hold out each fold of the known labels in turn.

    Of many labels only the first folds are judged, and none of a class that has one label in all graphs. A graph's seeds are
    known all along.

    Args: as of `spread_labels`.
    """
    points, fold = folds_of(labels)
    own = labels[points]
    enough = ENOUGH_HELD_OUT if len(labels) <= LARGE else ENOUGH_OF_LARGE
    folds = min(FOLDS, -(-FOLDS * enough // len(own)))
    parts, arrived, counts = without_folds(labels, points, fold, folds), [], torch.zeros(classes, dtype=torch.int64)
    for graph in graphs:
        arrived.append(propagated(graph, parts, classes, alpha, points).view(-1, folds, classes))
        counts = counts.maximum(graph.known(labels).add(1).bincount(minlength=classes + 1)[1:])
    judged = (fold < folds) & (counts[own] > 1)
    return HeldOut(own[judged], tuple(_with_rows_of_sum_1(each[judged, fold[judged]]) for each in arrived))


def propagated(
    graph: Graph, labels: Sequence[Tensor], classes: int, alpha: float, points: Tensor | None = None
) -> Tensor:
    """Each of some labellings `(N,)`, propagated: `(N, len(labels) * classes)`, or the rows of some points.

    Over a large graph a few columns are propagated at a time, and only the wanted rows of them kept: all at once would take
    gigabytes.
    """
    known = [graph.known(some) for some in labels]
    if len(known[0]) <= LARGE:
        scores = propagate(graph, torch.cat([seed_scores(some, classes) for some in known], dim=1), alpha)
        return scores if points is None else scores[points]
    columns = -(-classes // -(-classes // COLUMNS))  # shards of one size
    shards = [(some, first) for some in known for first in range(0, classes, columns)]

    def rows(shard: tuple[Tensor, int]) -> Tensor:
        scores = propagate(graph, seed_scores(shard[0], classes, shard[1], columns), alpha)
        return scores if points is None else scores[points]

    return torch.cat(list(in_threads(rows, shards)), dim=1)


def propagate(graph: Graph, known: Tensor, alpha: float) -> Tensor:
    """Scores `(N, C)` of known points, 0 elsewhere -> those of all points, `(N, C)`, after 60 steps over the edges."""
    known = known if graph.order is None else known[graph.order]
    scores, rooms = known, [torch.empty_like(known), torch.empty_like(known)]
    for step in range(STEPS):
        room = rooms[step % 2]  # memory that is kept: new memory in each step would take a third as long as the product
        scores = torch.addmm(known, graph.affinity, scores, beta=1 - alpha, alpha=alpha, out=room)
    return scores if graph.order is None else torch.empty_like(scores).index_copy_(0, graph.order, scores)


def seed_scores(labels: Tensor, classes: int, first: int = 0, most: int | None = None) -> Tensor:
    """Labels, -1 where unknown -> the scores that spreading starts from, float32 `(N, classes)`, or so many columns from one on.

    Each class has the same sum, however many labels it has: else a class of many labels floods one of few.
    """
    points = (labels >= 0).nonzero()[:, 0]
    own = labels[points]
    counts = own.bincount(minlength=classes).float()
    last = classes if most is None else min(classes, first + most)
    is_here = (own >= first) & (own < last)
    known = torch.zeros(len(labels), last - first, dtype=torch.float32)
    known[points[is_here], own[is_here] - first] = 1
    return known * (counts.mean() / counts.clamp_min(1))[first:last]


def folds_of(labels: Tensor) -> tuple[Tensor, Tensor]:
    """The labelled points and the fold in which each is held out, both int64 `(M,)`; folds are stratified by class."""
    points = (labels >= 0).nonzero()[:, 0]
    fold = torch.empty_like(points)
    fold[labels[points].argsort(stable=True)] = torch.arange(len(points)) % FOLDS
    return points, fold


def without_folds(labels: Tensor, points: Tensor, fold: Tensor, folds: int) -> list[Tensor]:
    """The labels with those of each of the first folds unknown."""
    return [labels.index_fill(0, points[fold == f], -1) for f in range(folds)]


def _with_rows_of_sum_1(scores: Tensor) -> Tensor:
    """The scores divided by their rows' sums; 0 where nothing arrived."""
    arrived = scores.sum(1, keepdim=True)
    return torch.where(arrived > 0, scores / arrived.clamp_min(1e-30), 0)
