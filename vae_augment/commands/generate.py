"""Write synthetic images to a folder: new ones of each class of yours, with labels and a card.

  vae-augment generate photos --out more --count 2000            write me 2,000 images
  vae-augment generate photos --out balanced --per-class 500 --include-real
                                                                 fill each class up to 500, real ones beside
  vae-augment generate photos --out more --counts rare=500,other=50
  vae-augment generate FashionMNIST --out set --ratio 1 --format parquet
  vae-augment generate photos --out more --ratio auto            as many as help a classifier of these classes, or none
  vae-augment generate flowers --out petals --count 200          of weights alone: images of no class
  vae-augment generate sample --out try --count 100              the 500 shipped garments: nothing to download

SOURCE is a folder with one folder of images a class, a class of torchvision.datasets, hf:NAME, sample, or a name of weights: a
bundled one, a folder with config.json, or user/repo of the Hub. Nothing is downloaded, but weights of that last kind.

Where the weights have a bank of latents, labels of at most 100 images a class are spread over it, and new images of each class
are drawn. With --strength, and with weights that have none, images of SOURCE are varied instead.

Killed or stopped, the same command goes on where it was, and the files come out with the same bytes. So they do for any number
of processes, also on several machines that share the folder:

  torchrun --nproc-per-node 2 -m vae_augment generate photos --out more --count 2000
"""

import argparse
import contextlib
import math
import re
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from .. import hub
from ..amounts import proportional_counts
from ..base_fit import bundled_for
from ..dataset import SyntheticDataset
from ..export import FORMATS, MOST_IMAGES, Classes, Contents, Making, Writer, claim, identity_of
from ..images import untransformed_reader
from ..options import LARGEST_STRENGTH
from ..seeding import global_seed
from ..source import LabelledImages, open_source
from ..transform import VAEAugment
from . import last_name, plain_warnings, process, show, usage, whole

AMOUNTS = ("count", "ratio", "share", "per_class", "counts")
BY_CLASS = ("ratio", "share", "per_class", "counts")
MOST_SHOWN = 10  # classes that a line names
MOSTLY = 0.7  # of the labels: of fewer it is told what that means


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="what the images are made from, see above")
    parser.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    amount = parser.add_argument_group("how many synthetic images, in exactly one way").add_mutually_exclusive_group(
        required=True
    )
    amount.add_argument(
        "--count", type=whole, metavar="N", help="so many in all, of each class as large a part as it has of SOURCE"
    )
    amount.add_argument(
        "--ratio", type=_ratio, metavar="R", help="so many for each real image: 0.5; or auto, as your labels say"
    )
    amount.add_argument(
        "--share",
        type=_share,
        metavar="S",
        help="so that of real and synthetic images together this part is synthetic, from 0 to 1: 0.5 is --ratio 1",
    )
    amount.add_argument(
        "--per-class",
        type=whole,
        metavar="N",
        help="so many that each class has N, real ones counted, the smallest first; a class with more gets none",
    )
    amount.add_argument("--counts", type=_counts, metavar="A=N,B=M", help="so many of each named class")
    parser.add_argument("--weights", metavar="NAME", help="default: the bundled ones that draw SOURCE best")
    parser.add_argument("--root", metavar="DIR", help="where torchvision's data sets are; default $VAE_AUGMENT_DATA")
    parser.add_argument(
        "--strength", type=_strength, metavar="S", help="vary images of SOURCE so far, make no new ones"
    )
    parser.add_argument(
        "--novelty", type=_part, metavar="X", help="how far new images lie from known ones, from 0 to 1; default 0.85"
    )
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="another number, other images; default 0")
    parser.add_argument("--include-real", action="store_true", help="write the images of SOURCE, too")
    parser.add_argument("--format", choices=list(FORMATS), default="imagefolder", help="default imagefolder")
    parser.add_argument(
        "--shard-size", type=whole, metavar="N", help="most images of a file; default 1024, fewer of large ones"
    )
    parser.add_argument("--workers", type=whole, metavar="N", help="processes; default one for each core")


def run(options: argparse.Namespace) -> None:
    with plain_warnings():
        started = time.monotonic()
        with usage():
            rank, world_size = process()
            out = Path(options.out).expanduser()
            FORMATS[options.format].check()
            claim(out, command(options))  # what can be told soon is told before a fit
            writer = _of_weights(options, out) if _names_weights(options.source) else _of_source(options, out)
            writer.begin()
        if was_whole := writer.is_whole:
            show(f"{out} is whole: nothing was left to do")
        try:
            writer.run(options.workers, rank, world_size)
        except KeyboardInterrupt:
            left = f"{len(writer.missing()):,} of {len(writer.contents.shards):,} shards are left"
            print(f"stopped: {left}. The same command goes on", file=sys.stderr)
            raise
        except TypeError as error:  # an image that would be damaged
            raise ValueError(str(error)) from None
        if rank == 0 and not was_whole:
            _tell(writer, time.monotonic() - started)


def _of_source(options: argparse.Namespace, out: Path) -> Writer:
    if None not in (options.strength, options.novelty):
        raise ValueError("--strength varies images and --novelty is for new ones: leave one of them out")
    images = open_source(options.source, options.root)
    Classes.of(images.targets, images.classes).counts(options.counts or {})
    augment = _augment(options, options.weights or bundled_for(untransformed_reader(images, True), len(images)))
    dataset = SyntheticDataset(
        images,
        _ratio_of(options, len(images)),
        augment,
        fit=options.strength is None,
        ratio_seconds=math.inf,  # no fold is left out for want of time: the same command chooses the same, everywhere
    )
    if (report := dataset.ratio_report) is not None:
        for line in str(report).splitlines():
            show(line)
        if report.ratio == 0:
            raise ValueError("--ratio auto chose 0, nothing is written: leave samples out, or say how many")
    writer = dataset.writer(
        out,
        per_class=options.per_class,
        counts=options.counts if options.count is None else _split(options.count, images),
        format=options.format,
        include_real=options.include_real,
        seed=options.seed,
        shard_size=options.shard_size,
        how=command(options),
    )
    if process()[0] == 0:
        show(_found(images, dataset))
    return writer


def _found(images: LabelledImages, dataset: SyntheticDataset) -> str:
    """What was understood of the images, and what the fit says of them: a folder of one kind too many shows here."""
    of_class = Counter(images.targets)
    shown = [f"{images.classes[label]} ({count:,})" for label, count in sorted(of_class.items())[:MOST_SHOWN]]
    more = f" and {len(of_class) - MOST_SHOWN:,} more" if len(of_class) > MOST_SHOWN else ""
    augment = dataset.augment
    assert isinstance(augment, VAEAugment)
    line = f"{len(of_class):,} classes: {', '.join(shown)}{more}. Weights: {identity_of(augment)[0]}"
    report = augment.fit_report
    side, (width, height) = augment.vae.size, images[0][0].size
    if report is not None and any(report.kept.values()) and max(width, height) > side:
        line += (
            f", which draw {side}x{side} pixels: new images lack finer detail, that yours of {width}x{height} may have"
        )
    if report is None or not report.judged:
        return line
    line += f". Of {report.judged:,} labels held out they find {report.accuracy:.0%}"
    if report.accuracy >= MOSTLY or not any(report.kept.values()):  # else images of the right class are varied
        return line
    return f"{line}: many new images show another class, see vae-augment report"


def _split(count: int, images: LabelledImages) -> dict[str, int]:
    """So many, of each class as large a part as it has of the images."""
    return {images.classes[label]: own for label, own in proportional_counts(images.targets, count).items()}  # type: ignore[index]


def _ratio_of(options: argparse.Namespace, real: int) -> float | Literal["auto"]:
    """Synthetic images for each real one; where they are asked for by class, any that makes some."""
    if options.count is not None:
        return float(options.count / real)
    if options.share is not None:
        return float(options.share / (1 - options.share))
    return 1.0 if options.ratio is None else options.ratio


def _augment(options: argparse.Namespace, weights: str) -> VAEAugment:
    given = {name: value for name in ("strength", "novelty") if (value := getattr(options, name)) is not None}
    return VAEAugment.from_pretrained(weights, **given)


def _names_weights(source: str) -> bool:
    """Whether this names weights and no images: a bundled name, a folder with config.json, or user/repo where no folder is."""
    if source in hub.bundled() or (Path(source).expanduser() / "config.json").is_file():
        return True
    return re.fullmatch(r"[\w.-]+/[\w.-]+", source) is not None and not Path(source).exists()


def _of_weights(options: argparse.Namespace, out: Path) -> Writer:
    for name in (*BY_CLASS, "weights", "strength", "root"):
        if getattr(options, name) is not None:
            raise ValueError(
                f"{options.source!r} names weights, whose images have no classes and no originals, and --"
                f"{name.replace('_', '-')} is for images: write --count N, or name a folder of images as SOURCE"
            )
    if options.include_real:
        raise ValueError(f"{options.source!r} names weights, which have no real images: leave --include-real out")
    augment = _augment(options, options.source)
    name, revision = identity_of(augment)
    contents = Contents(
        name=f"the weights {name}",
        sources=np.full(options.count, -1),
        targets=None,
        classes=(),
        real=0,
        seed=options.seed,
        making=Making("prior", name, revision, novelty=augment.novelty, has_bank=augment.bank is not None),
        pixels=augment.vae.size**2,
        shard_size=options.shard_size,
    )
    return Writer(out, options.format, contents, Generated(augment), command(options))


@dataclass(frozen=True)
class Generated:
    """Images of no class, as a `Maker` gives them."""

    augment: VAEAugment

    def real_images(self, sources: Sequence[int]) -> list[Any]:
        return []

    def new_images(self, sources: Sequence[int], seed: int) -> list[Tensor]:
        with global_seed(seed):
            return list(self.augment.generate(len(sources)))


def command(options: argparse.Namespace) -> str:
    """The command that writes the same, for the card: of folders the last name, and nothing that changes no byte."""
    words = [
        "vae-augment",
        "generate",
        last_name(options.source),
        "--out",
        Path(options.out).expanduser().absolute().name,
    ]
    for name in (*AMOUNTS, "weights", "strength", "novelty", "seed", "shard_size"):
        if (value := getattr(options, name)) is None or (name == "seed" and value == 0):
            continue
        if isinstance(value, dict):
            value = ",".join(f"{key}={count}" for key, count in value.items())
        words += [f"--{name.replace('_', '-')}", last_name(value) if name == "weights" else str(value)]
    words += ["--include-real"] if options.include_real else []
    words += ["--format", options.format] if options.format != "imagefolder" else []
    return shlex.join(words)


def _tell(writer: Writer, seconds: float) -> None:
    contents = writer.contents
    new = len(contents) - contents.real
    real = f" and {contents.real:,} real" if contents.real else ""
    many = contents.classes_made
    of = f" of {many} class{'' if many == 1 else 'es'}" if many else ""
    what = f"{new:,} synthetic{real} images{of}, {writer.form}"
    show(f"{writer.folder}: {what}, in {seconds:.1f} s. README.md says how to read them")


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to 10^18: write one, as 1")
    return int(text)


def _number(text: str, is_right: Callable[[float], bool], wanted: str) -> float:
    with contextlib.suppress(ValueError):
        if is_right(value := float(text)):
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is no number {wanted}")


def _part(text: str) -> float:
    return _number(text, lambda x: 0 <= x <= 1, "from 0 to 1: write one, as 0.85")


def _share(text: str) -> float:
    return _number(text, lambda x: 0 < x < 1, "between 0 and 1: write the synthetic part of all images, as 0.5")


def _ratio(text: str) -> float | Literal["auto"]:
    if text == "auto":
        return "auto"
    return _number(
        text, lambda x: 0 < x <= MOST_IMAGES, "above 0: write synthetic images for each real one, as 0.5, or auto"
    )


def _strength(text: str) -> float:
    return _number(text, lambda x: 0 <= x <= LARGEST_STRENGTH, "from 0 on: write one, as 0.7; 1 is a visible change")


def _counts(text: str) -> dict[str, int]:
    """`A=N,B=M`; a name may hold commas and equals signs."""
    counts: dict[str, int] = {}
    rest = text
    while rest:
        match = re.match(r"(.+?)=(\d{1,9})(,|$)", rest, re.DOTALL)
        if match is None:
            raise argparse.ArgumentTypeError(
                f"{rest!r} does not say how many of which class: write CLASS=NUMBER,CLASS=NUMBER"
            )
        if match[1] in counts:
            raise argparse.ArgumentTypeError(f"{match[1]!r} is counted twice: write each class once")
        counts[match[1]] = int(match[2])
        rest = rest[match.end() :]
    if not counts:
        raise argparse.ArgumentTypeError("no class is named: write CLASS=NUMBER,CLASS=NUMBER")
    return counts
