"""The autoencoder: the package's own VAE, the protocol that any other meets, and how a frozen one is computed soonest."""

from .codec import Codec, Posterior, Whitened, check_codec, fingerprint_of
from .config import VAEConfig
from .frozen import FrozenVAE, computes_bf16, to_device
from .fused import FusedVAE
from .layers import AffineStem, WindowConv
from .lone import PLANAR, LoneVAE
from .model import VAE, decoder, encoder

__all__ = [
    "PLANAR",
    "VAE",
    "AffineStem",
    "Codec",
    "FrozenVAE",
    "FusedVAE",
    "LoneVAE",
    "Posterior",
    "VAEConfig",
    "Whitened",
    "WindowConv",
    "check_codec",
    "computes_bf16",
    "decoder",
    "encoder",
    "fingerprint_of",
    "to_device",
]
