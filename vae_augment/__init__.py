"""VAE augmentation for torchvision pipelines: `VAEAugment.from_pretrained("fashion-mnist")`."""

from typing import TYPE_CHECKING, Any

from . import jitter
from .dataset import SyntheticDataset
from .hub import Weights, WeightsError
from .hub import load as load_weights
from .jitter import *  # noqa: F403  (its __all__: a new jitter is one file)
from .pool import LatentBank
from .pool_labels import PoolLabels
from .transform import VAEAugment
from .vae import VAE, Posterior, VAEConfig
from .version import __version__

if TYPE_CHECKING:
    from .over_sampler import LatentOverSampler as LatentOverSampler

__all__ = [
    "VAE",
    "LatentBank",
    "PoolLabels",
    "Posterior",
    "SyntheticDataset",
    "VAEAugment",
    "VAEConfig",
    "Weights",
    "WeightsError",
    "__version__",
    "load_weights",
]
__all__ += jitter.__all__


def __getattr__(name: str) -> Any:
    if name == "LatentOverSampler":  # imbalanced-learn is imported when it is asked for
        from .over_sampler import LatentOverSampler

        return LatentOverSampler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
