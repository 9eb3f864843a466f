"""Autoencoders of the library diffusers behind the transform. It is imported when the first one is built, not before."""

from .build import build_network, check_config, known_classes
from .codec import DiffusersCodec
from .statistics import Statistics, latent_statistics, shipped_images

__all__ = [
    "DiffusersCodec",
    "Statistics",
    "build_network",
    "check_config",
    "known_classes",
    "latent_statistics",
    "shipped_images",
]
