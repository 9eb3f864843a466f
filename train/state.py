"""Everything that a step of training changes: what a checkpoint holds."""

import copy
import math
from dataclasses import dataclass
from typing import Any, Self

import torch

from vae_augment import VAE

from . import device
from .batches import Batches
from .data import Data
from .recipes import Recipe


@dataclass
class State:
    """Of a run, between two steps.

    Args:
        images: sha256 of those it trains on.
        average: of the weights, over the steps; what is saved in the end.
        step, skipped: steps done, and how many of them changed nothing because the loss was not finite.
        seconds: spent on them.
        best, best_step: the least loss of `average` on held-out images, nats per image, and when it was; 0: never yet.
    """

    images: str
    vae: VAE
    average: VAE
    optimizer: torch.optim.Optimizer
    batches: Batches
    step: int = 0
    skipped: int = 0
    seconds: float = 0.0
    best: float = math.inf
    best_step: int = 0

    @classmethod
    def begin(cls, recipe: Recipe, data: Data, where: torch.device) -> Self:
        """Before the first step; draws the weights."""
        vae = VAE(recipe.vae).to(where).to(memory_format=torch.channels_last)  # a tenth faster on a processor
        average = copy.deepcopy(vae).eval().requires_grad_(False)
        optimizer = torch.optim.AdamW(
            vae.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, betas=(0.9, 0.99), fused=True
        )
        batches = Batches(data.train.to(where), recipe.batch_size)
        return cls(str(data.pool()["sha256"]), vae, average, optimizer, batches)

    def to_dict(self) -> dict[str, Any]:
        """Tensors, numbers and containers of them, for `load`."""
        return {
            "images": self.images,
            "vae": self.vae.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "batches": self.batches.state(),
            "step": self.step,
            "skipped": self.skipped,
            "seconds": self.seconds,
            "best": self.best,
            "best_step": self.best_step,
            "rng": device.random_state(self.vae.latent_mean.device),
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Go back to where `saved` was taken, torch's random generators too.

        Raises:
            ValueError: it is of a run on other images.
        """
        if saved["images"] != self.images:
            raise ValueError("the checkpoint is of other images than these (their sha256 differs): begin a new run")
        self.vae.load_state_dict(saved["vae"])
        self.average.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.batches.load(saved["batches"])
        self.step, self.skipped = saved["step"], saved["skipped"]
        self.seconds = saved["seconds"]
        self.best, self.best_step = saved["best"], saved["best_step"]
        device.set_random_state(saved["rng"], self.vae.latent_mean.device)
