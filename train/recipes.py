"""A recipe is everything that decides a run; a published model is one row of the table."""

from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from vae_augment import VAEConfig
from vae_augment.pool import LARGEST_BANK


@dataclass(frozen=True)
class Recipe:
    """Settings of a training run. Every field is a flag, a line of training.yaml and of the model card."""

    data: str = "sample"
    """mnist, fashion-mnist, sample (shipped Fashion-MNIST images), folder:PATH of image files (of train/ and test/ or val/
    in it, the former is trained on), or hf:NAME, a data set of the Hugging Face Hub or a folder in its format"""
    vae: VAEConfig = field(default_factory=lambda: VAEConfig(latent_dim=48))
    """the architecture"""
    likelihood: Literal["gaussian", "bernoulli"] = "gaussian"
    """of pixels given the latent; gaussian has one variance, the optimal one (Rybkin et al., sigma-VAE, ICML 2021)"""
    beta: float = 1.0
    """weight of the KL term (Higgins et al., beta-VAE, ICLR 2017); 1 is the evidence lower bound"""
    kl_warmup: float = 0.1
    """part of the steps over which beta rises from a tenth to its value"""
    free_bits: float = 0.0
    """nats of KL per latent dimension that cost nothing (Kingma et al., IAF, NeurIPS 2016)"""
    steps: int = 4000
    """gradient steps"""
    batch_size: int = 256
    """images per step, of all processes together"""
    accumulate: int = 1
    """parts that a process's share of a batch is computed in, to save memory; from 2 on, a third more work"""
    lr: float = 1e-2
    """peak learning rate of AdamW; linear rise over a twentieth of the steps, then a cosine to 0"""
    weight_decay: float = 1e-3
    """of AdamW"""
    ema: float = 0.999
    """decay per step of the averaged weights, which are the ones that are saved"""
    grad_clip: float = 500.0
    """largest norm of the gradient, whose loss is a sum over pixels"""
    bf16: bool | None = None
    """bfloat16 autocast; None: where the processor computes in it"""
    bank_size: int = 10_000
    """latents of training images saved beside the weights, at most 10000; 0: none"""
    seed: int = 0
    """of weights, order and noise"""
    device: str = "auto"
    """cpu, cuda, mps, or auto"""
    compile: bool = False
    """through torch.compile: a slow first step, faster ones after it; needs a C++ compiler on the CPU"""
    keep: Literal["last", "best"] = "last"
    """weights that are saved: of the last step, or the best on held-out images (no test set any more after that)"""
    checkpoint_every: int = 500
    """steps between two checkpoints"""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("beta", "kl_warmup", "free_bits", "lr", "weight_decay", "grad_clip", "bank_size"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.grad_clip == 0 or self.kl_warmup > 1:
            raise ValueError(
                f"grad_clip must be above 0 and kl_warmup, a part of the steps, at most 1, got {self.grad_clip} and "
                f"{self.kl_warmup}: the weights would not move, or beta not be reached"
            )
        if not -(2**63) <= self.seed < 2**64:  # what torch takes
            raise ValueError(f"seed must be from -2**63 to 2**64 - 1, got {self.seed}")
        if self.bank_size != 0 and not 2 <= self.bank_size <= LARGEST_BANK:
            raise ValueError(f"bank_size must be 0 or from 2 to {LARGEST_BANK}, got {self.bank_size}")
        if self.device != "auto":
            try:
                kind = torch.device(self.device).type
            except RuntimeError:
                kind = ""
            if kind not in ("cpu", "cuda", "mps"):
                raise ValueError(f"device must be auto, cpu, cuda or mps, got {self.device!r}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be from 0 to below 1, got {self.ema}")


FREE_TO_CHANGE = ("keep", "checkpoint_every")  # in a resumed run: they decide nothing that a step computes

GREY28 = VAEConfig(channels=1, size=28, latent_dim=48, patch=7, width=160, neck=32)

RECIPES = {
    "sample":        Recipe(data="sample",        vae=replace(GREY28, latent_dim=16), steps=600, batch_size=64),
    "mnist":         Recipe(data="mnist",         vae=GREY28,                         steps=12000),
    "fashion-mnist": Recipe(data="fashion-mnist", vae=replace(GREY28, latent_dim=64), steps=8000),
}  # fmt: skip


def for_images(data: str, channels: int, size: int) -> Recipe:
    """The recipe for images of one's own, however few: a spatial latent, which keeps detail and learns from every patch.

    On 270 photographs it reaches 33 dB on held-out ones, where patches twice as wide with twice the channels reach 27, and a
    vector latent overfits at 18. For many thousand small grey images a vector latent (`--vae.spatial false`) knows more of
    their classes.

    Raises:
        ValueError: no patches divide this size.
    """
    if size < 1:
        raise ValueError(f"size must be positive, got {size}")
    # a grid of about 16 x 16 patches, so that the cost depends little on the size
    patch = min((p for p in range(1, 65) if size % p == 0), key=lambda p: abs(size / p - 16))
    if not 8 <= size / patch <= 32:
        raise ValueError(
            f"size {size} cannot be cut into 8 to 32 patches a side: take {min(max(round(size / 16), 1), 64) * 16}"
        )
    vae = VAEConfig(channels=channels, size=size, latent_dim=4, spatial=True, patch=patch, width=96)
    return Recipe(data=data, vae=vae, steps=1500, batch_size=64)
