"""The autoencoder: the package's own VAE, the protocol that any other meets, and how a frozen one is computed soonest."""

from .codec import Codec, Posterior, Whitened, check_codec, fingerprint_of
from .config import VAEConfig
from .frozen import FrozenVAE, computes_bf16, to_device
from .fused import FusedVAE
from .model import VAE

__all__ = [
    "VAE",
    "Codec",
    "FrozenVAE",
    "FusedVAE",
    "Posterior",
    "VAEConfig",
    "Whitened",
    "check_codec",
    "computes_bf16",
    "fingerprint_of",
    "to_device",
]
