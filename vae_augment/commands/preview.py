"""Draw images beside what becomes of them: by strength, by jitter and, after a fit, by novelty.

vae-augment preview sample                         writes preview.png: six images that come with the package
vae-augment preview photos --rows 10 --out a.png   of a folder with one folder of images a class, or of images alone
vae-augment preview FashionMNIST --root data       of torchvision
vae-augment preview photos --serve                 a page with sliders, on this machine alone; Ctrl-C ends it

Where SOURCE has classes and the weights a bank, a fit is made, and the last columns are new images of each class.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from torch.utils.data import Subset

from .. import hub
from ..app import Subject, load_gradio, serve
from ..atomic import atomic_write
from ..options import LARGEST_STRENGTH
from ..preview import check_can_draw
from ..transform import VAEAugment
from . import printable, show, usage

MOST_ROWS = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="SOURCE", help="a folder, a class of torchvision.datasets, hf:NAME, or sample"
    )
    names = ", ".join(hub.bundled())
    parser.add_argument(
        "--weights", metavar="NAME", help=f"{names}, a folder, or user/repo; default: the bundled ones that suit"
    )
    parser.add_argument("--out", type=_png, default=Path("preview.png"), help="file to write; default preview.png")
    parser.add_argument("--rows", type=_whole(1, MOST_ROWS), default=6, help="how many images; default 6")
    parser.add_argument(
        "--strengths", type=_strength, nargs="+", default=[0.5, 1.0, 2.0], help="a column for each; default 0.5 1 2"
    )
    parser.add_argument(
        "--seed", type=_whole(0, 2**63 - 1), default=0, help="the same one draws the same picture; default 0"
    )
    parser.add_argument("--root", metavar="DIR", help="where torchvision's data sets are; default $VAE_AUGMENT_DATA")
    parser.add_argument("--serve", action="store_true", help="show a page with sliders instead, at http://127.0.0.1")
    parser.add_argument("--port", type=_whole(1, 65535), default=7860, help="of the page; default 7860")


def run(options: argparse.Namespace) -> None:
    try:
        (load_gradio if options.serve else check_can_draw)()  # before anything is computed
    except ImportError as error:
        raise ValueError(str(error)) from None
    with usage():
        if not options.serve and not options.out.parent.is_dir():
            raise FileNotFoundError(
                f"there is no folder {options.out.parent}: make it, or name another file with --out"
            )
        subject = Subject.open(options.source, options.weights, options.root)
    for note in subject.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    (_serve if options.serve else _draw)(subject, options)


def _draw(subject: Subject, options: argparse.Namespace) -> None:
    places = subject.places(options.rows)
    augment = subject.fitted or VAEAugment(subject.loaded)
    figure = augment.preview(
        Subset(subject.images, places), rows=len(places), strengths=options.strengths, seed=options.seed
    )
    atomic_write(options.out, figure.to_png())
    show(f"{options.out}: {len(places)} images, weights {subject.weights}, seed {options.seed}")


def _serve(subject: Subject, options: argparse.Namespace) -> None:
    page, address = serve(subject, options.port)
    show(f"{address} shows the page, to this machine alone; Ctrl-C ends it")
    sys.stdout.flush()
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        page.close(verbose=False)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"must be an integer from {low} to {high}, got {text!r}")
        return int(text)

    return read


def _strength(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= LARGEST_STRENGTH:
        raise argparse.ArgumentTypeError(f"must be numbers from 0 to {LARGEST_STRENGTH:g}, as 0.5 1 2, got {text!r}")
    return value


def _png(text: str) -> Path:
    if not text.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"must be the name of a PNG file, as preview.png, got {text!r}")
    if Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a folder: name a file in it, as {text}/preview.png")
    return Path(text)
