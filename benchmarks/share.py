"""Measure whether `ratio="auto"` chooses well: test accuracy of each fixed ratio, and which of them is chosen.

    python -m benchmarks.share --fixed      test accuracy of every ratio, on all labelled images of a draw
    python -m benchmarks.share --auto       what ratio="auto" chooses on the same labelled images, which is all that it sees
    python -m benchmarks.share --table      the table of docs/benchmarks.md, from share.jsonl

A cell is a data set, what the VAE knows, and the labelled images of each class:

    B        the bundled weights with their bank; CIFAR-10 from a folder, --images cifar10
    A        a VAE trained on the labelled images alone, without a bank: samples are variations, and earn nothing
    no-bank  the bundled weights without their bank: variations, too

A classifier is that of `benchmarks.accuracy`, with its policy, steps and batches. Its images are drawn with equal chances from a
`SyntheticDataset` of each ratio, which share one fit. The same draw has the same labelled images and the same seeds at every
ratio, so that the accuracy of the chosen ratio is that of the fixed one.
"""

import argparse
import json
import os
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from vae_augment import SyntheticDataset, VAEAugment
from vae_augment.share import RATIOS
from vae_augment.source import ROOT_VARIABLE

from . import own_images
from .accuracy import BEST, IMAGES, POLICIES, STEPS_FEW, Bench, accuracy, train
from .pretrain import pretrain
from .rows import stamp, store, stored

RESULTS = Path(__file__).parent / "share.jsonl"
CELLS = (
    ("mnist", "B", 10),
    ("fashion-mnist", "B", 5),
    ("fashion-mnist", "B", 10),
    ("fashion-mnist", "B", 100),
    ("cifar10", "B", 10),
    ("mnist", "A", 10),
    ("fashion-mnist", "A", 10),
    ("fashion-mnist", "no-bank", 10),
)
FIXED_OF = ("B",)  # of the others only the choice is measured: benchmarks.accuracy has their accuracies


@dataclass(frozen=True)
class Draw:
    """The labelled images of a draw, uint8 `(N, C, S, S)`, what augments them, and what measures a classifier of them."""

    images: Tensor
    labels: Tensor
    augment: VAEAugment
    test: tuple[Tensor, Tensor]
    policy: Any

    def base(self) -> list[tuple[Tensor, int]]:
        return list(zip(self.images, self.labels.tolist(), strict=True))


class Images:
    """The images of a data set, read once."""

    def __init__(self, name: str, root: str | None, folder: Path | None) -> None:
        self.name = name
        if name in BEST:
            self.bench = Bench(name, "B", root, None, validate=False)
            self.test = self.bench.test
        else:
            assert folder is not None, f"{name} is read from a folder: --images"
            (self.images, self.labels), self.test = (own_images.read(part, 3, 32) for part in own_images.parts(folder))

    def draw(self, track: str, n: int, draw: int) -> Draw:
        if self.name in BEST:
            few, policy = self.bench.draw(n, draw), POLICIES[BEST[self.name]]
            images, labels = self.bench.images[few], self.bench.labels[few]
        else:
            few, policy = own_images.draw_of(self.labels, n, draw), own_images.POLICY
            images, labels = self.images[few], self.labels[few]
        return Draw(images, labels, self.augment(track, images), self.test, policy)

    def augment(self, track: str, images: Tensor) -> VAEAugment:
        if track == "A":
            with tempfile.TemporaryDirectory() as folder:
                return VAEAugment(pretrain(self.name, images, Path(folder), STEPS_FEW))
        bundled = VAEAugment.from_pretrained(self.name)
        return VAEAugment(bundled.vae) if track == "no-bank" else bundled


def fixed(drawn: Draw, draw: int) -> dict[float, float]:
    """Test accuracy of each ratio, in per cent."""
    base, classes = drawn.base(), int(drawn.labels.max()) + 1
    torch.manual_seed(draw)
    augment = SyntheticDataset(base, ratio=1, augment=drawn.augment).augment
    found = {}
    for ratio in RATIOS:
        torch.manual_seed(draw)
        dataset = SyntheticDataset(base, ratio, augment)
        samples = dataset.__getitems__(torch.randint(len(dataset), (IMAGES,)).tolist())
        images = torch.stack([drawn.policy(image) for image, _ in samples])
        labels = torch.tensor([label for _, label in samples])
        found[ratio] = round(accuracy(train(images, labels, draw, classes=classes), *drawn.test), 3)
    return found


def auto(drawn: Draw, draw: int) -> dict[str, Any]:
    """What is chosen, and by which figures; with as much time as it takes."""
    dataset = SyntheticDataset(drawn.base(), "auto", drawn.augment, seed=draw, ratio_seconds=3600)
    report = dataset.ratio_report
    assert report is not None
    tried = {
        f"{one.ratio:g}": [round(one.accuracy, 4), round(one.gain, 4), round(one.error, 4)] for one in report.tried
    }
    return {"ratio": report.ratio, "why": report.why, "tried": tried, "seconds": round(report.seconds, 1)}


def add(row: dict[str, Any], results: Path) -> None:
    row |= stamp()
    print(json.dumps(row), flush=True)
    store(row, results)


def load() -> dict[tuple[str, str, int], dict[int, dict[str, Any]]]:
    """The stored rows: cell -> draw -> kind -> row."""
    cells: dict[tuple[str, str, int], dict[int, dict[str, Any]]] = {cell: {} for cell in CELLS}
    for row in stored(RESULTS):
        cells[row["data"], row["track"], row["n"]].setdefault(row["draw"], {})[row["kind"]] = row
    return cells


def table() -> str:
    """The stored figures as docs/benchmarks.md has them: means over draws, and the ratio chosen in each."""
    head = "| data set | track | labels a class | draws | " + " | ".join(f"ratio {ratio:g}" for ratio in RATIOS)
    rows = [f"{head} | chosen | with the chosen | less the best fixed |", "| --- " * (len(RATIOS) + 7) + "|"]
    for (data, track, n), draws in load().items():
        both = [kinds for _, kinds in sorted(draws.items()) if "auto" in kinds and (track != "B" or "fixed" in kinds)]
        if not both:
            continue
        chosen = [kinds["auto"]["ratio"] for kinds in both]
        row = f"| {data} | {track} | {n} | {len(both)} | "
        if track == "B":
            of_ratio = [[kinds["fixed"]["accuracy"][str(ratio)] for kinds in both] for ratio in RATIOS]
            fixed_means = [mean(values) for values in of_ratio]
            auto_mean = mean([kinds["fixed"]["accuracy"][str(kinds["auto"]["ratio"])] for kinds in both])
            row += " | ".join(f"{value:.2f}" for value in fixed_means)
            end = f"**{auto_mean:.2f}** | {auto_mean - max(fixed_means):+.2f} |"
        else:
            row, end = row + " | ".join([""] * len(RATIOS)), " | |"
        rows.append(f"{row} | {', '.join(f'{ratio:g}' for ratio in chosen)} | {end}")
    return "\n".join(rows)


def mean(values: list[float]) -> float:
    return fmean(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fixed", action="store_true")
    parser.add_argument("--auto", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--first-draw", type=int, default=0)
    parser.add_argument("--cells", nargs="+", default=None, help="as mnist/B/10; default: all")
    parser.add_argument("--images", type=Path, default=None, help="CIFAR-10 as train/CLASS/ and test/CLASS/")
    parser.add_argument("--root", default=os.environ.get(ROOT_VARIABLE))
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.table:
        print(table())
        return
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    wanted = [cell for cell in CELLS if options.cells is None or "/".join(map(str, cell)) in options.cells]
    read: dict[str, Images] = {}
    for draw in range(options.first_draw, options.first_draw + options.draws):
        for name, track, n in wanted:
            if name not in read:
                read[name] = Images(name, options.root, options.images)
            started = time.perf_counter()
            if options.auto:
                report = auto(read[name].draw(track, n, draw), draw)
                add({"data": name, "track": track, "n": n, "draw": draw, "kind": "auto"} | report, options.results)
            if options.fixed and track in FIXED_OF:
                found = fixed(read[name].draw(track, n, draw), draw)
                cell = {"data": name, "track": track, "n": n, "draw": draw, "kind": "fixed", "accuracy": found}
                add(cell | {"seconds": round(time.perf_counter() - started, 1)}, options.results)


if __name__ == "__main__":
    main()
