"""Everything that a step of training changes: what a checkpoint holds."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch

from vae_augment import VAE

from . import device as devices
from . import processes
from .batches import Batches
from .data import Data
from .recipes import Recipe


@dataclass
class State:
    """A run between two steps.

    Args:
        images: sha256 of the images it trains on.
        vae: the network that is trained.
        ema: the exponential moving average of its weights over the steps, which is what is saved in the end.
        optimizer, batches: with their own states.
        step: number of steps done.
        skipped: number of them that changed nothing, because the loss was not finite.
        seconds: time spent on them.
        best, best_step: the least loss of `ema` on held-out images, nats per image, and its step; 0: none yet.
        sums: of each part of the loss since the epoch began.
    """

    images: str
    vae: VAE
    ema: VAE
    optimizer: torch.optim.Optimizer
    batches: Batches
    step: int = 0
    skipped: int = 0
    seconds: float = 0.0
    best: float = math.inf
    best_step: int = 0
    sums: dict[str, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def begin(cls, recipe: Recipe, data: Data, device: torch.device) -> Self:
        """Return the state before the first step; draws the initial weights."""
        vae = VAE(recipe.vae).to(device)
        ema = copy.deepcopy(vae).eval().requires_grad_(False)
        optimizer = torch.optim.AdamW(
            vae.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, betas=(0.9, 0.99), fused=True
        )
        batches = Batches(data.train.to(device), recipe.batch_size)
        return cls(data.sha256, vae, ema, optimizer, batches)

    def add_losses(self, loss: Mapping[str, torch.Tensor]) -> None:
        """Add the parts of a step's loss to the sums of its epoch."""
        for name, value in {"steps": torch.ones(()), **loss}.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), device=value.device)) + value.detach()

    def take_means(self) -> dict[str, float]:
        """Return the mean of each part of the loss over the epoch that ends, and begin the next one."""
        sums, self.sums = self.sums, {}
        steps = float(sums.pop("steps"))
        return {name: float(total) / steps for name, total in sums.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return tensors, numbers and containers of them, for `load`."""
        return {
            "images": self.images,
            "vae": self.vae.state_dict(),
            "average": self.ema.state_dict(),  # under the name that checkpoints have had from the first version
            "optimizer": self.optimizer.state_dict(),
            "batches": self.batches.state(),
            "step": self.step,
            "skipped": self.skipped,
            "seconds": self.seconds,
            "best": self.best,
            "sums": self.sums,
            "best_step": self.best_step,
            "rng": devices.random_state(self.vae.latent_mean.device),
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Return to a saved state, that of torch's random generators too.

        Raises:
            ValueError: it is of a run on other images.
        """
        check_images(saved, self.images)
        self.vae.load_state_dict(saved["vae"])
        self.ema.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.batches.load(saved["batches"])
        self.step, self.skipped = saved["step"], saved["skipped"]
        self.seconds = saved["seconds"]
        self.best, self.best_step = saved["best"], saved["best_step"]
        device = self.vae.latent_mean.device
        self.sums = {name: total.to("cpu" if name == "steps" else device) for name, total in saved["sums"].items()}
        devices.set_random_state(saved["rng"], device)


def check_images(saved: Mapping[str, Any], images: str) -> None:
    """Raise ValueError, in every process, if the images of any process are not those of the checkpoint (sha256)."""
    if processes.any_process(saved["images"] != images):
        raise ValueError(
            "the checkpoint is of other images than these (their sha256 differs): nothing is changed; put the images back "
            "as they were, or begin a new run in another folder"
        )
