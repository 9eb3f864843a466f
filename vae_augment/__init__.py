"""VAE augmentation for torchvision pipelines: `VAEAugment.from_pretrained("fashion-mnist")`."""

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
