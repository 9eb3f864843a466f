"""Classifier two-sample test: can a classifier tell synthetic images from real ones? Lopez-Paz & Oquab (ICLR 2017)."""

from typing import NamedTuple

import torch
from torch import Tensor

FOLDS = 5
PENALTY = 100.0  # of weights: features are many and images few


class TwoSample(NamedTuple):
    """What a cross-validated classifier says.

    Args:
        auc: area under the ROC curve: the chance that of a synthetic and a real image it tells which is which. 0.5: by guessing.
        error: standard error of it.
        score: of each synthetic image, `(N,)`: how surely it is told to be synthetic, in log odds.
    """

    auc: float
    error: float
    score: Tensor


def two_sample_test(synthetic: Tensor, real: Tensor, seed: int) -> TwoSample:
    """Logistic regression on features `(N, D)` and `(M, D)`, judged on folds that it has not learnt from.

    Example:
        >>> a, b = torch.randn(200, 5, generator=torch.Generator().manual_seed(0)).split(100)
        >>> two_sample_test(a, b, 0).auc < 0.65, two_sample_test(a + 3, b, 0).auc > 0.95
        (True, True)
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    both = torch.cat([synthetic, real]).double()
    x = ((both - both.mean(0)) / both.std(0).clamp_min(1e-6)).numpy()
    y = (torch.arange(len(x)) < len(synthetic)).numpy()
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    model = LogisticRegression(C=1 / PENALTY, max_iter=300)
    odds = cross_val_predict(model, x, y, cv=folds, method="decision_function")
    auc = float(roc_auc_score(y, odds))
    return TwoSample(auc, auc_error(auc, len(synthetic), len(real)), torch.from_numpy(odds[: len(synthetic)]).float())


def auc_error(auc: float, n: int, m: int) -> float:
    """Standard error of an AUC of n against m. Hanley & McNeil, Radiology 143 (1982)."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    return float(((auc * (1 - auc) + (n - 1) * (q1 - auc**2) + (m - 1) * (q2 - auc**2)) / (n * m)) ** 0.5)
