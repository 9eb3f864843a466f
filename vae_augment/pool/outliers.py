"""Outliers: points of a pool that show a class which no label names, as far as label spreading tells."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..numerics import in_threads
from .label_spreading import FOLDS, Graph, folds_of, propagate, seed_scores, without_folds
from .policy import FitPolicy

ALPHA = 0.9  # of labels that do not travel far, and so hardly leave their classes


@torch.no_grad()
def outliers(graphs: Sequence[Graph], labels: Tensor, classes: int, policy: FitPolicy) -> Tensor:
    """Points that labels hardly reach, if they are many more than the labelled points held out of which that is so.

    If the labels name all classes of a pool, as many of its points are hardly reached as of labelled ones that are held out. If
    many more are, the pool holds other classes; the points left out are then those that fewer labels reach, in any of the graphs,
    than nine of ten labelled points held out (conformal prediction: Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random
    World", 2005). Of too few labels none is held out: a point is then judged by the mean over graphs, and by the pool alone. Nor
    are a graph's seeds, which were chosen as the easiest: compared with them, most of a pool would be hardly reached.

    Args:
        graphs: of the same N points.
        labels: int64 `(N,)`, from 0 to classes - 1, and -1 where unknown.

    Returns:
        bool `(N,)`, all False if the pool does not seem to hold other classes.
    """
    points, fold = folds_of(labels)
    # of all classes together: all labels, and those without each fold
    known = [labels, *without_folds(labels, points, fold, FOLDS)]
    reached, held_out = [], []  # for each graph (N,) and, without the labels of the point's own fold, (M,)

    def compared(graph: Graph) -> Tensor:
        seeds = torch.stack([seed_scores(graph.known(some), classes).sum(1) for some in known], dim=1)
        return _log_relative_score(propagate(graph, seeds, ALPHA))

    for logs in in_threads(compared, graphs):
        reached.append(logs[:, 0])
        held_out.append(logs[points, 1 + fold])
    least = math.log(policy.outlier_score)
    if len(points) < policy.outlier_quantile_from_labels * classes:
        far = torch.stack(reached).mean(0) < least
        more = far.float().mean()
    else:
        bounds = [logs.quantile(policy.outlier_quantile).clamp_min(least) for logs in held_out]
        far, far_held_out = (
            torch.stack([logs < bound for logs, bound in zip(of_graphs, bounds, strict=True)]).any(0)
            for of_graphs in (reached, held_out)
        )
        more = far.float().mean() - far_held_out.float().mean()
    return far if more >= policy.outlier_share else torch.zeros_like(far)


def _log_relative_score(scores: Tensor) -> Tensor:
    """Logarithms of scores `(N, ...)`, less their mean weighted by score: 0 is typical of the labelled classes.

    So it does not depend on how small a part of the pool these classes are.
    """
    logs = scores.clamp_min(1e-30).log()
    return logs - (scores * logs).sum(0) / scores.sum(0).clamp_min(1e-30)
