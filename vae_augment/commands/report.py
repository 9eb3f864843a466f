"""Say whether synthetic images may be trusted: a page with pictures, and a verdict.

    vae-augment report FashionMNIST made                          FashionMNIST's test images are the held-out ones
    vae-augment report photos made --held-out more-photos         folders with one folder of images a class
    vae-augment report photos made --out made.html                and made.json beside it

REAL are the images that the generator was made from, SYNTHETIC those that it made, as `vae-augment generate` writes them.
Held-out images are real ones that it has not seen; they say what real images would get in the place of synthetic ones. Each is a
folder with one folder of images a class, a class of torchvision.datasets, hf:NAME, or sample. Classes are matched by name.

Five words tell what is wrong, if anything: unrealistic, unvaried, copied, missing, label truth. The verdict is "use", "look" (at
what is flagged) or "do not use". The page explains each figure. Nothing is downloaded, and the page loads nothing.

That no copies are found is no proof of privacy.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from ..export import check_whole, real_files
from ..images import files, hugging_face
from ..report import ImageSet, Sets, checked_path, common_look, make_report, read_source
from ..source import LabelledImages, open_source
from . import plain_warnings, show, usage

LEAST_SIZE, MOST_SIZE = 8, 128  # pixels; more see no more in a minute


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("real", metavar="REAL", help="the images that the generator was made from")
    parser.add_argument("synthetic", metavar="SYNTHETIC", help="the images that it made")
    parser.add_argument(
        "--held-out",
        metavar="SOURCE",
        help="real images that it has not seen; default: REAL's own, else a fifth of REAL",
    )
    parser.add_argument("--out", metavar="FILE", default="report.html", help="the page; default report.html")
    parser.add_argument(
        "--size", type=_size, metavar="PIXELS", help="side at which images are compared; default: their own, up to 64"
    )
    parser.add_argument(
        "--features",
        metavar="NAME",
        help="network that compares images, as efficientnet-lite0; default: trained on REAL",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all chance; default 0")
    parser.add_argument("--root", metavar="DIR", help="where data sets of torchvision are")


def run(options: argparse.Namespace) -> None:
    with plain_warnings():
        with usage():
            checked_path(options.out)
            sets = _sets(options)
        report = make_report(sets, features=options.features, seed=options.seed)
        page, figures = report.save(options.out)
    for line in (*str(report).split("\n"), *report.notes, f"{page}, {figures}"):
        show(line)


def _sets(options: argparse.Namespace) -> Sets:
    for source in filter(None, (options.real, options.synthetic, options.held_out)):
        _refuse_unfinished(source)
    real, made = open_source(options.real, options.root), open_source(options.synthetic, options.root)
    held_out, notes = _held_out(options)
    sources = {"real": real, "synthetic": made} | ({"held-out": held_out} if held_out else {})
    channels, side = common_look(list(sources.values()))
    read = {what: read_source(source, channels, options.size or side, what) for what, source in sources.items()}
    synthetic = _without_real(*read["synthetic"], options.synthetic, notes)
    return Sets.of(read["real"], synthetic, read.get("held-out"), notes)


def _path(source: str) -> Path:
    """Where a source is, if it is a folder."""
    return Path(source.removeprefix("hf:").removeprefix("folder:")).expanduser()


def _refuse_unfinished(source: str) -> None:
    """Raise ValueError for a set that `generate` has begun and not written to its end."""
    path = _path(source)
    if not path.is_dir():
        return
    for folder in (path, path.absolute().parent):  # also for its train/ alone
        check_whole(folder)


def _without_real(
    images: ImageSet, classes: Sequence[str], source: str, notes: list[str]
) -> tuple[ImageSet, Sequence[str]]:
    """Leave out, with a note, the real images that `generate --include-real` wrote: all would be found copied."""
    is_real = torch.isin(images.index, torch.tensor(_real_places(source), dtype=torch.int64))
    if count := int(is_real.sum()):
        notes.append(f"{count:,} real images, written beside the synthetic ones by --include-real, were left out.")
    return images.at(~is_real), classes


def _real_places(source: str) -> list[int]:
    """Where the real images of a written set lie among those of `open_source`."""
    if source.startswith("hf:"):
        dataset = hugging_face.open_dataset(source.removeprefix("hf:"))[0]
        is_new = dataset["synthetic"][:] if "synthetic" in dataset.column_names else []
        return [place for place, known in enumerate(is_new) if known is False]
    folder = _path(source)
    if not (real := real_files(folder) | real_files(folder / "train")):
        return []
    found = files.find_images(folder, tell=False)
    held_out = set(files.labels_and_held_out(found, folder)[1])
    training = [file for place, file in enumerate(found) if place not in held_out]
    return [place for place, file in enumerate(training) if file in real]


def _held_out(options: argparse.Namespace) -> tuple[LabelledImages | None, list[str]]:
    """The held-out images, if there are such, and what to tell of them."""
    if options.held_out not in (None, options.real):
        return open_source(options.held_out, options.root), []
    try:
        found = open_source(options.real, options.root, test=True)
    except (ValueError, FileNotFoundError) as error:
        if options.held_out is not None:
            raise ValueError(f"--held-out {options.held_out}: the same as REAL, and {error}") from None
        return None, []
    return found, [f"Held-out images are those of {found.name} that are not for training."]


def _size(value: str) -> int:
    """A side in pixels."""
    if value.isdigit() and LEAST_SIZE <= int(value) <= MOST_SIZE:
        return int(value)
    raise argparse.ArgumentTypeError(f"must be a number of pixels from {LEAST_SIZE} to {MOST_SIZE}, got {value!r}")
