"""Seconds, memory and recall of large banks, and whether labels spread over them as truly as over small ones.

    python -m benchmarks.scale --images 10000 100000                      digits and garments, 28x28 pixels
    python -m benchmarks.scale --images 1000000 --work /tmp/scale         a million: about half an hour of two quiet cores
    python -m benchmarks.scale --images 200000 --data cifar10             photographs, 32x32 pixels in colour
    python -m benchmarks.scale --table                                    the tables of the stored figures

The pool is real images, deformed (see `benchmarks.deformed`): the 120,000 training images of MNIST and Fashion-MNIST, of twenty
classes, or the 50,000 of CIFAR-10. Each step is a process of its own, so that its peak of memory is its own:

    bank        LatentBank.from_images of all images, and its weights folder written: wall and CPU seconds, peak, bytes
    recall      part of the ten true nearest that are found, of 2,000 images in each view, by exact search over all; of latents
                and HOG by what candidates are sought by, their weighted cosine under perturbations
    fit         the weights folder loaded, and fitted to a hundred labelled images, three draws; the part of the pool's images
                whose label is right, and of 10,000 of them, which a bank of these alone labels, too

Every figure is added to scale.jsonl, with the load of the machine beside it: CPU seconds are what a busy machine changes least.
"""

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor

from vae_augment import LatentBank, VAEAugment, load_weights
from vae_augment.images import spread_places
from vae_augment.numerics import float32_on_cpu, in_threads
from vae_augment.pool import EXACT, PerturbedSearch, Search, encoded, nearest_by_cosine, recall, without_own
from vae_augment.source import ROOT_VARIABLE, open_source

from .deformed import deformed
from .rows import stamp, store, stored

RESULTS = Path(__file__).parent / "scale.jsonl"
WEIGHTS = {"garments and digits": "fashion-mnist", "cifar10": "cifar10"}
QUERIES, LABELLED, DRAWS, SMALL = 2000, 100, 3, 10_000
STEPS = ("bank", "recall", "fit")
ASKED = 100  # queries under perturbations, compared with a whole pool at a time
SHOWN = 20  # queries compared with a whole pool at a time


def real_images(data: str, root: Path) -> tuple[Tensor, Tensor]:
    """Training images `(N, C, S, S)`, uint8, in random order, and their labels."""
    if data == "cifar10":
        found = open_source(str(root / "cifar10"))
        images = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image, _ in found])
        labels = torch.tensor(found.targets)
    else:
        digits, garments = (
            kind(root, train=True) for kind in (torchvision.datasets.MNIST, torchvision.datasets.FashionMNIST)
        )
        images = torch.cat([digits.data, garments.data])[:, None]
        labels = torch.cat([digits.targets, garments.targets + 10])
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images[order], labels[order]


def make_pool(data: str, count: int, folder: Path, root: Path) -> None:
    """Write the images and their labels as arrays that are mapped, once."""
    if (folder / "labels.npy").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = real_images(data, root)
    shape = (count, *images.shape[1:])
    written, start = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, shape), 0
    own = []
    for part, places in deformed(images, count):
        written[start : start + len(part)] = part.numpy()
        own.append(labels[places])
        start += len(part)
    written.flush()
    np.save(folder / "labels.npy", torch.cat(own).numpy())


def pool_of(folder: Path) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(np.load(folder / "images.npy", mmap_mode="c"))
    return images, torch.from_numpy(np.load(folder / "labels.npy"))


def bank(folder: Path, weights: str) -> dict[str, Any]:
    steps: list[tuple[str, float]] = []
    log = logging.getLogger("vae_augment")
    log.setLevel("INFO")
    log.addHandler(Told(steps))
    images, _ = pool_of(folder)
    vae = load_weights(weights).vae
    clock = Clock()
    made = LatentBank.from_images(vae, images, size=len(images))
    took = clock.read()
    VAEAugment(vae, bank=made).save_pretrained(folder / "weights")
    size = (folder / "weights" / "bank.safetensors").stat().st_size
    recalls = {view.name: round(view.recall, 4) for view in made.views}
    return {**took, "latents": len(made), "bytes": size, "recall_said": recalls, "told": steps}


class Told(logging.Handler):
    """Keeps what the package tells, and when."""

    def __init__(self, steps: list[tuple[str, float]]) -> None:
        super().__init__()
        self.steps, self.start = steps, time.time()

    def emit(self, record: logging.LogRecord) -> None:
        self.steps.append((record.getMessage(), round(time.time() - self.start, 1)))


@float32_on_cpu()
def recalls(folder: Path, weights: str) -> dict[str, Any]:
    """Of neighbours as a bank's own are found: the index is built again, the same."""
    images, _ = pool_of(folder)
    made = load_weights(folder / "weights").bank
    assert made is not None
    assert made.index is not None
    vae, own = load_weights(weights).vae, images[made.index.long()]
    asked, found = spread_places(len(made), QUERIES), {}
    clock = Clock()
    for view in made.views:
        if len(made) <= EXACT:
            found[view.name] = 1.0  # all were compared with all
        elif view.name == "latents and HOG":
            pool = PerturbedSearch(vae, own, encoded(vae, own))
            probes, _ = pool.fewest_probes(Search())
            exact = torch.cat([pool.exact(part) for part in asked.split(ASKED)])
            found[view.name] = pool.recall(asked, exact, probes)
        else:
            features = view.features
            parts = list(
                in_threads(lambda part, of=features: nearest_by_cosine(of[part].float(), of, 11), asked.split(SHOWN))
            )
            found[view.name] = recall(view.neighbours[asked][:, :10].long(), without_own(torch.cat(parts), asked))
    return {**clock.read(), "queries": QUERIES, "recall": {name: round(value, 4) for name, value in found.items()}}


def fit(folder: Path, weights: str) -> dict[str, Any]:
    images, labels = pool_of(folder)
    clock = Clock()
    augment = VAEAugment.from_pretrained(folder / "weights")
    loaded = clock.read()["seconds"]
    some = spread_places(len(images), min(SMALL, len(images)))
    small = VAEAugment.from_pretrained(weights, bank=LatentBank.from_images(augment.vae, images[some], size=SMALL))
    rows = []
    for draw in range(DRAWS):
        few = few_of(labels, draw)
        clock = Clock()
        fitted = augment.fit(images[few], labels[few])
        took = clock.read()
        right = right_labels(fitted, labels, torch.arange(len(labels)), few)
        on_small = right_labels(small.fit(images[few], labels[few]), labels[some], some, few)
        rows.append({**took, "right": part(right), "right_of_small": part(right[some]), "small_bank": part(on_small)})
    return {
        "load_seconds": loaded,
        "labelled": LABELLED,
        "draws": rows,
        **{k: rows[-1][k] for k in ("peak_gb", "load")},
    }


def few_of(labels: Tensor, draw: int) -> Tensor:
    """A hundred of the pool's images, as many of each class."""
    generator = torch.Generator().manual_seed(draw)
    classes = labels.unique()
    each = [(labels == c).nonzero()[:, 0] for c in classes]
    return torch.cat([own[torch.randperm(len(own), generator=generator)[: LABELLED // len(classes)]] for own in each])


def right_labels(fitted: VAEAugment, labels: Tensor, places: Tensor, few: Tensor) -> Tensor:
    """Whether each image's label is right, float `(N,)`; nan for the labelled ones, and 0 where none arrived."""
    found = fitted.pool_labels()
    right = torch.zeros(len(labels))
    right[found.index] = (torch.tensor(found.label) == labels[found.index]).float()
    return right.masked_fill_(torch.isin(places, few), torch.nan)


def part(right: Tensor) -> float:
    return round(float(right.nanmean()), 4)


class Clock:
    """Wall and CPU seconds since it was made, and the process's peak of memory."""

    def __init__(self) -> None:
        self.start = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, Any]:
        wall, cpu = time.perf_counter() - self.start[0], time.process_time() - self.start[1]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        load = os.getloadavg()[1]
        return {
            "seconds": round(wall, 1),
            "cpu_seconds": round(cpu, 1),
            "peak_gb": round(peak, 2),
            "load": round(load, 2),
        }


def run(data: str, count: int, options: argparse.Namespace) -> None:
    folder = options.work / f"{data.replace(' ', '-')}-{count}"
    make_pool(data, count, folder, options.root)
    for step in options.steps:
        command = [sys.executable, "-m", "benchmarks.scale", "--step", step, "--data", data, "--folder", str(folder)]
        threads = str(options.threads)
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": threads}
        )
        found = json.loads(done.stdout.splitlines()[-1])
        row = {"step": step, "data": data, "images": count, "threads": options.threads, **found}
        store(row | stamp(), RESULTS)
        print(row, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--data", choices=list(WEIGHTS), default="garments and digits")
    parser.add_argument(
        "--root", type=Path, default=Path(os.environ.get(ROOT_VARIABLE, ".")), help="MNIST, cifar10/train"
    )
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "vae-augment-scale")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", choices=STEPS, nargs="+", default=list(STEPS))
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step is not None:
        found = {"bank": bank, "recall": recalls, "fit": fit}[options.step](options.folder, WEIGHTS[options.data])
        print(json.dumps(found))
    elif options.table:
        print_tables()
    else:
        for count in options.images:
            run(options.data, count, options)


def print_tables() -> None:
    rows = stored(RESULTS)
    last = {(row["data"], row["images"], row["step"]): row for row in rows}
    print(
        "| images | bank: seconds, CPU seconds (load) | peak | file | recall at 10 | fit: seconds, CPU | peak |", end=""
    )
    print(" labels right | of 10,000 | by a bank of these |")
    print("| --- " * 10 + "|")
    for data, count in sorted({key[:2] for key in last}):
        made, found, fitted = (last.get((data, count, step)) for step in STEPS)
        cells = [f"{count:,} {data}"] + ["" for _ in range(9)]
        if made is not None:
            cells[1] = f"{made['seconds']:.0f}, {made['cpu_seconds']:.0f} ({made['load']})"
            cells[2:4] = [f"{made['peak_gb']:.1f} GB", f"{made['bytes'] / 1e6:.0f} MB"]
        if found is not None:
            cells[4] = ", ".join(f"{value:.3f} {name}" for name, value in found["recall"].items())
        if fitted is not None:
            draws = fitted["draws"]
            mean = {key: fmean(draw[key] for draw in draws) for key in draws[0]}
            cells[5] = f"{mean['seconds']:.0f}, {mean['cpu_seconds']:.0f} ({mean['load']:.1f})"
            cells[6] = f"{mean['peak_gb']:.1f} GB"
            cells[7:] = [f"{100 * mean[key]:.1f} %" for key in ("right", "right_of_small", "small_bank")]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
