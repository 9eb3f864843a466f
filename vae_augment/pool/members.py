"""Members: which images of a pool stand for each class, once labels are spread."""

from torch import Tensor

from .policy import FitPolicy


def class_members(
    scores: Tensor, typicality: Tensor, labels: Tensor, keep: float, policy: FitPolicy
) -> tuple[Tensor, ...]:
    """Places of the most confident images of each class; none for a class that the pool does not seem to hold.

    Args:
        scores: `(N, C)`, of the pool's images.
        typicality: `(M,)`, of the labelled images; labels: int64 `(M,)`, from 0 to C - 1.
        keep: part of each class that is kept.
    """
    confidence, predicted = scores.max(1)
    count, classes = scores.shape
    members = []
    for c in range(classes):
        size = ((predicted == c) & (confidence > 0)).sum()
        is_small = bool(size < policy.small_class_share * count / classes)
        least = policy.absence_typicality_of_small_class if is_small else policy.absence_typicality
        typical = typicality[labels == c]
        is_absent = len(typical) >= policy.absence_from_images and bool(typical.mean() < least)
        best = most_confident(confidence, predicted, c, keep)
        members.append(best[:0] if is_absent else best)
    return tuple(members)


def most_confident(confidence: Tensor, predicted: Tensor, of_class: int, keep: float) -> Tensor:
    """Places of this part of those predicted to be of a class, one at least, the surest first; none if there are none."""
    candidates = ((predicted == of_class) & (confidence > 0)).nonzero()[:, 0]
    return candidates[confidence[candidates].argsort(descending=True)[: max(1, round(keep * len(candidates)))]]
