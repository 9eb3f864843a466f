"""Measure whether samples are new, and how much like real images: near copies, and the Fréchet distance.

    python -m benchmarks.novelty --data mnist fashion-mnist --draws 10       bundled weights, about six minutes a data set
    python -m benchmarks.novelty --images flowers --weights runs/flowers     a folder of train/CLASS/ and test/CLASS/
    python -m benchmarks.novelty --data mnist --sources pythae-gmm pythae-maf      needs pythae
    python -m benchmarks.novelty --table                                     the table of the stored figures
    python -m benchmarks.novelty --picture docs/novelty.png --data mnist fashion-mnist            a row of each source

Of each source are measured

    distance    from a sample to the nearest training image, Euclidean, of pixels in [0, 1]; the median of 1,000 samples
    near        the part of them that is nearer than half the median of real test images: near copies. Of some real test
                images that holds, too, since a one is always like another one
    fd          the Fréchet distance of 10,000 samples to the test images, in 64 features of a small classifier that was
                trained on all labelled training images

The sources:

    test, training      real images
    decoded             `sample` of a fit to ten labels a class, novelty=0: decoded latents of the pool
    new                 the same at the default novelty
    generate            no labels: the prior of the weights
    mixture             no labels: the prior of weights without a bank, fitted to 20,000 latents
    normal              no labels: N(0, I)
    pythae-gmm, pythae-maf   pythae's samplers on the same VAE, of all training images

Every row is added to novelty.jsonl.
"""

import argparse
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, Self

import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import to_pil_image
from torchvision.utils import make_grid

from train import data as datasets
from train.prior import stored_prior
from vae_augment import VAEAugment, load_weights
from vae_augment.hub import Weights
from vae_augment.prior import StandardNormal
from vae_augment.source import ROOT_VARIABLE

from .own_images import draw_of, parts, read
from .rows import stamp, store, stored

RESULTS = Path(__file__).parent / "novelty.jsonl"
REAL, OF_A_FIT = ("test", "training"), ("decoded", "new")
PYTHAE = ("pythae-gmm", "pythae-maf")
SOURCES = (*REAL, *OF_A_FIT, "generate", "mixture", "normal", *PYTHAE)
LABELS = 10  # a class, of a fit
SAMPLES, COMPARED = 10_000, 1_000  # for the Fréchet distance; for the distance to training images
STEPS, BATCH = 3000, 128  # of the classifier
COLUMNS = 16


class Judge(nn.Module):
    """A small CNN, whose last hidden layer are the features of the Fréchet distance."""

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        outside = 32
        while size > 4:
            layers += [nn.Conv2d(channels, outside, 3, stride=2, padding=1), nn.BatchNorm2d(outside), nn.ReLU()]
            channels, outside, size = outside, min(2 * outside, 96), -(-size // 2)
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * size**2, 64), nn.ReLU())
        self.last = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.features(x))

    @classmethod
    def trained(cls, images: Tensor, labels: Tensor) -> Self:
        """On uint8 images `(N, C, S, S)`; AdamW, one cycle."""
        torch.manual_seed(0)
        net = cls(images.shape[1], images.shape[-1], int(labels.max()) + 1)
        optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.01, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)
        for _ in range(STEPS):
            batch = torch.randint(len(images), (BATCH,))
            loss = nn.functional.cross_entropy(net(images[batch].float() / 255), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return net.eval()

    @torch.no_grad()
    def moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and covariance of the features of uint8 images."""
        found = torch.cat([self.features(part.float() / 255) for part in images.split(500)]).double()
        return found.mean(0), found.T.cov()


def frechet_distance(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> float:
    """Between two Gaussians, each a mean and a covariance (Heusel et al., NeurIPS 2017, there of Inception's features)."""
    (a, cov_a), (b, cov_b) = one, other
    # the eigenvalues of a product of covariances are real, but for rounding
    of_both = torch.linalg.eigvals(cov_a @ cov_b).real.clamp_min(0).sqrt().sum()
    return float((a - b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * of_both)


def nearest_distance(images: Tensor, training: Tensor) -> Tensor:
    """From each uint8 image to the nearest training image: `(N,)`, of pixels in [0, 1]."""
    known = training.flatten(1).float() / 255
    lengths, found = known.square().sum(1), []
    for part in images.split(250):
        x = part.flatten(1).float() / 255
        found.append((x.square().sum(1, keepdim=True) + lengths - 2 * x @ known.T).min(1).values.clamp_min(0).sqrt())
    return torch.cat(found)


@dataclass(frozen=True)
class Images:
    """Real images and weights that have seen those to train on.

    Args:
        training, test: uint8 images and their labels.
    """

    name: str
    training: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    weights: Weights

    @cached_property
    def judge(self) -> Judge:
        return Judge.trained(*self.training)

    @cached_property
    def near(self) -> float:
        """Half the median distance of test images to the nearest training image."""
        return float(nearest_distance(self.test[0][:COMPARED], self.training[0]).median()) / 2

    @classmethod
    def bundled(cls, name: str, root: str | None) -> Self:
        data = datasets.load(name, 1, 28, root)
        labels = datasets.TORCHVISION[name](str(datasets.root_folder(root)), train=True).targets
        assert data.test_labels is not None
        return cls(name, (data.train, labels), (data.test, data.test_labels), load_weights(name))

    @classmethod
    def folder(cls, images: Path, weights: str) -> Self:
        loaded = load_weights(weights)
        training, test = (read(part, loaded.vae.channels, loaded.vae.size) for part in parts(images))
        order = torch.randperm(len(test[0]), generator=torch.Generator().manual_seed(0))  # files are sorted by class
        return cls(images.resolve().name, training, (test[0][order], test[1][order]), loaded)

    def draw(self, source: str, draw: int, count: int = SAMPLES) -> Tensor:
        """uint8 images of a source, in random order."""
        torch.manual_seed(draw)
        if source in REAL:
            images = self.test[0] if source == "test" else self.training[0]
            return images[torch.randperm(len(images))[:count]]
        if source in PYTHAE:
            from .peers import pythae_samples  # noqa: PLC0415 (two sources need it)

            return as_bytes(
                pythae_samples(source.removeprefix("pythae-"), self.weights.vae, self.training[0], count, draw)
            )
        if source in OF_A_FIT:
            few = draw_of(self.training[1], LABELS, draw)
            fitted = VAEAugment(self.weights).fit(self.training[0][few], self.training[1][few])
            fitted.novelty = 0 if source == "decoded" else fitted.novelty
            labels = self.test[1][torch.randint(len(self.test[1]), (count,))]
            return as_bytes(torch.cat([fitted.sample(part) for part in labels.split(1000)]))
        augment = VAEAugment(self.weights)
        prior: Any = {
            "mixture": lambda: stored_prior(self.weights.vae, self.training[0]),
            "normal": lambda: StandardNormal(self.weights.vae.latent_shape),
            "generate": lambda: None,
        }[source]()
        return as_bytes(torch.cat([augment.generate(min(1000, count), prior=prior) for _ in range(-(-count // 1000))]))

    def measure(self, source: str, draw: int) -> dict[str, float]:
        images = self.draw(source, draw)
        found = {}
        if source != "training":  # they are their own nearest
            distance = nearest_distance(images[:COMPARED], self.training[0])
            found = {"distance": float(distance.median()), "near": 100 * float((distance < self.near).float().mean())}
        if source != "test":
            found["fd"] = frechet_distance(self.judge.moments(images), self.judge.moments(self.test[0]))
        return {name: round(value, 3) for name, value in found.items()}


def as_bytes(images: Tensor) -> Tensor:
    return (images * 255).round().to(torch.uint8)


def table() -> str:
    """Means over draws of the stored figures."""
    rows = stored(RESULTS)
    lines = [
        "| data set | source | draws | distance to the nearest training image | near copies | Fréchet distance |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for data in dict.fromkeys(row["data"] for row in rows):
        for source in SOURCES:
            of_source = {row["draw"]: row for row in rows if (row["data"], row["source"]) == (data, source)}
            if not of_source:
                continue
            cells = [mean_of(list(of_source.values()), *column) for column in COLUMNS_OF_TABLE]
            lines.append(f"| {data} | {source} | {len(of_source)} | {' | '.join(cells)} |")
    return "\n".join(lines)


COLUMNS_OF_TABLE = (("distance", "{:.2f}"), ("near", "{:.1f} %"), ("fd", "{:.1f}"))


def mean_of(rows: list[dict[str, Any]], name: str, form: str) -> str:
    values = [row[name] for row in rows if name in row]
    return form.format(fmean(values)) if values else ""


def picture(data: list[Images], sources: list[str], path: Path) -> None:
    """A row of images for each source, one data set below the other."""
    drawn = [each.draw(source, 0, COLUMNS) for each in data for source in sources]
    width = max(images.shape[-1] for images in drawn)
    padded = [nn.functional.pad(images, (0, width - images.shape[-1]) * 2) for images in drawn]
    to_pil_image(make_grid(torch.cat(padded), nrow=COLUMNS, padding=1, pad_value=128)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=[], choices=["mnist", "fashion-mnist"])
    parser.add_argument("--images", type=Path, help="folder of train/CLASS/ and test/CLASS/ or val/CLASS/")
    parser.add_argument("--weights", help="of these: folder or Hub id")
    parser.add_argument("--sources", nargs="+", default=[s for s in SOURCES if s not in PYTHAE], choices=SOURCES)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--root", default=os.environ.get(ROOT_VARIABLE))
    parser.add_argument("--picture", type=Path, help="draw a picture, and measure nothing")
    parser.add_argument("--table", action="store_true", help="print the table of the stored figures, measure nothing")
    options = parser.parse_args()
    if options.table:
        print(table())
        return
    torch.set_num_threads(1)
    origin = stamp()
    data = [Images.bundled(name, options.root) for name in options.data]
    data += [Images.folder(options.images, options.weights)] if options.images else []
    if options.picture:
        picture(data, options.sources, options.picture)
        return
    for each in data:
        for source in options.sources:
            for draw in range(1 if source in (*REAL, *PYTHAE) else options.draws):
                row = {"data": each.name, "source": source, "draw": draw, **each.measure(source, draw)}
                row |= origin
                print(json.dumps(row), flush=True)
                store(row, RESULTS)


if __name__ == "__main__":
    main()
