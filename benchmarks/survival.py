"""Measure whether the strength that `calibrate` finds by label survival is what a well-trained network says.

    python -m benchmarks.survival          both data sets; about six minutes of one core

For each draw `calibrate(images, labels, survival=0.95)` sees so many labelled training images, and knows no more of them than a
user would. The judge is the CNN of `benchmarks.accuracy`, trained on all 60,000 training images. It says of test images that it
tells rightly how many keep their label at that strength, varied by a draw of their own. Nothing was chosen on test images but
the probe itself, once, see `docs/design.md`.
"""

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

from train import data as datasets
from vae_augment import VAEAugment
from vae_augment.source import ROOT_VARIABLE

from .accuracy import BEST, accuracy, train
from .rows import stamp, stored

RESULTS = Path(__file__).parent / "survival.jsonl"
WANTED, COUNTS, SHOWN = 0.95, (100, 500, 1000), 1000  # the curves of the table are of so many labelled images
STEPS = 3000  # of the judge
JUDGED = 5000  # test images


@torch.no_grad()
def survival_by(net: nn.Module, augment: VAEAugment, images: Tensor, labels: Tensor) -> float:
    """Part of the labels that survive, of images, uint8 `(N, C, S, S)`, whose label the network tells rightly."""
    torch.manual_seed(0)
    told, kept = (
        torch.cat([net(f(part).float() / 255).argmax(1) for part in images.split(500)]) == labels
        for f in (lambda part: part, augment)
    )
    return float(kept[told].float().mean())


def rows(name: str, draws: int, root: str | None) -> Iterator[dict[str, Any]]:
    """A row for the judge, and one for each draw."""
    data = datasets.load(name, 1, 28, root)
    labels = torch.as_tensor(datasets.TORCHVISION[name](str(datasets.root_folder(root)), train=True).targets)
    assert data.test_labels is not None
    test, test_labels = data.test[:JUDGED], data.test_labels[:JUDGED]
    net = train(data.train, labels, 0, steps=STEPS)
    augment, curve = VAEAugment.from_pretrained(name), {}
    for n in COUNTS:
        for draw in range(draws):
            chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(draw))[:n]
            augment = VAEAugment.from_pretrained(name).calibrate(data.train[chosen], labels[chosen], survival=WANTED)
            found = augment.survival
            assert found is not None
            judged = survival_by(net, augment, test, test_labels)
            told = {"strength": found.strength, "probe_accuracy": found.accuracy, "judged": round(judged, 4)}
            yield {"data": name, "n": n, "draw": draw, **told, "curve": found.curve}
    for strength in found.curve:
        augment.strength = strength
        curve[strength] = round(survival_by(net, augment, test, test_labels), 4)
    yield {"data": name, "judge_accuracy": round(accuracy(net, data.test, data.test_labels), 2), "curve": curve}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=sorted(BEST, reverse=True), choices=sorted(BEST))
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--root", default=os.environ.get(ROOT_VARIABLE))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with RESULTS.open("w", encoding="utf-8") as file:
        for name in options.data:
            for row in rows(name, options.draws, options.root):
                line = json.dumps({**row, **stamp()})
                print(line, flush=True)
                file.write(line + "\n")


def curve_table() -> str:
    """Curves by the probe and by the judge as docs/benchmarks.md has them."""
    curves: dict[str, list[dict[str, float]]] = {}
    for row in stored(RESULTS):
        if row.get("n", SHOWN) == SHOWN:
            who = "the CNN" if "judge_accuracy" in row else "the probe"
            curves.setdefault(f"{row['data']}, {who}", []).append(row["curve"])
    lines = ["| strength | " + " | ".join(curves) + " |", "| --- |" + " --- |" * len(curves)]
    for strength in next(iter(curves.values()))[0]:
        cells = [f"{100 * mean(curve[strength] for curve in of):.1f}" for of in curves.values()]
        lines.append(f"| {float(strength):g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def strength_table() -> str:
    """What was found at each number of labelled images, and what the judge says of it."""
    cells: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in stored(RESULTS):
        if "n" in row:
            cells.setdefault((row["data"], row["n"]), []).append(row)
    lines = [
        "| data set | labelled images | the probe tells | strength found | labels that survive there, by the CNN |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (data, n), of in cells.items():
        strengths, judged = ([row[key] for row in of] for key in ("strength", "judged"))
        told = f"{100 * mean(row['probe_accuracy'] for row in of):.1f}"
        spans = f"{mean(strengths):.2f} ({min(strengths):.2f} to {max(strengths):.2f})"
        lines.append(
            f"| {data} | {n:,} | {told} | {spans} | "
            f"{100 * mean(judged):.1f} ({100 * min(judged):.1f} to {100 * max(judged):.1f}) |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
    print(curve_table(), strength_table(), sep="\n\n")
