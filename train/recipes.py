"""Recipes: a recipe is everything that decides a run, and a published model is one row of the table."""

from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from vae_augment import VAEConfig
from vae_augment.images import Look

RECIPE_FILE = "training.yaml"  # the recipe of a run, in its folder


@dataclass(frozen=True)
class Recipe:
    """Settings of a training run. Every field is a flag, a line of training.yaml and of the model card."""

    data: str = "sample"
    """data set to train on: mnist, fashion-mnist, cifar10, flowers, sample (shipped Fashion-MNIST images), folder:PATH of
    image files (if it holds train/ and test/ or val/, those in train/), array:FILE, a .npy file of images (N, C, H, W) of any
    channels, or hf:NAME, a data set of the Hugging Face Hub or a folder in its format"""
    start: str | None = None
    """weights to start from, also written --from: a bundled name, a folder or a Hub id, whose architecture the run keeps; null:
    random ones"""
    vae: VAEConfig = field(default_factory=lambda: VAEConfig(latent_dim=48))
    """the architecture"""
    likelihood: Literal["gaussian", "bernoulli"] = "gaussian"
    """likelihood of pixels given the latent; gaussian has one variance, the optimal one (Rybkin et al., sigma-VAE, ICML
    2021)"""
    beta: float = 1.0
    """weight of the KL term (Higgins et al., beta-VAE, ICLR 2017); 1 is the evidence lower bound"""
    kl_warmup: float = 0.1
    """part of the steps over which beta rises from a tenth to its value"""
    free_bits: float = 0.0
    """nats of KL per latent dimension that cost nothing (Kingma et al., IAF, NeurIPS 2016)"""
    steps: int = 4000
    """gradient steps"""
    batch_size: int = 256
    """images per step, over all processes"""
    accumulate: int = 1
    """micro-batches into which each process divides its part of a batch, to save memory; from 2 on, a third more work"""
    lr: float = 1e-2
    """peak learning rate of AdamW; it rises linearly over a twentieth of the steps, then falls to 0 by a cosine"""
    weight_decay: float = 1e-3
    """weight decay of AdamW"""
    ema: float = 0.999
    """decay per step of the exponential moving average (EMA) of the weights, which is what is saved"""
    grad_clip: float = 500.0
    """largest norm of the gradient; it is large because the loss is a sum over pixels"""
    bf16: bool | None = None
    """compute in bfloat16 autocast; None: where the device computes that sooner than float32"""
    bank_size: int = 10_000
    """latents of training images saved beside the weights, at most 10000; 0: none"""
    seed: int = 0
    """seed of initial weights, order of images, and noise"""
    device: str = "auto"
    """device to train on: cpu, cuda, mps, or auto"""
    compile: bool = False
    """compile the network with torch.compile: a slow first step, faster ones after it; needs a C++ compiler on the CPU"""
    keep: Literal["last", "best"] = "last"
    """weights to save: those of the last step, or the best on held-out images (which are then no test set any more)"""
    checkpoint_every: int = 500
    """steps between two checkpoints"""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("beta", "kl_warmup", "free_bits", "lr", "weight_decay", "grad_clip", "bank_size"):
            if not getattr(self, name) >= 0:  # also refuses NaN
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.grad_clip == 0 or self.kl_warmup > 1:
            raise ValueError(
                f"grad_clip must be above 0 and kl_warmup, a part of the steps, at most 1, got {self.grad_clip} and "
                f"{self.kl_warmup}: the weights would not move, or beta not be reached"
            )
        if not -(2**63) <= self.seed < 2**64:  # torch's range
            raise ValueError(f"seed must be from -2**63 to 2**64 - 1, got {self.seed}")
        if self.bank_size < 0 or self.bank_size == 1:
            raise ValueError(f"bank_size must be 0 or at least 2, got {self.bank_size}")
        if self.device != "auto" and _device_type(self.device) not in ("cpu", "cuda", "mps"):
            raise ValueError(f"device must be auto, cpu, cuda or mps, got {self.device!r}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be from 0 to below 1, got {self.ema}")


def _device_type(name: str) -> str | None:
    try:
        return torch.device(name).type
    except RuntimeError:
        return None


# fields that no step depends on; images may lie elsewhere, since a checkpoint knows their pixels by their sha256
CHANGEABLE_ON_RESUME = ("keep", "checkpoint_every", "data")

GREY28 = VAEConfig(channels=1, size=28, latent_dim=48, patch=7, width=160, neck=32)

# of photographs: a spatial latent, and a bank that fits a wheel
RGB32 = VAEConfig(channels=3, size=32, latent_dim=8, spatial=True, patch=4, width=96)
RGB64 = VAEConfig(channels=3, size=64, latent_dim=4, spatial=True, patch=4, width=96)

# a row for another data set of torchvision needs its name in data.TORCHVISION, and nothing else
RECIPES = {
    "sample":        Recipe(data="sample",        vae=replace(GREY28, latent_dim=16), steps=600, batch_size=64),
    "mnist":         Recipe(data="mnist",         vae=GREY28,                         steps=12000),
    "fashion-mnist": Recipe(data="fashion-mnist", vae=replace(GREY28, latent_dim=64), steps=8000),
    "cifar10":       Recipe(data="cifar10",       vae=RGB32, steps=9000, batch_size=64, bank_size=1000),
    "flowers":       Recipe(data="flowers",       vae=RGB64, steps=5000, batch_size=64, bank_size=800),
}  # fmt: skip

# what changes where a run starts from weights: they need fewer steps, shorter ones, and no warm-up
TUNING_STEPS, TUNING_LR = 1500, 3e-3


def recipe_from_weights(data: str, name: str, vae: VAEConfig) -> Recipe:
    """Return the recipe that goes on from some weights of this architecture, on other images."""
    return Recipe(
        data=data, start=name, vae=vae, steps=TUNING_STEPS, lr=TUNING_LR, kl_warmup=0.0, batch_size=128, ema=0.99
    )


MAX_PATCH = 64  # pixels a side
GRID = 16  # patches a side that a recipe for own images aims at, so that the cost depends little on the image size
GLYPH_GRID = 4  # the same of a recipe for glyphs, as of digits and garments
GLYPH_EPOCHS, GLYPH_BATCH = 60, 128
LARGEST_GLYPH = 40  # pixels a side
# Part of an image that is background. The median is 0.82 of MNIST's digits, 0.75 of letters, 0.53 of Fashion-MNIST's garments;
# 0.25 of CIFAR-10's photographs, 0.19 of flowers.
LEAST_BACKGROUND = 0.4


def recipe_for_images(data: str, channels: int, size: int) -> Recipe:
    """Return the recipe for photographs of one's own, however few.

    The latent is spatial: it keeps detail, and learns from every patch, where a vector latent overfits to a few hundred
    photographs.

    Args:
        data: `folder:PATH`, `array:FILE` or `hf:NAME`.
        channels, size: of the images the model works on.

    Raises:
        ValueError: the size cannot be divided into 8 to 32 patches a side.
    """
    patch = _patch(size, GRID)
    vae = VAEConfig(channels=channels, size=size, latent_dim=4, spatial=True, patch=patch, width=96)
    return Recipe(data=data, vae=vae, steps=1500, batch_size=64)


def recipe_for_glyphs(data: str, channels: int, size: int, count: int) -> Recipe:
    """Return the recipe for small images of one's own that are mostly background, as characters, digits and garments.

    The latent is a vector, whose neighbours mostly share a class; banks of such latents compare outlines as well as textures.
    Few images are soon known by heart: of 2,000 letters, held-out ones are drawn best after 60 epochs.

    Args, errors: as of `recipe_for_images`; count: how many images there are.
    """
    patch = _patch(size, GLYPH_GRID)
    vae = VAEConfig(channels=channels, size=size, latent_dim=48, patch=patch, width=160, neck=32)
    steps = min(max(count * GLYPH_EPOCHS // GLYPH_BATCH, 1000), 12_000)
    return Recipe(data=data, vae=vae, steps=steps, batch_size=GLYPH_BATCH)


def are_glyphs(look: Look) -> bool:
    """Whether images are small, grey and mostly background."""
    return look.channels == 1 and look.side <= LARGEST_GLYPH and look.background >= LEAST_BACKGROUND


def glyph_size(look: Look) -> int:
    """The side of a model of such images: their own, as a multiple of the patches of a side."""
    return GLYPH_GRID * -(-look.side // GLYPH_GRID)


def _patch(size: int, grid: int) -> int:
    """Side of the patches that cut a side into about so many, from half to twice. Raises ValueError if there is none."""
    if size < 1:
        raise ValueError(f"size must be positive, got {size}")
    divisors = (patch for patch in range(1, MAX_PATCH + 1) if size % patch == 0)
    patch = min(divisors, key=lambda patch: abs(size / patch - grid))
    if not grid / 2 <= size / patch <= grid * 2:
        near = min(max(round(size / grid), 1), MAX_PATCH) * grid
        raise ValueError(f"size {size} cannot be cut into {grid // 2} to {grid * 2} patches a side: take {near}")
    return patch
