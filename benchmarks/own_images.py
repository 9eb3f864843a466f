"""Measure whether samples help on images of one's own: a folder of `train/CLASS/` and `test/CLASS/` or `val/CLASS/` files.

    python -m train --data folder:photos/train --size 64
    python -m benchmarks.own_images --images photos --weights runs/photos --n 5 10 50
    python -m benchmarks.own_images --table                 # of the stored figures

The VAE has seen `photos/train` without labels, but for the tenth that its training holds out, and the bank at most 10,000 of
these images; n images of each class are labelled, others in each draw, and accuracy is that on `photos/test` or `photos/val`.
Arms: the policy alone; with samples of `VAEAugment.fit`, decoded images of the pool (ours), or new ones beside them (new), as is
the default; with copies of the labelled images in their place, which must change nothing.
As in `benchmarks.accuracy`: the same labelled images for every arm, 500 steps of 64 images of a small CNN, 70 % samples up to
ten labels a class, else half.
"""

import argparse
import json
import warnings
from pathlib import Path

import torch
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from vae_augment import VAEAugment
from vae_augment.hub import bundled
from vae_augment.images import files
from vae_augment.neighbourhoods import USUAL_NOVELTY

from .accuracy import IMAGES, accuracy, share_of, train
from .rows import stamp, store, stored
from .table import difference, interval, mean

RESULTS = Path(__file__).parent / "own_images.jsonl"  # of CIFAR-10 and of five kinds of flowers
ARMS = ("policy", "policy+ours", "policy+new", "policy+copies")
OWN = "own"  # weights that were trained on these images, in rows that name none
POLICY = v2.Compose([v2.RandomHorizontalFlip(), v2.RandAugment()])


def parts(folder: Path) -> tuple[Path, Path]:
    """The folders to train and to test on, by the names that `python -m train --data folder:` knows; test before val.

    Raises:
        FileNotFoundError: one of them is missing.
    """
    there = {path.name.lower(): path for path in sorted(folder.iterdir(), reverse=True) if path.is_dir()}
    found = []
    for names in (files.TRAIN_FOLDERS, ("test", "testing", *files.HELD_OUT_FOLDERS)):
        if not (chosen := [there[name] for name in names if name in there]):
            raise FileNotFoundError(f"{folder} has none of the folders {', '.join(dict.fromkeys(names))}: make one")
        found.append(chosen[0])
    return found[0], found[1]


def read(folder: Path, channels: int, size: int) -> tuple[Tensor, Tensor]:
    """uint8 `(N, C, S, S)`, the middle of each image, and its class `(N,)`."""
    kinds = {1: v2.Grayscale(1), 3: v2.RGB()}
    steps = [v2.Resize(size), v2.CenterCrop(size), v2.PILToTensor(), kinds[channels]]
    dataset = ImageFolder(str(folder), v2.Compose(steps))
    return torch.stack([image for image, _ in dataset]), torch.tensor(dataset.targets)


def draw_of(labels: Tensor, n: int, draw: int) -> Tensor:
    """Places of n images of each class."""
    generator = torch.Generator().manual_seed(draw)
    of_class = [(labels == c).nonzero()[:, 0] for c in range(int(labels.max()) + 1)]
    return torch.cat([members[torch.randperm(len(members), generator=generator)[:n]] for members in of_class])


def augmented(
    images: Tensor, labels: Tensor, arm: str, augment: VAEAugment, share: float
) -> tuple[Tensor, Tensor, str]:
    """What a classifier sees of a few labelled images: so many of each arm, and what the fit is."""
    chosen = torch.randint(len(images), (IMAGES,))
    x, y, fit = images[chosen], labels[chosen], ""
    if arm in ("policy+ours", "policy+new"):
        augment.novelty = 0.0 if arm == "policy+ours" else USUAL_NOVELTY
        augment.fit(list(zip(images, labels.tolist(), strict=True)))
        replaced = torch.rand(IMAGES) < share
        x[replaced], fit = (augment.sample(y[replaced]) * 255).round().to(torch.uint8), type(augment.jitter).__name__
    elif arm == "policy+copies":
        replaced = torch.rand(IMAGES) < share
        same = [(labels == c).nonzero()[:, 0] for c in y[replaced].tolist()]
        x[replaced] = images[torch.stack([members[torch.randint(len(members), ())] for members in same])]
    return torch.stack([POLICY(image) for image in x]), y, fit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of train/CLASS/ and test/CLASS/ or val/CLASS/")
    parser.add_argument("--weights", help="bundled name, folder or Hub id; its VAE says the size of images")
    parser.add_argument("--n", type=int, nargs="+", default=[5, 10, 50], help="labelled images a class")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--results", type=Path, default=None, help="jsonl file to which each figure is added")
    parser.add_argument("--table", action="store_true", help="print the tables of the stored figures, measure nothing")
    options = parser.parse_args()
    if options.table:
        print(f"{table()}\n\n{bundled_table()}")
        return
    if not (options.images and options.weights):
        parser.error("--images and --weights say what to measure")
    torch.set_num_threads(1)
    warnings.simplefilter("once")
    data = options.images.resolve().name
    augment, origin = VAEAugment.from_pretrained(options.weights), stamp()
    config = augment.vae.config
    (images, labels), test = (read(part, config.channels, config.size) for part in parts(options.images))
    for n in options.n:
        found: dict[str, list[float]] = {arm: [] for arm in options.arms}
        for draw in range(options.draws):
            few = draw_of(labels, n, draw)
            for arm in options.arms:
                torch.manual_seed(draw)
                share = share_of(data, n, "ours", with_pool=True)
                x, y, fit = augmented(images[few], labels[few], arm, augment, share)
                net = train(x, y, draw, classes=int(labels.max()) + 1)
                row = {
                    "data": data,
                    "weights": str(options.weights) if options.weights in bundled() else OWN,
                    "n": n,
                    "arm": arm,
                    "draw": draw,
                    "accuracy": round(accuracy(net, *test), 3),
                    "fit": fit,
                } | origin
                print(json.dumps(row), flush=True)
                found[arm].append(float(row["accuracy"]))
                if options.results is not None:
                    store(row, options.results)
        summary(n, found)


def summary(n: int, found: dict[str, list[float]]) -> None:
    """Means, and differences from the first arm with their 95 % bootstrap intervals."""
    first, *others = ((arm, torch.tensor(values, dtype=torch.float64)) for arm, values in found.items())
    print(f"n={n} {first[0]} {first[1].mean():.2f}")
    for arm, values in others:
        low, high = interval(values - first[1])
        print(
            f"n={n} {arm} {values.mean():.2f}, {(values - first[1]).mean():+.2f} [{low:+.2f}, {high:+.2f}]", flush=True
        )


def load() -> dict[tuple[str, int, str, str], dict[int, float]]:
    """The stored figures: (data, n, arm, weights) -> draw -> accuracy. The policy alone has no weights: it is that of all."""
    cells: dict[tuple[str, int, str, str], dict[int, float]] = {}
    for row in stored(RESULTS):
        key = row["data"], row["n"], row["arm"], row.get("weights", OWN)
        cells.setdefault(key, {})[row["draw"]] = row["accuracy"]
    return cells


def table() -> str:
    """The stored figures of weights trained on these images, as docs/benchmarks.md has them."""
    cells = load()
    rows = [
        "| data set | labels a class | RandAugment and flips alone | + ours | difference, 95 % interval |",
        "| --- | --- | --- | --- | --- |",
    ]
    for data, n in sorted({(data, n) for data, n, _, weights in cells if weights == OWN}):
        policy, ours = (cells[data, n, arm, OWN] for arm in ("policy", "policy+ours"))
        rows.append(f"| {data} | {n} | {mean(policy):.2f} | **{mean(ours):.2f}** | {difference(ours, policy)} |")
    return "\n".join(rows)


def bundled_table() -> str:
    """The stored figures of bundled weights, as docs/benchmarks.md has them."""
    cells = load()
    rows = [
        "| weights, data set | labels a class | RandAugment and flips alone | + ours, new images | difference, 95 % interval "
        "| new less decoded |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for data, n, weights in sorted({(data, n, weights) for data, n, _, weights in cells if weights != OWN}):
        policy = cells[data, n, "policy", OWN]
        decoded, new = (cells[data, n, arm, weights] for arm in ("policy+ours", "policy+new"))
        rows.append(
            f"| `{weights}`, {data} | {n} | {mean(policy):.2f} | **{mean(new):.2f}** | {difference(new, policy)} "
            f"| {difference(new, decoded)} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
