"""What `features=` may be: an encoder, its name, a function, or features that were computed before."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .encoder import Encoder
from .load import load_encoder

Features = Encoder | str | Callable[[Tensor], Any] | Tensor | np.ndarray
"""An `Encoder`; a name of `load_encoder`; a function of batches, for which `Encoder`'s defaults hold; or an array `(N, D)`."""


def read_features(features: Features) -> Encoder | Tensor:
    """`features=` as users give it -> an encoder, or precomputed features, float32 `(N, D)` on the CPU.

    Raises:
        TypeError: it is nothing of the kind.
        ValueError: an array that holds no features.

    Example:
        >>> read_features(np.zeros((5, 7))).shape, read_features(lambda x: x.mean((2, 3)))
        (torch.Size([5, 7]), Encoder('an encoder', 3x224x224))
    """
    if isinstance(features, Encoder):
        return features
    if isinstance(features, str):
        return load_encoder(features)
    if isinstance(features, Tensor | np.ndarray):
        return check_array(torch.as_tensor(features))
    if callable(features):
        return Encoder(features)
    raise TypeError(
        f"features must be an Encoder, a name as 'efficientnet-lite0', a function from images to (B, D), or an array (N, D), got "
        f"{type(features).__name__}"
    )


def check_array(features: Tensor) -> Tensor:
    """Precomputed features as float32 on the CPU. Raises ValueError unless they are `(N, D)` and finite."""
    if features.ndim != 2 or not features.shape[1]:
        raise ValueError(f"precomputed features must be (N, D), a row for each image, got {tuple(features.shape)}")
    features = features.detach().cpu().float()
    if not features.isfinite().all():
        row = int((~features.isfinite()).any(1).nonzero()[0])
        raise ValueError(
            f"precomputed features must be finite, row {row} is not: compute them again, or leave its image out"
        )
    return features
