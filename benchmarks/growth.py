"""How cost grows: with the images of a batch, the side of an image, the images of a bank and the labelled ones of a fit.

python -m benchmarks.growth                 about a minute: writes growth.json and growth.png, prints the exponents

CPU time of one thread, in units of its first point. An exponent is the slope of the line through the logarithms of the last
three points: 1 is proportional, 2 is quadratic. Banks are of the shipped garments, turned, moved and scaled at random, so that
any number of them is there.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from vae_augment import LatentBank, VAEAugment, load_weights
from vae_augment.demo_data import fashion_sample

RESULTS = Path(__file__).parent / "growth.json"
PLOT = Path(__file__).parents[1] / "docs" / "growth.png"
BATCHES = (1, 4, 16, 64, 256, 1024)
SIDES = (28, 56, 112, 224, 448, 896)
BANKS = (1000, 2000, 5000, 10_000)
LABELLED = (30, 100, 300, 1000, 3000)
LAST = 3  # points of an exponent
Points = dict[int, float]  # size -> seconds
Growth = dict[str, dict[str, Points]]  # of what -> of which call -> points


def garments(count: int) -> tuple[Tensor, Tensor]:
    """So many different images, uint8 `(N, 1, 28, 28)`, and their labels."""
    images, labels = fashion_sample()
    places = torch.arange(count) % len(images)
    move = v2.RandomAffine(15, (0.1, 0.1), (0.85, 1.15))
    return torch.stack([move(image) for image in images[places]]), labels[places]


def seconds(call: Callable[[], Any], least: float = 0.3) -> float:
    """CPU time of a call: the least of five turns of a few calls each."""
    call()
    turns = []
    for _ in range(5):
        started, calls = time.process_time(), 0
        while (spent := time.process_time() - started) < least / 5 or not calls:
            call()
            calls += 1
        turns.append(spent / calls)
    return min(turns)


def measure() -> Growth:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    vae, (images, labels) = load_weights("fashion-mnist").vae, garments(max(BANKS))
    plain = VAEAugment.from_pretrained("fashion-mnist")
    colour = VAEAugment.from_pretrained("cifar10")
    fitted = VAEAugment.from_pretrained("fashion-mnist").fit(images[:100], labels[:100])
    pictures = {side: F.resize(images[:1], [side, side])[0].expand(3, -1, -1).contiguous() for side in SIDES}
    pil = {side: F.to_pil_image(image) for side, image in pictures.items()}
    growth: Growth = {
        "images of a batch": {
            "augment(batch)": {n: seconds(lambda n=n: plain(images[:n])) for n in BATCHES},  # type: ignore[misc]
            "fitted.sample": {n: seconds(lambda n=n: fitted.sample(labels[:n])) for n in BATCHES},  # type: ignore[misc]
        },
        "side of one image, pixels": {
            "PIL image": {n: seconds(lambda x=x: colour(x)) for n, x in pil.items()},  # type: ignore[misc]
            "tensor": {n: seconds(lambda x=x: colour(x)) for n, x in pictures.items()},  # type: ignore[misc]
        },
    }
    bank, banks, fits = None, {}, {}
    for n in BANKS:
        started = time.process_time()
        bank = LatentBank.from_images(vae, images[:n])
        banks[n] = time.process_time() - started
    growth["images of a bank"] = {"LatentBank.from_images": banks}
    for n in LABELLED:  # of the last bank's own images, lest the fit find that it does not know such
        fresh = VAEAugment(vae, bank=bank, gain=1.0)
        started = time.process_time()
        fresh.fit(images[:n], labels[:n])
        fits[n] = time.process_time() - started
    growth["labelled images of a fit"] = {"fit, a bank of 10,000": fits}
    return growth


def exponent(points: Points) -> float:
    """The slope of the last points, as logarithms."""
    sizes, costs = zip(*list(points.items())[-LAST:], strict=True)
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def plot(growth: Growth) -> None:
    figure = Figure(figsize=(9, 6), layout="constrained")
    for axes, (of, calls) in zip(figure.subplots(2, 2).flat, growth.items(), strict=True):
        for name, points in calls.items():
            axes.plot(
                list(points), [1000 * cost for cost in points.values()], "o-", label=f"{name}: {exponent(points):.2f}"
            )
        axes.set(xscale="log", yscale="log", xlabel=of, ylabel="CPU milliseconds")
        axes.legend(fontsize=8, frameon=False)
        axes.grid(alpha=0.3)
    figure.savefig(PLOT, dpi=90)


def main() -> None:
    growth = measure()
    RESULTS.write_text(json.dumps(growth, indent=1) + "\n")
    plot(growth)
    print("| cost against | call | from, to | CPU seconds | exponent |", "| --- | --- | --- | --- | --- |", sep="\n")
    for of, calls in growth.items():
        for name, points in calls.items():
            (first, low), *_, (last, high) = points.items()
            print(f"| {of} | `{name}` | {first:,}, {last:,} | {low:.2g}, {high:.2g} | {exponent(points):.2f} |")


if __name__ == "__main__":
    main()
