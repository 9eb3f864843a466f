"""The training loop, read from top to bottom: batch, loss, step, average, log, save."""

import copy
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae_augment import VAE
from vae_augment.replicas import computes_bf16

from . import checkpoint
from .batches import Batches
from .data import Data
from .log import Log
from .loss import evaluate, vae_loss
from .pictures import grids
from .recipes import Recipe
from .stop import StopRequest

LOG_EVERY = 50
PICTURES_EVERY = 1000
CHECKPOINT_EVERY = 500
MOST_SKIPPED = 20  # steps in a row


def train(recipe: Recipe, data: Data, log: Log, folder: Path, state: dict[str, Any] | None = None) -> VAE:
    """Train a VAE and return its averaged weights, in eval mode, with latent statistics set.

    `state` is a checkpoint to go on from; on one processor, the result is then that of an unbroken run bit for bit.

    Raises:
        ArithmeticError: the loss stays non-finite.
        ValueError: the checkpoint is of other images.
        KeyboardInterrupt: after SIGINT or SIGTERM, once the checkpoint is written.
    """
    torch.manual_seed(recipe.seed)
    device = torch.device(_pick_device() if recipe.device == "auto" else recipe.device)
    bf16 = computes_bf16(device) if recipe.bf16 is None else recipe.bf16
    vae = VAE(recipe.vae).to(device).to(memory_format=torch.channels_last)  # a tenth faster on a processor
    average = copy.deepcopy(vae).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(
        vae.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, betas=(0.9, 0.99), fused=True
    )
    batches = Batches(data.train.to(device), recipe.batch_size)
    images = str(data.pool()["sha256"])
    skipped, in_a_row, done = 0, 0, 0
    if state is not None:
        done, skipped = _restore(state, images, vae, average, optimizer, batches)
    started = time.perf_counter()

    def save(step: int) -> None:
        checkpoint.save(folder, _state(step, skipped, images, vae, average, optimizer, batches))

    with StopRequest() as stop:
        for step in range(done + 1, recipe.steps + 1):
            x = batches.next().float() / 255
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr * schedule(step / recipe.steps)
            beta = recipe.beta * warmup(step / recipe.steps, recipe.kl_warmup)

            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss = vae_loss(vae, x, beta, recipe.likelihood, recipe.free_bits)
            optimizer.zero_grad()
            loss["total"].backward()
            norm = torch.nn.utils.clip_grad_norm_(vae.parameters(), recipe.grad_clip)

            if not (norm.isfinite() and loss["total"].isfinite()):
                skipped, in_a_row = skipped + 1, in_a_row + 1
                if in_a_row == MOST_SKIPPED:
                    raise ArithmeticError(
                        f"the loss was not finite for {MOST_SKIPPED} steps up to step {step}: lower lr ({recipe.lr}) or "
                        f"grad_clip ({recipe.grad_clip}), or raise batch_size ({recipe.batch_size})"
                    )
                continue
            in_a_row = 0
            optimizer.step()
            update_average(average, vae, min(recipe.ema, (1 + step) / (10 + step)))

            if step % LOG_EVERY == 0 or step == recipe.steps:
                speed = (step - done) * recipe.batch_size / (time.perf_counter() - started)
                parts = {name: value.item() for name, value in loss.items()}
                rates = {"beta": beta, "lr": optimizer.param_groups[0]["lr"], "grad_norm": float(norm)}
                log.step(step, parts | rates | {"images_per_second": speed, "skipped_steps": float(skipped)})
            if step % PICTURES_EVERY == 0 and step != recipe.steps:
                log.images(step, grids(average, data.test))
                quality = evaluate(average, data.test[:1000], recipe.likelihood)
                log.step(step, {f"test/{name}": value for name, value in quality.items()})
            if step % CHECKPOINT_EVERY == 0 or step == recipe.steps or stop.asked:
                save(step)
            if stop.asked:
                raise KeyboardInterrupt

    set_latent_statistics(average, data.train)
    return average.cpu()


def schedule(progress: float) -> float:
    """Part of the steps done -> part of the peak learning rate: linear to 1 over 5 %, then a cosine to 0."""
    return min(1.0, progress / 0.05) * 0.5 * (1 + math.cos(math.pi * progress))


def warmup(progress: float, length: float) -> float:
    """Part of the steps done -> part of beta: from 0.1 to 1 over `length`."""
    return min(1.0, 0.1 + 0.9 * progress / length) if length else 1.0


@torch.no_grad()
def update_average(average: VAE, vae: VAE, decay: float) -> None:
    """Exponential moving average of the weights; a smaller decay early keeps the random start out of it."""
    torch._foreach_lerp_(list(average.parameters()), list(vae.parameters()), 1 - decay)


@torch.no_grad()
def set_latent_statistics(vae: VAE, images: Tensor, most: int = 10_000) -> None:
    """Mean and std per dimension of the aggregate posterior over training images, uint8 `(N, C, S, S)`."""
    device = vae.latent_mean.device
    chosen = images[torch.arange(min(most, len(images))) * len(images) // min(most, len(images))]
    posteriors = [vae.encode(part.to(device).float() / 255) for part in chosen.split(1000)]
    mean = torch.cat([p.mean for p in posteriors]).transpose(0, 1).flatten(1)  # (B, L, ...) -> (L, B ...)
    inner = torch.cat([p.std for p in posteriors]).transpose(0, 1).flatten(1).square().mean(1)
    vae.latent_mean.copy_(mean.mean(1).view_as(vae.latent_mean))
    vae.latent_std.copy_((mean.var(1, correction=0) + inner).sqrt().view_as(vae.latent_std))


def _state(
    step: int, skipped: int, images: str, vae: VAE, average: VAE, optimizer: torch.optim.Optimizer, batches: Batches
) -> dict[str, Any]:
    return {
        "step": step,
        "skipped": skipped,
        "images": images,
        "vae": vae.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "batches": batches.state(),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _restore(
    state: dict[str, Any], images: str, vae: VAE, average: VAE, optimizer: torch.optim.Optimizer, batches: Batches
) -> tuple[int, int]:
    """Go back to where a checkpoint was written; returns its step and how many were skipped."""
    if state["images"] != images:
        raise ValueError("the checkpoint is of other images than these (their sha256 differs): begin a new run")
    vae.load_state_dict(state["vae"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    batches.load(state["batches"])
    torch.set_rng_state(state["rng"])
    if state["cuda_rng"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    return state["step"], state["skipped"]


def _pick_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
