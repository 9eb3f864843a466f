"""The training loop, read from top to bottom: batch, loss, step, average, log, save."""

import math
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae_augment import VAE

from . import checkpoint, device, processes
from .data import Data
from .log import Log
from .loss import elbo, evaluate
from .pictures import grids
from .recipes import Recipe
from .state import State
from .step import backward, prepare
from .stop import StopRequest

LOG_EVERY = 50
PICTURES_EVERY = 1000
MEASURED = 10  # times in a run
MOST_SKIPPED = 20  # steps in a row


def train(recipe: Recipe, data: Data, log: Log | None, folder: Path, state: dict[str, Any] | None = None) -> VAE:
    """Train a VAE and return its averaged weights, in eval mode, with latent statistics set.

    Several processes (see processes.py) each compute their part of every batch and come to the same weights, within
    rounding those of one process; the first of them has the log and writes the checkpoints, the others have None.
    `state` is a checkpoint to go on from; on one processor, the result is then that of an unbroken run bit for bit.

    Raises:
        ArithmeticError: the loss stays non-finite.
        RuntimeError: another process died, see `processes.is_of_a_lost_one`.
        ValueError: the checkpoint is of other images; the batch or the device cannot be divided among the processes.
        KeyboardInterrupt: after SIGINT or SIGTERM to any of the processes, once the checkpoint is written.
    """
    check(recipe, len(data.train))
    torch.manual_seed(recipe.seed)
    where = device.pick(recipe.device)
    run = State.begin(recipe, data, where)
    if state is not None:
        run.load(state)
    forward = prepare(run.vae, recipe, where)
    images, pixels = run.batches.size, data.train[0].numel()
    in_a_row, done, started, before = 0, run.step, time.perf_counter(), run.seconds

    with StopRequest(patient=processes.count() > 1) as stop:
        for step in range(done + 1, recipe.steps + 1):
            x = run.batches.next()  # every process draws the same images and noise, and takes its share
            eps = torch.randn(images, *run.vae.latent_shape, device=where)
            x, eps = processes.share(x).float() / 255, processes.share(eps)
            rate = recipe.lr * schedule(step / recipe.steps)
            for group in run.optimizer.param_groups:
                group["lr"] = rate
            beta = recipe.beta * warmup(step / recipe.steps, recipe.kl_warmup)

            run.optimizer.zero_grad()
            bound = partial(elbo, pixels=pixels, beta=beta, likelihood=recipe.likelihood, free_bits=recipe.free_bits)
            loss = backward(forward, x, eps, recipe.accumulate, bound)
            norm = torch.nn.utils.clip_grad_norm_(run.vae.parameters(), recipe.grad_clip)

            run.step, run.seconds = step, before + time.perf_counter() - started
            if not (norm.isfinite() and loss["total"].isfinite()):
                run.skipped, in_a_row = run.skipped + 1, in_a_row + 1
                if in_a_row == MOST_SKIPPED:
                    raise ArithmeticError(
                        f"the loss was not finite for {MOST_SKIPPED} steps up to step {step}: lower lr ({recipe.lr}) or "
                        f"grad_clip ({recipe.grad_clip}), or raise batch_size ({recipe.batch_size})"
                    )
                continue
            in_a_row = 0
            run.optimizer.step()
            update_average(run.average, run.vae, min(recipe.ema, (1 + step) / (10 + step)))
            add_to_epoch(run, loss, log)

            if log is not None and (step % LOG_EVERY == 0 or step == recipe.steps):
                speed = (step - done) * images / (run.seconds - before)
                parts = {name: value.item() for name, value in loss.items()}
                rates = {"beta": beta, "lr": rate, "grad_norm": float(norm), "epoch": step * images / len(data.train)}
                log.step(step, parts | rates | {"images_per_second": speed, "skipped_steps": float(run.skipped)})
            if log is not None and step % PICTURES_EVERY == 0 and step != recipe.steps:
                log.images(step, grids(run.average, data.test))
            if log is not None and (step % max(1, recipe.steps // MEASURED) == 0 or step == recipe.steps):
                measure(run, data.test[:1000], recipe, log, folder)
            stopping = processes.is_any(stop.asked)  # all at the same step; a signal from here on is for the next one
            if log is not None and (step % recipe.checkpoint_every == 0 or step == recipe.steps or stopping):
                checkpoint.save(folder, run.to_dict())
            if stopping:
                stop.asked = True  # by another process
                processes.barrier()  # torchrun ends all when one has ended: not before the checkpoint is written
                raise KeyboardInterrupt

    if log is not None and 0 < run.best_step < run.step:
        take_best(run, recipe.keep == "best", log, folder)
    set_latent_statistics(run.average, data.train)
    return run.average.cpu()


def add_to_epoch(run: State, loss: Mapping[str, Tensor], log: Log | None) -> None:
    """Count a step's losses, and log their means when it ends an epoch."""
    run.add_losses(loss)
    if run.step % run.batches.in_epoch == 0:
        means = run.take_means()
        if log is not None:
            log.step(run.step, {f"epoch/{name}": value for name, value in means.items()})


def measure(run: State, images: Tensor, recipe: Recipe, log: Log, folder: Path) -> None:
    """Log the quality of the average on held-out images, and keep the weights in a file while they are the best."""
    quality = evaluate(run.average, images, recipe.likelihood)
    loss = quality["nats"] + (recipe.beta - 1) * quality["kl_nats"]
    if loss < run.best:
        run.best, run.best_step = loss, run.step
        checkpoint.save(folder, {"step": run.step, "average": run.average.state_dict()}, checkpoint.BEST)
    # at the end, __main__ measures what is saved on all of them
    test = {} if run.step == recipe.steps else {f"test/{name}": value for name, value in quality.items()}
    log.step(run.step, test | {"best/loss": run.best, "best/step": float(run.best_step)})


def take_best(run: State, wanted: bool, log: Log, folder: Path) -> None:
    """Weights better than the last become the average, or are only told of."""
    what = f"held-out images were drawn better by the weights of step {run.best_step}"
    if not wanted:
        log.say(f"{what}: --resume {folder} --keep best saves those")
        return
    run.average.load_state_dict(checkpoint.load(folder, checkpoint.BEST)["average"])
    log.say(f"{what}: those are saved")


def check(recipe: Recipe, images: int) -> None:
    """Raises ValueError if the processes cannot share the device, or a batch, and the share of each its parts."""
    device.pick(recipe.device)
    batch, parts = min(recipe.batch_size, images), processes.count() * recipe.accumulate
    if batch % parts:
        raise ValueError(
            f"a batch of {batch} images cannot be divided among {processes.count()} processes with "
            f"accumulate={recipe.accumulate}: set batch_size to a multiple of {parts}, and no more than the {images} images"
        )


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
    where = vae.latent_mean.device
    chosen = images[torch.arange(min(most, len(images))) * len(images) // min(most, len(images))]
    posteriors = [vae.encode(part.to(where).float() / 255) for part in chosen.split(1000)]
    mean = torch.cat([p.mean for p in posteriors]).transpose(0, 1).flatten(1)  # (B, L, ...) -> (L, B ...)
    inner = torch.cat([p.std for p in posteriors]).transpose(0, 1).flatten(1).square().mean(1)
    vae.latent_mean.copy_(mean.mean(1).view_as(vae.latent_mean))
    vae.latent_std.copy_((mean.var(1, correction=0) + inner).sqrt().view_as(vae.latent_std))
