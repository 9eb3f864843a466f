"""Pretrained networks by which images are compared: any function from images to features, ready ones by name."""

from .cache import cached, is_same_probe
from .encoder import Embedding, Encoder, check_name, pooled
from .features import Features, check_array, read_features
from .load import is_ready, load_encoder

__all__ = [
    "Embedding",
    "Encoder",
    "Features",
    "cached",
    "check_array",
    "check_name",
    "is_ready",
    "is_same_probe",
    "load_encoder",
    "pooled",
    "read_features",
]
