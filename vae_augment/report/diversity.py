"""Vendi score: how many different images a set amounts to. Friedman & Dieng, "The Vendi Score" (TMLR 2023), definition 3.1."""

import torch
from torch import Tensor


def vendi_score(kernel: Tensor) -> float:
    """Exponential of the entropy of the eigenvalues of `kernel / n`, from 1 (all the same) to n (nothing in common).

    Args:
        kernel: similarities `(n, n)`, symmetric and positive semidefinite, 1 on the diagonal.

    Example:
        >>> round(vendi_score(torch.eye(7)), 4), round(vendi_score(torch.ones(7, 7)), 4)
        (7.0, 1.0)
    """
    values = torch.linalg.eigvalsh(kernel.double() / len(kernel)).clamp_min(0)
    return float(torch.special.entr(values).sum().exp())


def gaussian_kernel(features: Tensor, width: float) -> Tensor:
    """Similarities `exp(-d^2 / (2 width^2))` of `(n, D)` features, `(n, n)`."""
    return torch.exp(-torch.cdist(features.double(), features.double()).square() / (2 * width**2))
