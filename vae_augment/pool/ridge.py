"""Ridge classifiers of features: one votes beside the kNN graphs, one is a two-sample test."""

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from ..images import spread_places
from .members import most_confident
from .nearest import PART

TEACHING_PART = 0.5  # of each class, the most confident
PENALTY = 1.0  # of the weights, as a part of the vectors' mean square
MOST_TEACHING = 32_768
FOLDS = 5  # of cross-validation


@torch.no_grad()
def with_ridge_vote(scores: Tensor, features: Tensor, known: Tensor, labels: Tensor, vote: float = 1.0) -> Tensor:
    """Scores of label spreading -> their sum with those of a ridge classifier, which the confident part of them teaches.

    The two err on different images, as the views of Blum & Mitchell, "Combining Labeled and Unlabeled Data with Co-Training"
    (COLT 1998).

    Args:
        scores: float32 `(N, C)`, rows that are 0 where nothing is known, and stay so.
        features: float16 or float32 `(N, D)`, of the images that the scores are of.
        known: float32 `(M, D)`, unit vectors: those of the labelled images; labels: int64 `(M,)`.
        vote: of the classifier, beside 1 of the scores.
    """
    taught, predicted = _taught(scores)
    x, y = torch.cat([_unit(features[taught]), known]), torch.cat([predicted[taught], labels])
    weights = _ridge(x, y, scores.shape[1])
    answers = torch.cat([_unit(part) @ weights for part in features.split(PART)])
    if not answers.std() > 0:
        return scores  # the features say the same of all
    both = scores / scores.std() + vote * answers / answers.std()
    return torch.where(scores.amax(1, keepdim=True) > 0, both, 0)


@torch.no_grad()
def ridge_accuracy(scores: Tensor, features: Tensor, known: Tensor, labels: Tensor) -> float:
    """Part of the labelled images, the mean over classes, that such a classifier tells rightly when the pool alone teaches it.

    Their labels have reached the pool before, which flatters it a little.

    Args: as of `with_ridge_vote`.
    """
    taught, predicted = _taught(scores)
    answers = known @ _ridge(_unit(features[taught]), predicted[taught], scores.shape[1])
    right = (answers.argmax(1) == labels).float()
    counts = labels.bincount(minlength=scores.shape[1])
    return float((right.new_zeros(len(counts)).index_add(0, labels, right) / counts)[counts > 0].mean())


def _taught(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The places that teach, int64, and the classes of all, `(N,)`. Of a large pool no more than of a small one teach."""
    confidence, predicted = scores.max(1)
    each = [most_confident(confidence, predicted, c, TEACHING_PART) for c in range(scores.shape[1])]
    if len(taught := torch.cat(each)) > MOST_TEACHING:
        taught = taught[spread_places(len(taught), MOST_TEACHING)]
    return taught, predicted


def _unit(features: Tensor) -> Tensor:
    return normalize(features.float())


@torch.no_grad()
def two_sample_auc(known: Tensor, pool: Tensor, weight: Tensor | None = None) -> float:
    """Cross-validated area under the ROC curve of a ridge classifier that tells images from a pool's.

    0.5: they look the same (Lopez-Paz & Oquab, "Revisiting Classifier Two-Sample Tests", ICLR 2017).

    Args:
        known: float32 `(M, D)`, pool: `(N, D)`, unit vectors.
        weight: float32 `(M,)`, above 0: how much each image counts; None: all alike.
    """
    x, is_known = torch.cat([known, pool]), torch.arange(len(known) + len(pool)) < len(known)
    counts = None if weight is None else torch.cat([weight, weight.new_ones(len(pool))])
    fold = torch.arange(len(x)) % FOLDS
    answers = x.new_empty(len(x))
    for f in range(FOLDS):
        taught = fold != f
        own = None if counts is None else counts[taught]
        mean = sum(_mean(x, taught & side, counts) for side in (is_known, ~is_known)) / 2
        weights = _ridge(x[taught] - mean, is_known[taught].long(), 2, own)
        answers[fold == f] = (x[fold == f] - mean) @ weights[:, 1]
    above = (answers[is_known, None] > answers[~is_known]).float()
    return float(above.mean() if weight is None else (above.mean(1) * weight).sum() / weight.sum())


def _mean(x: Tensor, rows: Tensor, weight: Tensor | None) -> Tensor:
    return x[rows].mean(0) if weight is None else (x[rows] * weight[rows, None]).sum(0) / weight[rows].sum()


def _ridge(x: Tensor, y: Tensor, classes: int, weight: Tensor | None = None) -> Tensor:
    """Weights `(D, C)` of ridge regression to one-hot labels less their mean, all classes weighing the same.

    Args:
        weight: of each row, within its class.
    """
    own = x.new_ones(len(y)) if weight is None else weight
    counts = x.new_zeros(classes).index_add(0, y, own).clamp_min(torch.finfo(x.dtype).tiny)
    weighted = x * (own * (len(y) / classes / counts)[y])[:, None]
    penalty = PENALTY * len(x) / x.shape[1] * torch.eye(x.shape[1], dtype=x.dtype)
    weights: Tensor = torch.linalg.solve(
        weighted.T @ x + penalty, weighted.T @ (one_hot(y, classes).to(x) - 1 / classes)
    )
    return weights
