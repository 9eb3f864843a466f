"""Measure what decoding costs where a VAE is another's: the pool's own images against decoded ones, under the same labels.

    python -m benchmarks.decoding                                  letters and garments in the latents of the bundled digits
    python -m benchmarks.decoding --data letters --write letters   the pool as image files, for:
    python -m train --from mnist --data folder:letters --steps 1500 --out runs/letters
    python -m benchmarks.decoding --data letters --weights runs/letters --arms decoded
    python -m benchmarks.decoding --data pairs "long tail" --n 5   100 classes; a class a hundredth of another
    python -m benchmarks.decoding --table                          the table of the stored figures

Labels of a few images are spread over a pool of 2,000 others. Samples are made by `SyntheticDataset`, and the classifier, its
steps and the share of samples are those of `benchmarks.accuracy`. Every figure is added to decoding.jsonl.

    policy      the labelled images alone, under a classical policy, as all arms are
    decoded     and decoded images of the pool, decode=True
    own         and the pool's own images in their place, decode=False
    soft        the same with distributions for labels, soft=True
    oracle      the pool's own images under their true labels

Letters are those of `benchmarks.letters`; digits and garments are MNIST's and Fashion-MNIST's training images, measured on
the test images. `--validate` measures on others, and writes nothing.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import TensorDataset
from torchvision.transforms.v2 import functional as F

from vae_augment import LatentBank, SyntheticDataset, VAEAugment, load_weights
from vae_augment.pool_images import unexplained

from .accuracy import IMAGES, POLICIES, VALIDATION, accuracy, train
from .letters import letters
from .many_classes import long_tail, of_name, pairs
from .rows import stamp, store, stored
from .table import difference, interval, mean

RESULTS = Path(__file__).parent / "decoding.jsonl"
ARMS = ("policy", "decoded", "own", "soft", "oracle")
POOL, SHARE = 2000, 0.7  # images; of samples among those that a classifier sees
POLICY = {
    "letters": "affine",
    "mnist": "affine",
    "fashion-mnist": "randaugment",
    "pairs": "affine",
    "long tail": "randaugment",
}
OTHER = {
    "letters": "mnist",
    "mnist": "fashion-mnist",
    "fashion-mnist": "mnist",
    "pairs": "mnist",
    "long tail": "fashion-mnist",
}


@dataclass(frozen=True)
class Images:
    """A data set: the pool, with labels that only the oracle knows; images that a draw may label; images to measure on."""

    name: str
    pool: Tensor
    pool_labels: Tensor
    free: Tensor
    free_labels: Tensor
    test: Tensor
    test_labels: Tensor

    @classmethod
    def load(cls, name: str, validate: bool) -> "Images":
        if name == "letters":
            return cls(name, *letters(POOL, 1), *letters(4000, 2), *letters(4000, 4 if validate else 3))
        if name in ("pairs", "long tail"):
            return cls(name, *(pairs if name == "pairs" else long_tail)(VALIDATION if validate else 0))
        train_images, labels, test_images, test_labels = of_name(name)
        used = len(labels) - VALIDATION
        in_pool = torch.arange(POOL) * used // POOL
        free = torch.ones(len(labels), dtype=torch.bool)
        free[in_pool], free[used:] = False, False
        test = (train_images[used:], labels[used:]) if validate else (test_images, test_labels)
        return cls(name, train_images[in_pool], labels[in_pool], train_images[free], labels[free], *test)

    @property
    def classes(self) -> int:
        return int(self.free_labels.max()) + 1

    def draw(self, n: int, draw: int) -> Tensor:
        """Places of n images of each class among those that may be labelled."""
        generator = torch.Generator().manual_seed(draw)
        members = [(self.free_labels == c).nonzero()[:, 0] for c in range(self.classes)]
        return torch.cat([own[torch.randperm(len(own), generator=generator)[:n]] for own in members])


def seen(images: Images, few: Tensor, arm: str, fitted: VAEAugment | None) -> tuple[Tensor, Tensor]:
    """What a classifier sees of an arm, before the policy: uint8 images, and labels or their distributions."""
    base = TensorDataset(images.free[few], images.free_labels[few])
    if arm != "oracle":
        return served(base, fitted, images.pool, arm, IMAGES)
    synthetic = round(SHARE * IMAGES)
    real = [base[i] for i in torch.randint(len(few), (IMAGES - synthetic,)).tolist()]
    of_class = [(images.pool_labels == c).nonzero()[:, 0] for c in range(images.classes)]
    for label in torch.arange(synthetic) % images.classes:
        place = of_class[label][torch.randint(len(of_class[label]), ())]
        real.append((images.pool[place], label))
    return stacked(real)


def served(
    base: TensorDataset, fitted: VAEAugment | None, pool: Tensor, arm: str, count: int, share: float = SHARE
) -> tuple[Tensor, Tensor]:
    """Images, of which a share is what a `SyntheticDataset` over a pool serves; of the arm "policy" none is."""
    synthetic = 0 if arm == "policy" else round(share * count)
    chosen = torch.randint(len(base), (count - synthetic,)).tolist()
    if not synthetic:
        return stacked([base[i] for i in chosen])
    dataset = SyntheticDataset(
        base, ratio=synthetic / len(base), augment=fitted, pool=pool, decode=arm == "decoded", soft=arm == "soft"
    )
    return stacked(dataset[len(base) :] + dataset.__getitems__(chosen))


def stacked(items: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.stack([image for image, _ in items]), torch.stack([torch.as_tensor(label) for _, label in items])


def measured(images: Images, weights: str, n: int, arms: list[str], draw: int, bank: LatentBank) -> dict[str, float]:
    """Test accuracy of each arm on one draw, in per cent, and how many of the labels that are kept are right."""
    few = images.draw(n, draw)
    fitted = VAEAugment.from_pretrained(weights, bank=bank, novelty=0)
    fitted.fit(images.free[few], images.free_labels[few])
    kept = fitted.pool_labels().kept()
    right = (torch.tensor(kept.label) == images.pool_labels[kept.index]).float().mean()
    figures = {"labels right": 100 * float(right)}
    transform: Callable[[Tensor], Tensor] | None = POLICIES[POLICY[images.name]]
    assert transform is not None
    for arm in arms:
        torch.manual_seed(draw)
        x, y = seen(images, few, arm, fitted)
        x = torch.stack([transform(image) for image in x])
        net = train(x, y, draw, classes=images.classes)
        figures[arm] = accuracy(net, images.test, images.test_labels)
    return figures


def run(images: Images, weights: str, options: argparse.Namespace) -> None:
    """Measure a data set in the latents of some weights, print and store it."""
    started, vae, origin = time.perf_counter(), load_weights(weights).vae, stamp()
    bank = LatentBank.from_images(vae, images.pool)
    lost = unexplained(vae, images.pool.float() / 255)
    print(f"{images.name} in {weights}: bank {time.perf_counter() - started:.0f} s, undrawn {lost:.3f}", flush=True)
    for n in options.n:
        found: dict[str, list[float]] = {}
        for draw in range(options.first_draw, options.first_draw + options.draws):
            for arm, value in measured(images, weights, n, options.arms, draw, bank).items():
                found.setdefault(arm, []).append(value)
                row = origin | {
                    "data": images.name,
                    "weights": Path(weights).name if Path(weights).is_dir() else weights,
                    "n": n,
                    "arm": arm,
                    "draw": draw,
                    "value": round(value, 3),
                    "undrawn": round(lost, 4),
                }
                if not options.validate:
                    store(row, RESULTS)
        for arm, values in found.items():
            print(f"{images.name} in {weights} n={n} {against(found, arm, values)}", flush=True)


def against(found: dict[str, list[float]], arm: str, values: list[float]) -> str:
    """An arm's mean, and its difference from decoded images with the 95 % bootstrap interval."""
    own = torch.tensor(values, dtype=torch.float64)
    if arm in ("decoded", "labels right") or "decoded" not in found:
        return f"{arm} {own.mean():.2f}"
    difference = own - torch.tensor(found["decoded"], dtype=torch.float64)
    low, high = interval(difference)
    return f"{arm} {own.mean():.2f}, to decoded {difference.mean():+.2f} [{low:+.2f}, {high:+.2f}]"


Cells = dict[tuple[str, str, int, str], dict[int, float]]  # (data, weights, n, arm) -> draw -> value


def load() -> Cells:
    """The stored figures."""
    cells: Cells = {}
    for row in stored(RESULTS):
        cells.setdefault((row["data"], row["weights"], row["n"], row["arm"]), {})[row["draw"]] = row["value"]
    return cells


def table() -> str:
    """The stored figures as docs/benchmarks.md has them."""
    cells = load()
    rows = [
        "| pool | VAE | labels a class | labels right | policy | + decoded | + the pool's own | own - decoded, 95 % interval |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for data, weights, n in sorted({key[:3] for key in cells}):
        found = {arm: own for (*cell, arm), own in cells.items() if cell == [data, weights, n]}
        parts = [
            f"{mean(found[arm]):.2f}" if arm in found else "" for arm in ("labels right", "policy", "decoded", "own")
        ]
        paired = difference(found["own"], found["decoded"]) if "own" in found else ""
        rows.append(f"| {' | '.join([data, weights, str(n), *parts, paired])} |")
    return "\n".join(rows)


def write(images: Images, folder: Path) -> None:
    """The pool as image files, without its labels."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, image in enumerate(images.pool):
        F.to_pil_image(image).save(folder / f"{place:05d}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["letters", "fashion-mnist"], choices=list(POLICY))
    parser.add_argument("--weights", default=None, help="default: those of other images, mnist")
    parser.add_argument("--n", type=int, nargs="+", default=[10], help="labelled images a class")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--first-draw", type=int, default=0)
    parser.add_argument("--validate", action="store_true", help="measure on other images; writes nothing")
    parser.add_argument(
        "--table", action="store_true", help="print the table of the stored figures, and measure nothing"
    )
    parser.add_argument("--write", type=Path, default=None, help="write the pool to this folder, and measure nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.table:
        print(table())
        return
    for name in options.data:
        images = Images.load(name, options.validate)
        if options.write is not None:
            write(images, options.write)
        else:
            run(images, options.weights or OTHER[name], options)


if __name__ == "__main__":
    main()
