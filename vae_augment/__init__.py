"""VAE augmentation for torchvision pipelines: `VAEAugment.from_pretrained("fashion-mnist")`."""

from .augment import VAEAugment
from .bank import LatentBank
from .dataset import SyntheticDataset
from .folder import Weights, WeightsError
from .jitter import Extrapolate, Interpolate, LocalNoise, Noise, PosteriorSample
from .vae import VAE, Posterior, VAEConfig

__version__ = "0.1.0"

__all__ = [
    "VAE",
    "Extrapolate",
    "Interpolate",
    "LatentBank",
    "LocalNoise",
    "Noise",
    "Posterior",
    "PosteriorSample",
    "SyntheticDataset",
    "VAEAugment",
    "VAEConfig",
    "Weights",
    "WeightsError",
]
