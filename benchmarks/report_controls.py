"""Measure which words the report flags of sets whose fault is known.

    python -m benchmarks.report_controls                                       Fashion-MNIST, 1,000 images of each kind
    python -m benchmarks.report_controls --data MNIST --images 300 1000 3000   another data set, other sizes

Real training images are the training set; test images are the held-out ones, and others of them stand for the images of a
perfect generator. Each row spoils these in one way, and should be flagged in one word alone; real test images in none.
Thresholds were set on Fashion-MNIST with 1,000 images; other data sets and sizes have shown whether they hold elsewhere.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from vae_augment.report import ImageSet, Report, Sets, common_look, make_report, read_source
from vae_augment.source import ROOT_VARIABLE, open_source

from .rows import stamp, store

RESULTS = Path(__file__).parent / "report_controls.jsonl"
PLANTED = 0.05

# (real, held out, others of the same kind, generator) -> synthetic images
Control = Callable[[ImageSet, ImageSet, ImageSet, torch.Generator], ImageSet]


def real_images(real: ImageSet, held_out: ImageSet, others: ImageSet, generator: torch.Generator) -> ImageSet:
    return others


def exact_copies(real: ImageSet, held_out: ImageSet, others: ImageSet, generator: torch.Generator) -> ImageSet:
    return real


def planted(real: ImageSet, held_out: ImageSet, others: ImageSet, generator: torch.Generator) -> ImageSet:
    """One in twenty is a held-out image."""
    return _planted(held_out, others, lambda x: x)


def planted_changed(real: ImageSet, held_out: ImageSet, others: ImageSet, generator: torch.Generator) -> ImageSet:
    """One in twenty is a held-out image, mirrored, darker, with noise of four grey levels."""
    noise = 4 * torch.randn(held_out.images.shape, generator=generator)
    return _planted(held_out, others, lambda x: (0.9 * x.flip(-1).float() + noise[: len(x)]).clamp(0, 255).byte())


def _planted(held_out: ImageSet, others: ImageSet, change: Callable[[Tensor], Tensor]) -> ImageSet:
    count = round(PLANTED * len(others))
    images, labels = others.images.clone(), others.labels.clone()
    images[:count], labels[:count] = change(held_out.images[:count]), held_out.labels[:count]
    return ImageSet(images, labels)


def noise(real: ImageSet, held_out: ImageSet, others: ImageSet, generator: torch.Generator) -> ImageSet:
    return ImageSet(torch.randint(0, 256, others.images.shape, generator=generator, dtype=torch.uint8), others.labels)


def blurred(real: ImageSet, held_out: ImageSet, others: ImageSet, generator: torch.Generator) -> ImageSet:
    return ImageSet(F.gaussian_blur(others.images, [5, 5], [1.2, 1.2]), others.labels)


def one_image(real: ImageSet, held_out: ImageSet, others: ImageSet, generator: torch.Generator) -> ImageSet:
    return others.at(torch.zeros(len(others), dtype=torch.int64))


def one_a_class(real: ImageSet, held_out: ImageSet, others: ImageSet, generator: torch.Generator) -> ImageSet:
    """One image of each class, repeated."""
    first = {int(c): int((others.labels == c).nonzero()[0]) for c in others.labels.unique()}
    return others.at(torch.tensor([first[int(c)] for c in others.labels]))


def few_a_class(real: ImageSet, held_out: ImageSet, others: ImageSet, generator: torch.Generator) -> ImageSet:
    """A tenth of the images, each ten times with noise of two grey levels."""
    kept = others.at(torch.arange(len(others)) % max(1, len(others) // 10))
    shake = 2 * torch.randn(kept.images.shape, generator=generator)
    return ImageSet((kept.images + shake).clamp(0, 255).byte(), kept.labels)


def class_left_out(real: ImageSet, held_out: ImageSet, others: ImageSet, generator: torch.Generator) -> ImageSet:
    return others.at(others.labels != 1)


def shuffled_labels(real: ImageSet, held_out: ImageSet, others: ImageSet, generator: torch.Generator) -> ImageSet:
    return ImageSet(others.images, others.labels[torch.randperm(len(others), generator=generator)])


CONTROLS: dict[Control, tuple[str, ...]] = {
    real_images: (),
    exact_copies: ("copied",),
    planted: ("copied",),
    planted_changed: ("copied",),
    noise: ("unrealistic",),
    blurred: ("unrealistic",),
    one_image: ("unvaried",),
    one_a_class: ("unvaried",),
    few_a_class: ("unvaried",),
    class_left_out: ("missing",),
    shuffled_labels: ("label truth",),
}


def sets_from(
    name: str, count: int, side: int | None, root: str | None
) -> tuple[ImageSet, ImageSet, ImageSet, list[str]]:
    """Training, held-out and other test images, as many of each as there are up to `count`."""
    train, test = open_source(name, root), open_source(name, root, test=True)
    channels, common = common_look([train, test])
    side = side or common
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randperm(len(d), generator=generator) for d in (train, test))
    half = min(count, len(b) // 2)
    found = []
    for source, places in ((train, a[:count]), (test, b[:half]), (test, b[half : 2 * half])):
        part = type(source)(
            source.name,
            lambda i, s=source, p=places: s[int(p[i])][0],
            [source.targets[int(p)] for p in places],
            source.classes,
        )
        found.append(read_source(part, channels, side, name)[0])
    return found[0], found[1], found[2], list(train.classes)


def row(control: Control, real: ImageSet, held_out: ImageSet, others: ImageSet, classes: list[str]) -> Report:
    made = control(real, held_out, others, torch.Generator().manual_seed(0))
    return make_report(Sets.of((real, classes), (made, classes), (held_out, classes)), show=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", default="FashionMNIST", help="as REAL of vae-augment report; it must have test images"
    )
    parser.add_argument("--images", type=int, nargs="+", default=[1000], help="of each kind")
    parser.add_argument("--side", type=int, help="pixels; default: that of the images, up to 64")
    parser.add_argument("--root", default=os.environ.get(ROOT_VARIABLE))
    parser.add_argument("--store", action="store_true", help="append the rows to report_controls.jsonl")
    options = parser.parse_args()
    name = Path(options.data).name
    for count in options.images:
        real, held_out, others, classes = sets_from(options.data, count, options.side, options.root)
        print(
            f"{name}, {len(real)} training, {len(held_out)} held-out, {len(others)} other images, {real.images.shape[-1]} px"
        )
        for control, expected in CONTROLS.items():
            start, cpu = time.perf_counter(), time.process_time()
            report = row(control, real, held_out, others, classes)
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
            hit = "as expected" if report.flagged == expected else f"EXPECTED {expected}"
            states = " ".join(f"{w.name}={w.status};" for w in report.words)
            print(f"  {control.__name__:<16}{seconds:6.1f} s, {cpu:.1f} of a core  {states} {hit}", flush=True)
            if options.store:
                line = {
                    "data": name, "images": count, "control": control.__name__, "flagged": report.flagged, "expected": expected,
                    "words": {w.name: w.status for w in report.words}, "seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1),
                }  # fmt: skip
                store(line | stamp(), RESULTS)


if __name__ == "__main__":
    main()
