"""Features by which images are compared, and the name that a report gives them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..encoders import Encoder, load_encoder
from ..images import as_floats
from .network import Network, layer_features

BATCH = 100  # images that a callable gets at a time
LEAST_DEVIATION = 1e-3  # of a feature that is the same of almost all images, which would count endlessly


@dataclass(frozen=True, eq=False)
class Features:
    """A function from bytes `(N, C, S, S)` to features `(N, D)`, standardised on training images.

    Args:
        name: as the report has it.
        raw: bytes `(N, C, S, S)` -> features `(N, D)`.
        mean, std: of training images, `(D,)`.
        axes: onto their principal components, `(D, 64)`, of mean variance 1, of which FID and KID are.
    """

    name: str
    raw: Callable[[Tensor], Tensor]
    mean: Tensor
    std: Tensor
    axes: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        return (self.raw(images) - self.mean) / self.std


def fit_features(name: str, raw: Callable[[Tensor], Tensor], training: Tensor, dimensions: int) -> Features:
    """Standardise features on training images."""
    found = raw(training)
    mean, std = found.mean(0), found.std(0).clamp_min(LEAST_DEVIATION)
    _, sizes, rows = torch.linalg.svd((found - mean) / std, full_matrices=False)
    sizes, rows = sizes[:dimensions], rows[:dimensions]
    scale = (sizes.square().mean() / max(1, len(found) - 1)).sqrt().clamp_min(LEAST_DEVIATION)
    return Features(name, raw, mean, std, rows.T / scale)


def of_network(network: Network) -> Callable[[Tensor], Tensor]:
    return lambda images: layer_features(network, images)


def of_user(features: Any) -> tuple[str, Callable[[Tensor], Tensor]]:
    """What a user gives as features, an `Encoder`, a name of `load_encoder`, or a function, as a name and a function of bytes.

    A function gets float32 `(B, C, S, S)` in [0, 1], at the report's size, and returns `(B, D)`.

    Raises:
        TypeError: it is nothing of the kind.
    """
    if isinstance(features, str):
        features = load_encoder(features)
    if isinstance(features, Encoder):
        return features.name, features.embed
    if not callable(features):
        raise TypeError(
            f"features must be an Encoder, a name as 'efficientnet-lite0', or a function from images (B, C, S, S) to (B, D), got "
            f"{type(features).__name__}"
        )
    name = getattr(features, "__name__", type(features).__name__)
    return f"a function given by the user, {name}", lambda images: _called(features, images)


@torch.no_grad()
def _called(function: Callable[[Tensor], Any], images: Tensor) -> Tensor:
    parts = []
    for part in images.split(BATCH):
        found = torch.as_tensor(function(as_floats(part)))
        if found.ndim != 2 or len(found) != len(part) or not found.isfinite().all():
            raise ValueError(
                f"features of {len(part)} images must be finite and ({len(part)}, D), got {tuple(found.shape)}: let the function "
                "return a row for each image"
            )
        parts.append(found.detach().float().cpu())
    return torch.cat(parts)
