"""VAE augmentation for torchvision pipelines: `VAEAugment.from_pretrained("fashion-mnist")`."""

from .dataset import SyntheticDataset
from .hub import Weights, WeightsError
from .hub import load as load_weights
from .jitter import Extrapolate, Interpolate, LocalNoise, Noise, PosteriorSample
from .pool import LatentBank
from .transform import VAEAugment
from .vae import VAE, Posterior, VAEConfig
from .version import __version__

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
    "__version__",
    "load_weights",
]
