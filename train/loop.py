"""The training loop, read from top to bottom: batch, loss, step, EMA, log, save."""

import math
import shlex
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae_augment import VAE
from vae_augment.images import spread_places

from . import checkpoint, processes, start
from . import device as devices
from .batches import images_at_a_time
from .data import Data
from .heap import keep_freed_memory
from .log import Log
from .loss import elbo, evaluate
from .pictures import grids
from .prior import passing_prior
from .recipes import Recipe
from .state import DamagedError, State
from .step import backward, prepare
from .stop import StopRequest

LOG_EVERY = 50  # steps
PICTURES_EVERY = 1000  # steps
EVALUATIONS = 10  # of the EMA weights on held-out images, in a run
EVALUATION_IMAGES = 1000  # held-out images of each, at most
MAX_SKIPPED_STEPS = 20  # in a row
STATISTICS_IMAGES = 10_000  # training images that latent statistics are computed from, at most


def train(recipe: Recipe, data: Data, log: Log | None, folder: Path, saved: dict[str, Any] | None = None) -> VAE:
    """Train a VAE and return its EMA weights, in eval mode, with latent statistics set.

    Several processes (see processes.py) each compute their part of every batch, and end in the same weights: those of one
    process, within rounding. The main process logs and writes the checkpoints; the others get None as `log`.

    Args:
        recipe, data: what to train, and on what.
        log: for numbers and pictures.
        folder: for checkpoints.
        saved: a checkpoint to resume from. On one device, the weights are then those of an unbroken run, bit for bit.

    Raises:
        ArithmeticError: the loss stays non-finite.
        RuntimeError: another process died, see `processes.is_lost_peer`.
        ValueError: the checkpoint is of other images, or the processes cannot share the batch or the device.
        KeyboardInterrupt: SIGINT, SIGTERM or SIGHUP came to any of the processes; the checkpoint is written.
    """
    check_processes(recipe, len(data.train))
    keep_freed_memory()
    torch.manual_seed(recipe.seed)
    device = devices.pick(recipe.device)
    state = begin(recipe, data, device, folder, saved)
    forward = prepare(state.vae, recipe, device)
    batch_size, pixels, skipped_in_a_row = state.batches.size, data.train[0].numel(), 0
    step_before, started, seconds_before = state.step, time.perf_counter(), state.seconds

    with StopRequest(ignore_repeats=processes.world_size() > 1) as stop:
        for step in range(step_before + 1, recipe.steps + 1):
            x = state.batches.next()  # every process draws the same images and noise, and computes its shard
            eps = torch.randn(batch_size, *state.vae.latent_shape, device=device)
            x, eps = processes.shard(x), processes.shard(eps)
            lr = recipe.lr * schedule(step / recipe.steps)
            set_learning_rate(state.optimizer, lr)
            beta = recipe.beta * warmup(step / recipe.steps, recipe.kl_warmup)

            state.optimizer.zero_grad()
            bound = partial(elbo, pixels=pixels, beta=beta, likelihood=recipe.likelihood, free_bits=recipe.free_bits)
            loss = backward(forward, x, eps, recipe.accumulate, bound)
            norm = torch.nn.utils.clip_grad_norm_(state.vae.parameters(), recipe.grad_clip)

            state.step, state.seconds = step, seconds_before + time.perf_counter() - started
            if not (norm.isfinite() and loss["total"].isfinite()):
                state.skipped, skipped_in_a_row = state.skipped + 1, skipped_in_a_row + 1
                check_skipped(skipped_in_a_row, step, recipe)
                continue
            skipped_in_a_row = 0
            state.optimizer.step()
            update_ema(state.ema, state.vae, min(recipe.ema, (1 + step) / (10 + step)))
            log_epoch(state, loss, log)

            is_end = step == recipe.steps
            if log is not None and (step % LOG_EVERY == 0 or is_end):
                rates = {"beta": beta, "lr": lr, "grad_norm": float(norm), "epoch": step * batch_size / len(data.train)}
                speed = (step - step_before) * batch_size / (state.seconds - seconds_before)
                progress = {"images_per_second": speed, "skipped_steps": float(state.skipped)}
                log.step(step, {name: value.item() for name, value in loss.items()} | rates | progress)
            if log is not None and step % PICTURES_EVERY == 0 and not is_end:
                log.images(step, grids(state.ema, data.test, passing_prior(state.ema, data.train)))
            if log is not None and (step % max(1, recipe.steps // EVALUATIONS) == 0 or is_end):
                evaluate_ema(state, data.test[:EVALUATION_IMAGES], recipe, log, folder)
            # all processes stop at the same step; a signal after this line is for the next one
            is_stopping = processes.any_process(stop.asked)
            if log is not None and (step % recipe.checkpoint_every == 0 or is_end or is_stopping):
                checkpoint.save(folder, state.to_dict())
            if is_stopping:
                stop.asked = True  # by another process
                processes.barrier()  # torchrun ends all when one has ended: not before the checkpoint is written
                raise KeyboardInterrupt

    if log is not None and 0 < state.best_step < state.step:
        choose_weights(state, recipe.keep, log, folder)
    set_latent_statistics(state.ema, data.train)
    return state.ema.cpu()


def begin(recipe: Recipe, data: Data, device: torch.device, folder: Path, saved: dict[str, Any] | None) -> State:
    """Return the state before the first step, or the saved one of a run in this folder, which needs no weights to start from.

    Raises:
        OSError, ValueError: the weights to start from are not there, or of another architecture.
        ValueError: the checkpoint is of other images, or of another recipe, or damaged.
    """
    state = State.begin(recipe, data, device)
    if saved is None:
        if recipe.start is not None:
            state.start_from(start.load(recipe))
        return state
    try:
        state.load(saved)
    except DamagedError as error:
        raise checkpoint.damaged(folder, str(error)) from error
    if state.step > recipe.steps:
        raise checkpoint.damaged(folder, f"it is of step {state.step}, of {recipe.steps}")
    return state


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def log_epoch(state: State, loss: Mapping[str, Tensor], log: Log | None) -> None:
    """Add the losses of a step, and log their means at the end of an epoch."""
    state.add_losses(loss)
    if state.step % state.batches.per_epoch == 0:
        means = state.take_means()
        if log is not None:
            log.step(state.step, {f"epoch/{name}": value for name, value in means.items()})


def evaluate_ema(state: State, images: Tensor, recipe: Recipe, log: Log, folder: Path) -> None:
    """Log the quality of the EMA weights on held-out images, and save the weights if they are the best so far."""
    quality = evaluate(state.ema, images, recipe.likelihood)
    loss = quality["nats"] + (recipe.beta - 1) * quality["kl_nats"]
    if loss < state.best:
        state.best, state.best_step = loss, state.step
        checkpoint.save(folder, {"step": state.step, "average": state.ema.state_dict()}, checkpoint.BEST_FILE)
    # at the end, run.py measures what is saved on all held-out images
    test = {} if state.step == recipe.steps else {f"test/{name}": value for name, value in quality.items()}
    log.step(state.step, test | {"best/loss": state.best, "best/step": float(state.best_step)})


def choose_weights(state: State, keep: str, log: Log, folder: Path) -> None:
    """Load the best weights into the EMA if the recipe keeps those; else only print that there are better ones."""
    better = f"held-out images were drawn better by the weights of step {state.best_step}"
    if keep != "best":
        log.say(f"{better}: --resume {shlex.quote(str(folder))} --keep best saves those")
        return
    best = checkpoint.load(folder, checkpoint.BEST_FILE)
    try:
        state.ema.load_state_dict(best["average"])
    except Exception as error:  # torch raises errors of many types
        raise checkpoint.damaged(folder, type(error).__name__, checkpoint.BEST_FILE) from error
    log.say(f"{better}: those are saved")


def check_processes(recipe: Recipe, images: int) -> None:
    """Raise ValueError if the processes cannot share the device, or divide a batch evenly, micro-batches included."""
    devices.pick(recipe.device)
    batch, parts = min(recipe.batch_size, images), processes.world_size() * recipe.accumulate
    if batch % parts:
        raise ValueError(
            f"a batch of {batch} images cannot be divided among {processes.world_size()} processes with "
            f"accumulate={recipe.accumulate}: set batch_size to a multiple of {parts}, and no more than the {images} images"
        )


def check_skipped(in_a_row: int, step: int, recipe: Recipe) -> None:
    """Raise ArithmeticError if too many steps in a row had no finite loss."""
    if in_a_row == MAX_SKIPPED_STEPS:
        raise ArithmeticError(
            f"the loss was not finite for {MAX_SKIPPED_STEPS} steps up to step {step}: lower lr ({recipe.lr}) or "
            f"grad_clip ({recipe.grad_clip}), or raise batch_size ({recipe.batch_size})"
        )


def schedule(progress: float) -> float:
    """Return the fraction of the peak learning rate after a fraction of the steps: linear to 1 over 5 %, then a cosine to 0.

    Example:
        >>> [round(schedule(progress), 2) for progress in (0, 0.05, 0.5, 1)]
        [0.0, 0.99, 0.5, 0.0]
    """
    return min(1.0, progress / 0.05) * 0.5 * (1 + math.cos(math.pi * progress))


def warmup(progress: float, length: float) -> float:
    """Return the fraction of beta after a fraction of the steps: from 0.1 to 1 over `length`, a fraction of the steps.

    Example:
        >>> [warmup(progress, 0.1) for progress in (0, 0.05, 1)]
        [0.1, 0.55, 1.0]
    """
    return min(1.0, 0.1 + 0.9 * progress / length) if length else 1.0


@torch.no_grad()
def update_ema(ema: VAE, vae: VAE, decay: float) -> None:
    """Move the exponential moving average toward the weights; a smaller decay early keeps the random start out of it."""
    torch._foreach_lerp_(list(ema.parameters()), list(vae.parameters()), 1 - decay)


@torch.no_grad()
def set_latent_statistics(vae: VAE, images: Tensor) -> None:
    """Set mean and std per dimension of the aggregate posterior, from at most 10000 training images, uint8 `(N, C, S, S)`."""
    device, count = vae.latent_mean.device, min(STATISTICS_IMAGES, len(images))
    parts = spread_places(len(images), count).split(images_at_a_time(images, 1000))
    posteriors = [vae.encode(images[part].to(device).float().div_(255)) for part in parts]
    mean = torch.cat([p.mean for p in posteriors]).transpose(0, 1).flatten(1)  # (B, L, ...) -> (L, B ...)
    inner = torch.cat([p.std for p in posteriors]).transpose(0, 1).flatten(1).square().mean(1)
    vae.latent_mean.copy_(mean.mean(1).view_as(vae.latent_mean))
    vae.latent_std.copy_((mean.var(1, correction=0) + inner).sqrt().view_as(vae.latent_std))
