"""Compare what a fit earns with what else can be done with few labels, unlabelled images and a pretrained network (track D).

    python -m train cifar10 ...                                                     the VAE of the images, or --data folder:
    python -m benchmarks.rivals --images cifar10 --weights runs/cifar10 --n 10      all arms, about eight minutes a draw and core
    python -m benchmarks.rivals --images flowers --weights runs/flowers --arms policy soft probe "probe + own"
    python -m benchmarks.rivals --table                                             the tables of the stored figures

Folders are those of `benchmarks.own_images`, and so are the labelled images, draw for draw. The pool is at most 10,000 of
the images to train on, evenly spaced, without labels. The pretrained network is EfficientNet-Lite0, which has learnt from the
labels of ImageNet: that is what sets this track apart. Nothing here downloads.

The small classifier of `benchmarks.accuracy`, the policy RandAugment and flips, 500 steps of 64 images; ten times as many
with " x10" behind the name:

    policy            the labelled images alone
    ours              and samples of a fit whose pool is compared as weights have it, no network
    decoded           and samples of a fit whose pool is compared by Lite0, too: decoded latents of the pool
    new               and new images beside these, the default
    own               and the pool's own images under the labels of that fit
    soft              and the pool's own images under its distributions
    distilled         and the pool's own images under the probe's distributions
    pseudo-labels     and the pool's images that the classifier of the policy alone is surest of, half of each class
    fixmatch          FixMatch, see benchmarks/fixmatch.py

"resnet18 policy", "resnet18 soft": torchvision's ResNet-18 from scratch in its place. And on Lite0 itself, without a policy:

    probe             logistic regression on its features of the labelled images
    probe + decoded   and of samples of our fit
    probe + own       and of the pool's own images under the labels of our fit
    last stage        its last stage trained further
    last stage + own  the same with the pool's own images under our labels

"labels" is no classifier: the part of the pool's labels that are right. `--validate` measures on images to train on that no
draw labels, and writes nothing. Every figure is added to rivals.jsonl.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from torchvision.models import resnet18

from vae_augment import LatentBank, VAEAugment, load_weights
from vae_augment.encoders import Encoder, cached, load_encoder
from vae_augment.neighbourhoods import USUAL_NOVELTY
from vae_augment.pool import USUAL_BANK
from vae_augment.vae import Codec

from . import fixmatch, probe
from .accuracy import IMAGES, STEPS, accuracy, share_of, train
from .decoding import served
from .own_images import POLICY, draw_of, parts, read
from .rows import stamp, store, stored
from .table import difference, mean

RESULTS = Path(__file__).parent / "rivals.jsonl"
LONG, TIMES = " x10", 10
VIEWS = 5  # times as many augmented images for ten times the steps
SMALL = ("policy", "ours", "decoded", "new", "own", "soft", "distilled", "pseudo-labels", "fixmatch")
ON_LITE0 = ("labels", "probe", "probe + decoded", "probe + own", "last stage", "last stage + own")
ARMS = (
    *ON_LITE0,
    *SMALL,
    *(name + LONG for name in ("policy", "soft", "distilled", "fixmatch")),
    "resnet18 policy",
    "resnet18 soft",
)
DECODED = 1000  # samples that the probe sees


@dataclass(frozen=True)
class Images:
    """Images to train and to test on, a pool among the former, and what Lite0 says of them.

    Args:
        images, labels: uint8 `(N, C, S, S)` and int64 `(N,)`, of which a draw labels some.
        in_pool: int64 `(P,)`, the places of the pool among them.
        test: images and labels.
        features: float32 `(N, 1280)`, of images that are neither in the pool nor in a draw zeros.
        plain, compared: banks of the pool without and with Lite0's features.
    """

    name: str
    images: Tensor
    labels: Tensor
    in_pool: Tensor
    test: tuple[Tensor, Tensor]
    features: Tensor
    test_features: Tensor
    vae: Codec
    encoder: Encoder
    plain: LatentBank
    compared: LatentBank

    @classmethod
    def load(cls, options: argparse.Namespace) -> Self:
        vae, encoder = load_weights(options.weights).vae, load_encoder("efficientnet-lite0")
        (images, labels), test = (read(part, vae.channels, vae.size) for part in parts(options.images))
        every = -(-len(images) // USUAL_BANK)
        in_pool = torch.arange(0, len(images), every)
        if options.validate:
            images, labels, test = apart(images, labels, in_pool)
            in_pool = torch.arange(len(in_pool))
        draws = [
            draw_of(labels, n, draw)
            for n in options.n
            for draw in range(options.first_draw, options.first_draw + options.draws)
        ]
        needed = torch.cat([in_pool, *draws]).unique()

        def features(x: Tensor) -> Tensor:
            return cached(options.cache, encoder, encoder.probe(), x, lambda: encoder.embed(x))

        embedded = features(images[needed])
        rows = torch.zeros(len(images), embedded.shape[1]).index_copy_(0, needed, embedded)
        plain, compared = (LatentBank.from_images(vae, images[in_pool], features=f) for f in (None, rows[in_pool]))
        name = options.images.resolve().name
        return cls(name, images, labels, in_pool, test, rows, features(test[0]), vae, encoder, plain, compared)

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1

    @cached_property
    def pool(self) -> Tensor:
        return self.images[self.in_pool]

    @cached_property
    def pool_views(self) -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        return fixmatch.views(self.pool, POLICY)

    @cached_property
    def stages(self) -> tuple[Tensor, Tensor]:
        """What goes into Lite0's last stage, of the pool and of the test images."""
        return probe.with_mirrored(self.encoder, self.pool), probe.before_last_stage(self.encoder, self.test[0])


def apart(images: Tensor, labels: Tensor, in_pool: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """The pool first and half of the others to train on, the other half to measure on; of a pool of all, a quarter of it."""
    others = torch.ones(len(images), dtype=torch.bool)
    others[in_pool] = False
    free = others.nonzero()[:, 0] if others.any() else in_pool[::4]
    measured = free[1::2][:USUAL_BANK]
    kept = torch.cat([in_pool, free[::2]]) if others.any() else in_pool
    return images[kept], labels[kept], (images[measured], labels[measured])


class Draw:
    """A few labelled images, and what each arm makes of them."""

    def __init__(self, data: Images, n: int, draw: int) -> None:
        self.data, self.n, self.draw = data, n, draw
        self.few = draw_of(data.labels, n, draw)
        self.images, self.labels = data.images[self.few], data.labels[self.few]
        self.base = TensorDataset(self.images, self.labels)
        self.share = share_of(data.name, n, "ours", with_pool=True)

    @cached_property
    def plain(self) -> VAEAugment:
        return VAEAugment(self.data.vae, bank=self.data.plain, gain=1.0, novelty=0).fit(self.images, self.labels)

    @cached_property
    def compared(self) -> VAEAugment:
        augment = VAEAugment(self.data.vae, bank=self.data.compared, gain=1.0, novelty=0)
        return augment.fit(self.images, self.labels, features=self.data.features[self.few])

    @cached_property
    def kept(self) -> tuple[Tensor, Tensor]:
        """Places in the pool of the images that our fit keeps, and their labels, one-hot."""
        kept = self.compared.pool_labels().kept()
        return kept.index, one_hot(kept.target, self.data.classes)

    @cached_property
    def probe(self) -> probe.LogisticRegression:
        return probe.probe(self.data.features[self.few], self.labels, torch.ones(len(self.few)))

    @cached_property
    def alone(self) -> nn.Module:
        """The small classifier of the labelled images alone."""
        return self._train("policy")

    def run(self, arm: str) -> float:
        """Test accuracy of an arm, in per cent."""
        data, short = self.data, arm.removesuffix(LONG)
        steps = STEPS * (TIMES if arm != short else 1)
        if short == "labels":
            found = self.compared.pool_labels()
            right = torch.tensor(found.label) == data.labels[data.in_pool][found.index]
            return 100 * float(right.sum()) / len(data.compared)
        if short.startswith("probe"):
            return self._probe(short.partition(" + ")[2])
        if short.startswith("last stage"):
            return self._last_stage(with_pool=short.endswith("own"))
        if short == "fixmatch":
            weak, _ = fixmatch.views(self.images, POLICY)
            net = fixmatch.fixmatch(weak, self.labels, data.pool_views, self.draw, data.classes, steps)
        elif arm == "policy":
            net = self.alone
        elif short.startswith("resnet18"):
            net = self._train(short.partition(" ")[2], make=small_resnet)
        else:
            net = self._train(short, steps)
        return accuracy(net, *data.test)

    def _train(self, arm: str, steps: int = STEPS, make: Callable[..., nn.Module] | None = None) -> nn.Module:
        torch.manual_seed(self.draw)
        x, y = self._seen(arm, IMAGES * (VIEWS if steps > STEPS else 1))
        x = torch.stack([POLICY(image) for image in x])
        options = {} if make is None else {"make": make}
        return train(x, y, self.draw, classes=self.data.classes, steps=steps, **options)

    def _seen(self, arm: str, count: int) -> tuple[Tensor, Tensor]:
        """uint8 images before the policy, and their labels or distributions."""
        pool = self.data.pool
        if arm == "ours":
            return served(self.base, self.plain, pool, "decoded", count, self.share)
        if arm == "distilled":
            said = self.probe.predict_proba(probe.unit(self.data.features[self.data.in_pool]).numpy())
            return self._beside(pool, torch.from_numpy(said).float(), count)
        if arm == "pseudo-labels":
            with torch.no_grad():
                said = torch.cat([self.alone(part.float() / 255) for part in pool.split(1000)]).softmax(1)
            sure = [surer_half(said, c) for c in range(said.shape[1])]
            return self._beside(pool[torch.cat(sure)], said[torch.cat(sure)].argmax(1), count)
        if arm == "new":
            self.compared.novelty = USUAL_NOVELTY
            try:
                return served(self.base, self.compared, pool, "decoded", count, self.share)
            finally:
                self.compared.novelty = 0
        return served(self.base, None if arm == "policy" else self.compared, pool, arm, count, self.share)

    def _beside(self, images: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """A share of these, which have labels or distributions, beside the labelled images."""
        own = torch.randint(len(self.few), (count - round(self.share * count),))
        other = torch.randint(len(images), (round(self.share * count),))
        of_own = one_hot(self.labels, self.data.classes) if labels.ndim == 2 else self.labels
        return torch.cat([self.images[own], images[other]]), torch.cat([of_own[own], labels[other]])

    def _probe(self, beside: str) -> float:
        data = self.data
        if not beside:
            return probe.probe_accuracy(self.probe, data.test_features, data.test[1])
        if beside == "decoded":
            torch.manual_seed(self.draw)
            labels = torch.arange(DECODED) % data.classes
            features = data.encoder.embed((self.compared.sample(labels) * 255).round().to(torch.uint8))
            targets = one_hot(labels, data.classes)
        else:
            places, targets = self.kept
            features = data.features[data.in_pool[places]]
        each = targets @ (1 / targets.sum(0).clamp_min(1))  # classes alike, as `SyntheticDataset` serves them
        each *= self.share / (1 - self.share) * len(self.few) / each.sum()
        weights = torch.cat([torch.ones(len(self.few)), each])
        rows = torch.cat([data.features[self.few], features])
        model = probe.probe(rows, torch.cat([one_hot(self.labels, data.classes), targets]), weights)
        return probe.probe_accuracy(model, data.test_features, data.test[1])

    def _last_stage(self, with_pool: bool) -> float:
        data = self.data
        inputs, targets = probe.with_mirrored(data.encoder, self.images), one_hot(self.labels, data.classes)
        of_pool, of_test = data.stages
        if with_pool:
            places, said = self.kept
            inputs, targets = torch.cat([inputs, of_pool[:, places]], 1), torch.cat([targets, said])
        net = probe.train_last_stage(data.encoder, inputs, targets, len(self.few), self.share, self.draw)
        return probe.last_stage_accuracy(net, of_test, data.test[1])


def small_resnet(classes: int, channels: int, _: int) -> nn.Module:
    net = resnet18(num_classes=classes)
    net.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    return net


def surer_half(said: Tensor, c: int) -> Tensor:
    """Places of the half of those that are said to be of a class which are surest, of distributions `(N, C)`."""
    own = (said.argmax(1) == c).nonzero()[:, 0]
    return own[said[own, c].argsort(descending=True)[: (len(own) + 1) // 2]]


def one_hot(labels: Tensor, classes: int) -> Tensor:
    return nn.functional.one_hot(labels, classes).float()


def load() -> dict[tuple[str, int, str], dict[int, float]]:
    """The stored figures: (data, n, arm) -> draw -> per cent."""
    cells: dict[tuple[str, int, str], dict[int, float]] = {}
    for row in stored(RESULTS):
        cells.setdefault((row["data"], row["n"], row["arm"]), {})[row["draw"]] = row["value"]
    return cells


def table() -> str:
    """Means over draws, and differences from the policy, or of Lite0's arms from the probe, with 95 % intervals."""
    cells = load()
    rows = [
        "| data set | labels a class | what | draws | test accuracy | difference | to |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for data, n in sorted({key[:2] for key in cells}):
        for arm in ARMS:
            if (own := cells.get((data, n, arm))) is None:
                continue
            base = base_of(arm)
            against = cells.get((data, n, base)) if base is not None else None
            gain = "" if against is None else difference(own, against)
            rows.append(f"| {data} | {n} | {arm} | {len(own)} | {mean(own):.1f} | {gain} | {base if gain else ''} |")
    return "\n".join(rows)


def base_of(arm: str) -> str | None:
    """The arm that an arm is compared with."""
    if arm in ("labels", "probe", "policy", "resnet18 policy"):
        return None
    if arm.startswith("resnet18"):
        return "resnet18 policy"
    return "probe" if arm in ON_LITE0 else "policy"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of train/CLASS/ and test/CLASS/ or val/CLASS/")
    parser.add_argument("--weights", help="bundled name, folder or Hub id; its VAE says the size of images")
    parser.add_argument("--n", type=int, nargs="+", default=[10], help="labelled images a class")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--first-draw", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=None, help="a file that keeps features between runs")
    parser.add_argument("--validate", action="store_true", help="measure on other images; writes nothing")
    parser.add_argument("--table", action="store_true", help="print the tables of the stored figures, measure nothing")
    options = parser.parse_args()
    if options.table:
        print(table())
        return
    if options.images is None or options.weights is None:
        parser.error("--images and --weights are needed")
    torch.set_num_threads(1)
    origin, data = stamp(), Images.load(options)
    for n in options.n:
        for draw in range(options.first_draw, options.first_draw + options.draws):
            few = Draw(data, n, draw)
            for arm in options.arms:
                started = time.perf_counter()
                value = few.run(arm)
                row = {"data": data.name, "n": n, "arm": arm, "draw": draw, "value": round(value, 3)}
                row |= {"seconds": round(time.perf_counter() - started, 1), **origin}
                print(json.dumps(row), flush=True)
                if not options.validate:
                    store(row, RESULTS)


if __name__ == "__main__":
    main()
