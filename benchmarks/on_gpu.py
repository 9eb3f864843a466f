"""Images a second on one GPU: varying, sampling and training, against torchvision's and kornia's RandAugment on the same card.

python -m benchmarks.speed --device cuda        prints the table; "not measured" where there is no such device

It measures as a user waits: batches of 256 that are there, one after the other, until all are done. torchvision's
RandAugment makes the same of all images of a batch, kornia's and ours another of each.
"""

import importlib
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from train.data import Data
from train.log import Log
from train.loop import train
from train.recipes import RECIPES
from vae_augment import VAEAugment
from vae_augment.demo_data import fashion_sample

SIZES = (32, 96, 224)
BATCH, SECONDS, REPEATS, STEPS = 256, 0.5, 5, 200


def measure(device: torch.device) -> str:
    """The table, or why there is none."""
    if device.type == "cuda" and not torch.cuda.is_available():
        return "not measured: there is no CUDA device"
    images, labels = fashion_sample()
    fitted = VAEAugment.from_pretrained("fashion-mnist").fit(images[:100], labels[:100])
    rows = ["| images a second, batches of 256 | median | least to largest of 5 |", "| --- | --- | --- |"]
    for size in SIZES:
        batch = F.resize(images[:BATCH], [size, size]).expand(-1, 3, -1, -1).contiguous().to(device)
        for name, call in _paths(batch).items():
            rows.append(_row(f"{name}, 3 x {size} x {size}", call, device))
    grey, wanted = images[:BATCH].to(device), labels[:BATCH]
    rows.append(_row("after `fit`, `augment(batch, labels)`, 1 x 28 x 28", lambda: fitted(grey, wanted), device))
    rows.append(_row("`augment.sample(labels)`, on the CPU", lambda: fitted.sample(wanted), device))
    return "\n".join([*rows, f"| training, the recipe fashion-mnist | {_trained(images, device):,.0f} | once |"])


def _paths(batch: Tensor) -> dict[str, Callable[[], Any]]:
    ours, plain = VAEAugment.from_pretrained("cifar10"), v2.RandAugment()
    paths: dict[str, Callable[[], Any]] = {
        "`augment(batch)`, cifar10": lambda: ours(batch),
        "torchvision's RandAugment": lambda: plain(batch),
    }
    if importlib.util.find_spec("kornia"):
        floats, policy = batch / 255, importlib.import_module("kornia.augmentation").auto.RandAugment(2, 9)
        paths["kornia's RandAugment"] = lambda: policy(floats)
    return paths


def _row(name: str, call: Callable[[], Any], device: torch.device) -> str:
    rates = [_rate(call, device) for _ in range(REPEATS + 1)][1:]  # the first builds what is built once
    return f"| {name} | {statistics.median(rates):,.0f} | {min(rates):,.0f} to {max(rates):,.0f} |"


def _rate(call: Callable[[], Any], device: torch.device) -> float:
    _wait(device)
    started, calls = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS / REPEATS:
        call()
        calls += 1
    _wait(device)
    return calls * BATCH / (time.perf_counter() - started)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _trained(images: Tensor, device: torch.device) -> float:
    recipe = replace(RECIPES["fashion-mnist"], data="sample", steps=STEPS, device=str(device))
    data = Data("speed", images.repeat(20, 1, 1, 1), images[:100], None)
    with tempfile.TemporaryDirectory() as folder, Log(Path(folder), asdict(recipe), STEPS, "disabled") as log:
        started = time.perf_counter()
        train(recipe, data, log, Path(folder))
        _wait(device)
        return STEPS * recipe.batch_size / (time.perf_counter() - started)
