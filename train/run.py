"""A run: load the data, train, then bank, gains, measurement, pictures, model card, and the weights folder."""

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL.Image import Image
from torch import Tensor

from vae_augment import VAE, LatentBank, Weights, hub
from vae_augment.atomic import atomic_write, remove_parts
from vae_augment.images import usable_memory
from vae_augment.strength import solve_gains
from vae_augment.vae import Whitened

from . import checkpoint, paths, processes, start
from . import data as datasets
from . import device as devices
from .batches import images_at_a_time
from .card import run_card
from .data import Data
from .lock import locked
from .log import WANDB_ID_FILE, WANDB_MODE_FILE, Log, WandbMode, remember_wandb_mode
from .loop import begin, check_processes, train
from .loss import evaluate, knn_purity
from .near_copies import near_copies
from .pictures import contact_sheet, grids
from .prior import stored_prior
from .recipes import RECIPE_FILE, Recipe

STEP_BYTES = 42  # of memory, for each value of a batch's pixels
RANDOM_IMAGES = 1000  # training images whose latents are logged, at most; fewer large ones
GAIN_IMAGES = 512  # of these, on which gains are solved, at most
MIN_TEST_IMAGES = 11  # held-out images, with fewer than which purity and the part of active units mean nothing


def run(
    recipe: Recipe,
    source: str,
    folder: Path,
    root: str | None,
    wandb_mode: WandbMode | None,
    command: str,
    repo_id: str | None = None,
    resume: bool = False,
) -> Weights | None:
    """Train, measure, and write the weights folder; of several processes, only the main one returns weights.

    Args:
        recipe: what to train.
        source: where its images are, in the form of `Recipe.data`.
        folder: to write.
        root: see `data.load`.
        wandb_mode: see `Log`.
        command: the command line that the model card shows.
        repo_id: the name that the model card uses; None: the folder's.
        resume: go on from the folder's checkpoint.

    Raises:
        ValueError: another process writes this folder, or the images, the recipe or the checkpoint are not as they must be.
    """
    with locked(folder) if processes.is_main() else contextlib.nullcontext():
        return _run(recipe, source, folder, root, wandb_mode, command, repo_id, resume)


def _run(
    recipe: Recipe,
    source: str,
    folder: Path,
    root: str | None,
    wandb_mode: WandbMode | None,
    command: str,
    repo_id: str | None,
    resume: bool,
) -> Weights | None:
    with processes.main_process_first():
        data = datasets.load(source, recipe.vae.channels, recipe.vae.size, root)
        if recipe.start is not None and not resume:
            start.load(recipe)  # before anything is changed; of the Hub, the other processes find it in the cache
    _check_count(data)
    check_processes(recipe, len(data.train))
    saved = processes.broadcast_from_main(lambda: checkpoint.load(folder) if resume else None)
    if saved is not None:
        begin(recipe, data, torch.device("cpu"), folder, saved)  # a trial, before anything is changed
    if not processes.is_main():
        train(recipe, data, None, folder, saved)
        return None
    shape = "x".join(map(str, data.train.shape[1:]))
    print(f"{data.name}: {len(data.train)} of {shape} to train on, {len(data.test)} held out", flush=True)
    _warn_of_memory(recipe, data)
    recipe_text = yaml.safe_dump(dataclasses.asdict(recipe), sort_keys=False)
    _prepare_folder(folder, recipe_text, resume)
    paths.remember_place(folder, source)
    remember_wandb_mode(folder, wandb_mode)
    done = saved["step"] if saved else 0
    with Log(folder, dataclasses.asdict(recipe), recipe.steps, wandb_mode, done) as log:
        vae, seconds = _train(recipe, data, log, folder, saved)
        weights = _measured_weights(vae, recipe, data, log, seconds)
        _log_pictures(weights, data, recipe.steps, log).save(folder / "samples.png")
        name = repo_id or paths.storable(hub.name_of(folder))
        hub.save(folder, weights, run_card(weights, name, folder, recipe_text, command))
        files = [folder / name for name in (*hub.FILES, *hub.DOCUMENTS) if (folder / name).is_file()]
        log.weights(files, f"vae-{folder.name}", [f"step-{recipe.steps}", recipe.keep])
    print(f"{folder}: " + ", ".join(f"{name} {value:g}" for name, value in weights.metrics.items()))
    print(f"use it: VAEAugment.from_pretrained({hub.name_of(folder)!r})")
    return weights


def _check_count(data: Data) -> None:
    if len(data.train) < 2:
        raise ValueError(
            f"{data.name}: {len(data.train)} images to train on, beside {len(data.test)} held out, are too few: 3 at least"
        )


def _warn_of_memory(recipe: Recipe, data: Data) -> None:
    """Say how a step takes less memory, if it needs more than half of what there is: a system ends such runs without a word."""
    if devices.pick(recipe.device).type != "cpu":
        return
    usable = usable_memory()

    def needed(accumulate: int) -> int:
        return -(-recipe.batch_size // accumulate) * data.train[0].numel() * STEP_BYTES

    if needed(recipe.accumulate) > usable / 2:
        fitting = [n for n in range(1, recipe.batch_size + 1) if recipe.batch_size % n == 0 and needed(n) <= usable / 2]
        remedy = f"--accumulate {fitting[0]}" if fitting else "a smaller --size"
        print(
            f"warning: a step on {recipe.batch_size} such images takes about {needed(recipe.accumulate) / 1e9:.1f} GB of memory, "
            f"and this process may use {usable / 1e9:.1f}: if it is killed, {remedy} helps",
            flush=True,
        )


def _prepare_folder(folder: Path, recipe_text: str, resume: bool) -> None:
    """Create the folder with its recipe, without what an older run left there."""
    folder.mkdir(parents=True, exist_ok=True)
    hub.read_card(folder)  # one that the new card could not be made from is refused now, and not after the last step
    remove_parts(folder)
    # a new run must not pass an older one's files off as its own; a resumed run keeps its own until they are replaced
    older = ("config.json", checkpoint.FILE, checkpoint.BEST_FILE, WANDB_ID_FILE, WANDB_MODE_FILE)
    for name in () if resume else older:
        (folder / name).unlink(missing_ok=True)
    atomic_write(folder / RECIPE_FILE, recipe_text.encode())


def _train(recipe: Recipe, data: Data, log: Log, folder: Path, saved: dict[str, Any] | None) -> tuple[VAE, float]:
    """Train, and return the VAE and the seconds that all steps took, those before a resume included."""
    started = time.perf_counter()
    vae = train(recipe, data, log, folder, saved)
    return vae, time.perf_counter() - started + (saved["seconds"] if saved else 0)


def _measured_weights(vae: VAE, recipe: Recipe, data: Data, log: Log, seconds: float) -> Weights:
    """Make the bank, solve the gains, measure the VAE on all held-out images and log that; return it all as weights."""
    images = _random_images(data.train)[:GAIN_IMAGES]
    bank = LatentBank.from_images(vae, data.train, recipe.bank_size) if recipe.bank_size else None
    prior = None if bank is not None else stored_prior(vae, data.train)
    gains = solve_gains(vae, images, None if bank is None else bank.whitened(vae))
    quality = evaluate(vae, data.test, recipe.likelihood)
    if data.test_labels is not None and len(data.test) >= MIN_TEST_IMAGES:
        quality["knn_purity"] = knn_purity(vae, bank, data.test, data.test_labels)
    log.step(recipe.steps, {f"test/{name}": value for name, value in quality.items()})
    _warn_of_inactive_latent(quality["active_units"], recipe.vae.latent_dim, len(data.test), log)
    metrics = {f"test_{name}": round(value, 4) for name, value in quality.items()}
    if bank is not None and len(data.test) >= MIN_TEST_IMAGES:
        metrics["bank_near_copies"] = round(near_copies(vae, bank, data.train, data.test), 4)
    metrics |= {"train_seconds": round(seconds, 1), "train_threads": float(torch.get_num_threads())}
    provenance = data.provenance()
    if recipe.start is not None:
        provenance["started_from"] = hub.weights_without_path(recipe.start)
    return Weights(vae, bank, gains, provenance, metrics, prior)


def _log_pictures(weights: Weights, data: Data, step: int, log: Log) -> Image:
    """Log grids of held-out images and the distribution of latents, and return the contact sheet."""
    vae, prior, gain = weights.vae, weights.usual_prior(), weights.gains["Noise"]
    sheet = contact_sheet(vae, data.test, prior, gain)
    log.images(step, grids(vae, data.test, prior, gain) | {"contact_sheet": sheet})
    log.histogram(step, "latents", Whitened(vae).whitened_mean(_random_images(data.train)))
    return sheet


def _random_images(train: Tensor) -> Tensor:
    """Return random training images, always the same, in [0, 1]; not the first, for files are sorted by class or video."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    return train[order[: images_at_a_time(train, RANDOM_IMAGES)]].float().div_(255)


def _warn_of_inactive_latent(active: float, latent_dim: int, test_images: int, log: Log) -> None:
    if active == 0:
        log.say("warning: no latent dimension is active, images will hardly be changed: they are too few or all alike")
    elif test_images >= MIN_TEST_IMAGES and active < 0.2 * latent_dim:
        log.say("warning: fewer than a fifth of the latent dimensions are active; lower beta or set free_bits")
