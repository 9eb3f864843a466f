"""Everything that a step of training changes: what a checkpoint holds."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch

from vae_augment import VAE

from . import device as devices
from . import processes
from .batches import Batches
from .data import Data
from .recipes import Recipe

OPEN_PARTS = ("optimizer", "sums", "rng")  # of a checkpoint, whose keys depend on the step or the device
PARTS_OF_LOSS = {"steps", "total", "recon", "kl"}


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

    def start_from(self, vae: VAE) -> None:
        """Take the weights of another network of the same architecture, also for the average."""
        self.vae.load_state_dict(vae.state_dict())
        self.ema.load_state_dict(vae.state_dict())

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

    def load(self, saved: Mapping[str, Any]) -> None:
        """Return to a saved state, that of torch's random generators too.

        Raises:
            ValueError: it is of a run on other images, or holds something else than `to_dict` returns.
        """
        check_images(saved, self.images)
        try:
            check_form(saved, self.to_dict())
            self._load(saved)
        except DamagedError:
            raise
        except Exception as error:  # torch's loaders raise errors of many types for what they did not write
            raise DamagedError(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}") from error

    def _load(self, saved: Mapping[str, Any]) -> None:
        self.vae.load_state_dict(saved["vae"])
        self.ema.load_state_dict(saved["average"])
        check_moments(
            saved["optimizer"]["state"], list(self.vae.parameters()), is_stepped=saved["step"] > saved["skipped"]
        )
        groups = self.optimizer.state_dict()["param_groups"]  # those of the recipe
        self.optimizer.load_state_dict({"state": saved["optimizer"]["state"], "param_groups": groups})
        self.batches.load(saved["batches"])
        self.step, self.skipped = saved["step"], saved["skipped"]
        self.seconds = saved["seconds"]
        self.best, self.best_step = saved["best"], saved["best_step"]
        device = self.vae.latent_mean.device
        self.sums = {name: total.to("cpu" if name == "steps" else device) for name, total in saved["sums"].items()}
        devices.set_random_state(saved["rng"], device)


class DamagedError(ValueError):
    """A checkpoint, whole as a file, that holds something else than a `State`; the message says what."""


def check_images(saved: Mapping[str, Any], images: str) -> None:
    """Raise ValueError, in every process, if the images of any process are not those of the checkpoint (sha256)."""
    if processes.any_process(saved.get("images") != images):
        raise ValueError(
            "the checkpoint is of other images than these (their sha256 differs): nothing is changed; put the images back "
            "as they were, name the folder where they are now with --data folder:PATH, or begin a new run in another folder"
        )


def check_form(saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise DamagedError unless a saved state has the keys, types, shapes and ranges of this one of the same run."""
    for key, value in now.items():
        if key not in saved:
            raise DamagedError(f"it has no {key}")
        if key not in OPEN_PARTS:
            _check_same_form(key, saved[key], value)
    for total in saved["sums"].values():
        _check_same_form("sums", total, torch.zeros(()))
    if saved["sums"] and not (saved["sums"].keys() == PARTS_OF_LOSS and saved["sums"]["steps"] >= 1):
        raise DamagedError("sums lacks a part of the loss")
    counts = {key: saved[key] for key in ("step", "skipped", "best_step", "seconds")}
    if bad := [f"{key} {value}" for key, value in counts.items() if not 0 <= value < math.inf]:
        raise DamagedError(", ".join(bad))
    if max(saved["skipped"], saved["best_step"]) > saved["step"] or math.isnan(saved["best"]):
        raise DamagedError(f"best {saved['best']} of step {saved['best_step']}, at step {saved['step']}")


def check_moments(state: Mapping[Any, Any], parameters: Sequence[torch.Tensor], is_stepped: bool) -> None:
    """Raise DamagedError unless each parameter has moments of AdamW in its own shape; none before the first step."""
    if state.keys() != set(range(len(parameters) if is_stepped else 0)):
        raise DamagedError(f"the optimizer has {len(state)} of {len(parameters)} parameters")
    for index, moments in state.items():
        scalar, same = torch.zeros(()), parameters[index].detach()
        _check_same_form("the optimizer's state", moments, {"step": scalar, "exp_avg": same, "exp_avg_sq": same})


def _check_same_form(name: str, saved: Any, now: Any) -> None:
    """Raise DamagedError unless a value has the type of another one: a dict its keys too, a tensor its dtype and shape."""
    if isinstance(now, torch.Tensor):
        if not isinstance(saved, torch.Tensor) or (saved.dtype, saved.shape) != (now.dtype, now.shape):
            raise DamagedError(f"{name} is no tensor of {now.dtype} {tuple(now.shape)}")
        if now.is_contiguous() and not saved.is_contiguous():
            raise DamagedError(f"{name} does not lie in memory as it must")  # AdamW's kernel would write beyond its end
        if saved.isnan().any():
            raise DamagedError(f"{name} holds NaN")
    elif type(saved) is not type(now) and not (type(now) is float and type(saved) is int):
        raise DamagedError(f"{name} is of type {type(saved).__name__}, not {type(now).__name__}")
    elif isinstance(now, dict):
        if saved.keys() != now.keys():
            raise DamagedError(f"{name} has other keys than it must")
        for key, value in now.items():
            _check_same_form(f"{name}.{key}", saved[key], value)
