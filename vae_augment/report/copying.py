"""Whether images lie nearer to training images than unseen images do: the C_T test, and on which side the nearest lies."""

import math

from torch import Tensor

LEAST_IN_CELL = 5  # images of each kind, below which a cell says nothing


def c_t(synthetic: Tensor, held_out: Tensor, synthetic_cells: Tensor, held_out_cells: Tensor) -> float:
    """The C_T statistic of data copying: far below 0 if synthetic images are nearer to training images than unseen ones are.

    It is a Mann-Whitney test in each cell of the space, standardised, and the mean of these, weighted by held-out images
    (Meehan, Chaudhuri & Dasgupta, "A Non-Parametric Test to Detect Data-Copying in Generative Models", AISTATS 2020). If the two
    are of one distribution, it is of one cell N(0, 1), of k cells narrower. They call -3 copying.

    Args:
        synthetic, held_out: distances to the nearest training image, `(N,)` and `(M,)`.
        synthetic_cells, held_out_cells: int64, the cell that each lies in.

    Returns:
        The statistic; nan if no cell has enough of both.

    Example:
        >>> import torch
        >>> zeros = torch.zeros(100, dtype=torch.int64)
        >>> unseen = torch.linspace(1, 2, 100)
        >>> c_t(unseen / 10, unseen, zeros, zeros) < -10, abs(c_t(unseen, unseen, zeros, zeros)) < 0.1
        (True, True)
    """
    total = weight = 0.0
    for cell in held_out_cells.unique().tolist():
        mine, theirs = synthetic[synthetic_cells == cell], held_out[held_out_cells == cell]
        if min(len(mine), len(theirs)) >= LEAST_IN_CELL:
            total += len(theirs) * standardised_u(mine, theirs)
            weight += len(theirs)
    return total / weight if weight else math.nan


def standardised_u(a: Tensor, b: Tensor) -> float:
    """Mann-Whitney's U of a above b, in standard deviations from its mean if both are of one distribution."""
    n, m = len(a), len(b)
    above = a[:, None] > b
    u = float(above.sum() + 0.5 * (a[:, None] == b).sum())
    return (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)


def training_side(
    to_training: Tensor, to_held_out: Tensor, training_place: Tensor, held_out_place: Tensor
) -> tuple[int, int]:
    """Of the real images that are nearest to a synthetic one, how many are training images, and how many there are.

    Both sets must hold as many images of each class: a generator that copies nothing then has about half. Each real image counts
    once, or one that is near to all, as a grey one is to noise, would say everything.

    Args:
        to_training, to_held_out: distances of each synthetic image to the nearest of each set, `(N,)`.
        training_place, held_out_place: which these are, int64 `(N,)`.
    """
    is_training = to_training < to_held_out
    ours = len(training_place[is_training].unique())
    return ours, ours + len(held_out_place[~is_training].unique())
