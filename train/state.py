"""Everything that a step of training changes: what a checkpoint holds."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch

from vae_augment import VAE

from . import device, processes
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
        sums: of the losses since the epoch began.
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
    sums: dict[str, torch.Tensor] = field(default_factory=dict)

    def add_losses(self, loss: Mapping[str, torch.Tensor]) -> None:
        """Count the losses of a step into the means of its epoch."""
        for name, value in {"steps": torch.ones(()), **loss}.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), device=value.device)) + value.detach()

    def take_means(self) -> dict[str, float]:
        """Means of the losses over the epoch that ends; the next one begins."""
        sums, self.sums = self.sums, {}
        steps = float(sums.pop("steps"))
        return {name: float(total) / steps for name, total in sums.items()}

    @classmethod
    def begin(cls, recipe: Recipe, data: Data, where: torch.device) -> Self:
        """Before the first step; draws the weights."""
        vae = VAE(recipe.vae).to(where)
        average = copy.deepcopy(vae).eval().requires_grad_(False)
        optimizer = torch.optim.AdamW(
            vae.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, betas=(0.9, 0.99), fused=True
        )
        batches = Batches(data.train.to(where), recipe.batch_size)
        return cls(data.sha256, vae, average, optimizer, batches)

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
            "sums": self.sums,
            "best_step": self.best_step,
            "rng": device.random_state(self.vae.latent_mean.device),
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Go back to where `saved` was taken, torch's random generators too.

        Raises:
            ValueError: it is of a run on other images.
        """
        check_images(saved, self.images)
        self.vae.load_state_dict(saved["vae"])
        self.average.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.batches.load(saved["batches"])
        self.step, self.skipped = saved["step"], saved["skipped"]
        self.seconds = saved["seconds"]
        self.best, self.best_step = saved["best"], saved["best_step"]
        where = self.vae.latent_mean.device
        self.sums = {name: total.to("cpu" if name == "steps" else where) for name, total in saved["sums"].items()}
        device.set_random_state(saved["rng"], self.vae.latent_mean.device)


def check_images(saved: Mapping[str, Any], images: str) -> None:
    """Raises ValueError, in every process, if a checkpoint is of other images than any of the processes has."""
    if processes.is_any(saved["images"] != images):
        raise ValueError(
            "the checkpoint is of other images than these (their sha256 differs): nothing is changed; put the images back "
            "as they were, or begin a new run in another folder"
        )
