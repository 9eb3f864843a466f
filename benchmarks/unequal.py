"""Measure what samples add to the usual remedies for classes of unequal size: 50 labels in every other class, 5 in the rest.

    python -m benchmarks.unequal --data mnist

Arms, each with the best policy of the data set and the same labelled images: images as they come; classes drawn equally
often, by repeating the few images of the small ones; the same with half of the images replaced by samples of their class.
Settings are those of `benchmarks.accuracy` on track B; nothing was chosen here.
"""

import argparse
import json
import os
from pathlib import Path

import torch
from torch import Tensor

from vae_augment.source import ROOT_VARIABLE

from .accuracy import BEST, IMAGES, POLICIES, Bench, accuracy, train
from .rows import store, stored
from .table import difference, mean

RESULTS = Path(__file__).parent / "unequal.jsonl"
MANY, FEW, SHARE, KEEP = 50, 5, 0.5, 0.95
ARMS = ("policy", "balanced", "balanced+ours")


def draw_of(bench: Bench, draw: int) -> Tensor:
    """Indices of labelled images: many of the classes 0, 2, ..., few of the others."""
    of_class = bench.draw(MANY, draw).split(MANY)
    return torch.cat([members if c % 2 == 0 else members[:FEW] for c, members in enumerate(of_class)])


def run(bench: Bench, arm: str, draw: int) -> dict[str, float]:
    """Test accuracy in per cent: of all classes, of the small ones."""
    labelled = draw_of(bench, draw)
    torch.manual_seed(draw)
    weights = 1 / bench.labels[labelled].bincount().float() if arm != "policy" else torch.ones(bench.classes)
    chosen = labelled[torch.multinomial(weights[bench.labels[labelled]], IMAGES, replacement=True)]
    images, labels = bench.images[chosen].clone(), bench.labels[chosen]
    if arm.endswith("+ours"):
        sample = bench.sampler("ours", labelled, KEEP, draw)
        assert sample is not None
        replaced = torch.rand(IMAGES) < SHARE
        images[replaced], _ = sample(labels[replaced])
    policy = POLICIES[BEST[bench.name]]
    assert policy is not None
    net = train(torch.stack([policy(image) for image in images]), labels, draw)
    test, of = bench.test
    small = of % 2 == 1
    return {"accuracy": round(accuracy(net, test, of), 3), "small": round(accuracy(net, test[small], of[small]), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist", choices=sorted(BEST))
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--root", default=os.environ.get(ROOT_VARIABLE))
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(options.data, "B", options.root, None, validate=False)
    for draw in range(options.draws):
        for arm in ARMS:
            row = {"data": options.data, "arm": arm, "draw": draw, **run(bench, arm, draw), **bench.origin}
            print(json.dumps(row), flush=True)
            store(row, RESULTS)


def table() -> str:
    """The stored figures as docs/benchmarks.md has them."""
    cells: dict[tuple[str, str, str], dict[int, float]] = {}
    for row in stored(RESULTS):
        for of in ("accuracy", "small"):
            cells.setdefault((row["data"], row["arm"], of), {})[row["draw"]] = row[of]
    rows = [
        "| data set | test accuracy of | as they come | classes drawn equally | + ours | difference to the better of both |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for data in dict.fromkeys(data for data, _, _ in cells):
        for of, title in (("accuracy", "all classes"), ("small", f"the classes of {FEW} labels")):
            plain, balanced, ours = (cells[data, arm, of] for arm in ARMS)
            gain = difference(ours, max(plain, balanced, key=mean))
            rows.append(
                f"| {data} | {title} | {mean(plain):.2f} | {mean(balanced):.2f} | **{mean(ours):.2f}** | {gain} |"
            )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
    print(table())
