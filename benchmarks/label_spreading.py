"""Count how many labels of a pool are right, after a few labelled images have spread theirs over its kNN graphs.

    python -m benchmarks.label_spreading                                      both bundled banks, about 15 minutes of one core
    python -m benchmarks.label_spreading --data mnist --classes 3 8           of ten classes in the pool, these two have labels
    python -m benchmarks.label_spreading --images photos/train --weights runs/photos     a folder with a subfolder for each class
    python -m benchmarks.label_spreading --table                              the table of the stored figures

A fit gives each latent of the bank a label, and draws samples from the surest part of each class. So these figures bound what
samples can earn, and they need no classifier: a change of a view, of the graph or of the spreading shows here first.

    right                       part of the pool's images whose label is right; one that no label reaches counts as wrong. With
                                --classes, of the images of these classes
    right, kept part            the same of the images that a fit keeps: 95 % of each class, of photographs 50 %. With --classes,
                                the images of other classes among them count as wrong
    cross-validation says       what a fit sees of it: the labelled images alone, held out in turn, mean over classes

Each is measured by each view alone, by all views together, and with the ridge regression that votes beside the graph of
photographs. The pool is the weights' own bank, of unlabelled training images; its true labels are used to count, nowhere else.
The labelled images are those of `benchmarks.accuracy`, draw for draw, none of them in the bank. A folder's images are the
pool themselves, up to 10,000, and the labelled ones among them are not counted. Every figure is added to label_spreading.jsonl.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vae_augment import LatentBank, load_weights
from vae_augment.pool import View
from vae_augment.source import ROOT_VARIABLE
from vae_augment.vae import Codec

from .accuracy import BEST, Bench
from .own_images import draw_of, read
from .rows import stamp, store
from .table import interval

RESULTS = Path(__file__).parent / "label_spreading.jsonl"
FIGURES = ("right", "right_kept", "cross_validated")
CHUNK = 500  # images encoded, or compared, at a time
ORDER = ("mnist", "fashion-mnist", "cifar10")  # of the tables
BOTH, LABELLED = "both", " labelled"  # both views; the end of a name where only some classes have labels
Cells = dict[tuple[str, int, str], dict[int, dict[str, float | None]]]  # (data, n, by) -> draw -> row


class Spread(NamedTuple):
    """Places in the pool of the images that get each class's label: all, and those that a fit keeps."""

    members: Sequence[Tensor]
    kept: Sequence[Tensor]
    cross_validated: float | None  # None: not asked


@dataclass(frozen=True)
class Pool:
    """A bank whose images' labels are known here.

    Args:
        truth: int64 `(N,)`, labels of the bank's images; -1 if none of their class is ever labelled.
        places: int64 `(N,)`, of the bank's images among `images`.
        images: uint8 `(M, C, S, S)`, with `labels` `(M,)`: those that a draw may label.
        draw: `(n, draw)` -> places of n labelled images a class.
    """

    name: str
    vae: Codec
    bank: LatentBank
    truth: Tensor
    places: Tensor
    images: Tensor
    labels: Tensor
    draw: Callable[[int, int], Tensor]


def bundled(name: str, root: str | None) -> Pool:
    """The bank that comes with the package, and the images of track B of `benchmarks.accuracy`."""
    bench = Bench(name, "B", root, None, validate=False)
    assert bench.bank is not None
    assert len(bench.bank) == len(bench.in_bank)
    truth = bench.labels[bench.in_bank]
    return Pool(name, bench.vae, bench.bank, truth, bench.in_bank, bench.images, bench.labels, bench.draw)


@torch.no_grad()
def of_folder(folder: Path, weights: str) -> Pool:
    """A bank of the folder's images, in the latents of some weights."""
    vae = load_weights(weights).vae
    images, labels = read(folder, vae.channels, vae.size)
    bank = LatentBank.from_images(vae, images)  # some of them: evenly spaced, without near copies
    encoded = torch.cat([vae.encode(part.float() / 255)[0] for part in images.split(CHUNK)]).flatten(1)
    parts = bank.latents.float().flatten(1).split(CHUNK)
    places = torch.cat([torch.cdist(part, encoded).argmin(1) for part in parts])
    name = folder.resolve().name if folder.resolve().name != "train" else folder.resolve().parent.name
    return Pool(name, vae, bank, labels[places], places, images, labels, lambda n, draw: draw_of(labels, n, draw))


def of_classes(pool: Pool, classes: list[int]) -> Pool:
    """The same pool, of which only these classes have labelled images: those of its own draws."""
    number = torch.full((int(pool.labels.max()) + 1,), -1).index_copy(
        0, torch.tensor(classes), torch.arange(len(classes))
    )

    def draw(n: int, draw: int) -> Tensor:
        labelled = pool.draw(n, draw)
        return labelled[number[pool.labels[labelled]] >= 0]

    name = f"{pool.name}, {' and '.join(map(str, classes))}{LABELLED}"
    return replace(pool, name=name, truth=number[pool.truth], labels=number[pool.labels], draw=draw)


def spreads(vae: Codec, bank: LatentBank, images: Tensor, labels: Tensor, classes: int) -> dict[str, Spread]:
    """Labels of images, float32 `(M, C, S, S)`, spread over the bank in each way. All that this file asks of the pool is here."""

    def spread(views: tuple[View, ...], ridge_vote: bool = False) -> Spread:
        # all classes are in the pool: none is to be taken for absent
        policy = replace(bank.policy, ridge_vote=ridge_vote, absence_from_images=len(images) + 1)
        query = replace(bank, views=views, policy=policy).query(vae, images)
        members, kept = (query.class_members(labels, classes, keep) for keep in (1.0, None))
        # cross-validation knows no ridge vote
        return Spread(members, kept, None if ridge_vote else query.cross_validated_accuracy(labels, classes))

    found = {view.name: spread((view,)) for view in bank.views}
    if len(bank.views) > 1:
        found[BOTH] = spread(bank.views)
    if bank.policy.ridge_vote:
        found[" and ".join([*found, "ridge"])] = spread(bank.views, ridge_vote=True)
    return found


def measured(pool: Pool, n: int, draw: int) -> dict[str, dict[str, float | None]]:
    """For each way of spreading, the `FIGURES` of one draw, in per cent."""
    labelled = pool.draw(n, draw)
    classes = int(pool.labels.max()) + 1
    images, labels = pool.images[labelled].float() / 255, pool.labels[labelled]
    figures: dict[str, dict[str, float | None]] = {}
    for name, spread in spreads(pool.vae, pool.bank, images, labels, classes).items():
        figures[name] = parts_right(pool, labelled, spread.members, spread.kept)
        figures[name]["cross_validated"] = (
            None if spread.cross_validated is None else round(100 * spread.cross_validated, 3)
        )
    return figures


def parts_right(
    pool: Pool, labelled: Tensor, members: Sequence[Tensor], kept: Sequence[Tensor]
) -> dict[str, float | None]:
    """The first two of the `FIGURES`, in per cent, of the pool's images without those at the places `labelled`."""
    counted = ~torch.isin(pool.places, labelled)
    right, _ = _right(members, pool.truth, counted)
    return {
        "right": _per_cent(right, int((counted & (pool.truth >= 0)).sum())),
        "right_kept": _per_cent(*_right(kept, pool.truth, counted)),
    }


def _right(members: Sequence[Tensor], truth: Tensor, counted: Tensor) -> tuple[int, int]:
    """How many of the members of each class that count are of it, and how many there are."""
    places = [of_class[counted[of_class]] for of_class in members]
    return sum(int((truth[of_class] == c).sum()) for c, of_class in enumerate(places)), sum(map(len, places))


def _per_cent(part: int, whole: int) -> float:
    return round(100 * part / whole, 3)


def load(results: Path = RESULTS) -> Cells:
    """The stored figures, in the order of the tables; the last of each draw."""
    cells: Cells = {}
    for line in results.read_text().splitlines():
        row = json.loads(line)
        cells.setdefault((row["data"], row["n"], row["by"]), {})[row["draw"]] = row
    place = {data: i for i, data in enumerate(ORDER)}
    # a stable sort: the ways of comparing stay in the order of their rows
    return dict(sorted(cells.items(), key=lambda cell: (place.get(cell[0][0], len(ORDER)), *cell[0][:2])))


def table() -> str:
    """Where all classes have labels, by each view and by all: means over draws with their 95 % bootstrap intervals."""
    return _table({key: draws for key, draws in load().items() if LABELLED not in key[0]})


def classes_table() -> str:
    """Where only some classes of the pool have labels, as a fit spreads them."""
    return _table({key: draws for key, draws in load().items() if LABELLED in key[0] and key[2] == BOTH})


def _table(cells: Cells) -> str:
    rows = [
        "| data set | labels a class | images compared by | labels right, % | right of the kept part, % | "
        "cross-validation says, % |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for (data, n, by), draws in cells.items():
        columns = [_mean([row[figure] for row in draws.values()]) for figure in FIGURES]
        rows.append(f"| {data} | {n} | {by} | " + " | ".join(columns) + " |")
    return "\n".join(rows)


def _mean(values: list[float | None]) -> str:
    known = torch.tensor([value for value in values if value is not None], dtype=torch.float64)
    if not len(known):
        return ""
    low, high = interval(known)
    return f"{known.mean():.1f} [{low:.1f}, {high:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=sorted(BEST, reverse=True), choices=sorted(BEST))
    parser.add_argument("--images", type=Path, default=None, help="folder of CLASS/ of image files, instead of --data")
    parser.add_argument("--weights", default=None, help="of the folder's images: a run, a bundled name or a Hub id")
    parser.add_argument("--classes", type=int, nargs="+", default=None, help="that have labelled images; default: all")
    parser.add_argument("--n", type=int, nargs="+", default=[5, 10, 50], help="labelled images a class")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--root", default=os.environ.get(ROOT_VARIABLE))
    parser.add_argument("--table", action="store_true", help="print the table of the stored figures, measure nothing")
    options = parser.parse_args()
    if (options.images is None) != (options.weights is None):
        parser.error("--images and --weights go together")
    torch.set_num_threads(1)
    origin = stamp()
    pools = [None] if options.images is not None else [] if options.table else options.data
    for name in pools:
        pool = of_folder(options.images, options.weights) if name is None else bundled(name, options.root)
        pool = pool if options.classes is None else of_classes(pool, options.classes)
        for n in options.n:
            for draw in range(options.draws):
                labelled = hashlib.sha256(pool.draw(n, draw).numpy().tobytes()).hexdigest()[:16]
                for by, figures in measured(pool, n, draw).items():
                    row = {"data": pool.name, "n": n, "by": by, "draw": draw, **figures, "labelled": labelled}
                    row |= origin
                    print(json.dumps(row), flush=True)
                    store(row, RESULTS)
    print(table(), classes_table(), sep="\n\n")


if __name__ == "__main__":
    main()
