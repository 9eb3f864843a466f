"""Image files of any kind and size -> one uint8 tensor, in memory or, if it is too large, in a memory-mapped file."""

import contextlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from .convert import to_model

MOST_BROKEN = 0.01  # part of the images; with more, the data set itself is broken
SHOWN = 5  # of their names
AHEAD = 256  # images read at a time
GREY_MODES = ("1", "L", "LA")
SUFFIXES = (*IMG_EXTENSIONS, ".gif", ".jfif", ".jpe", ".avif")
TRAIN = ("train", "training")  # folders of these names are parts of a data set, not classes
HELD_OUT = ("val", "valid", "validation", "dev", "eval", "test", "testing")


def find(folder: Path) -> list[Path]:
    """Image files anywhere under a folder and what is linked there, sorted; nothing hidden, no pictures of a run.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: write folder:PATH, the folder that holds the images")
    files: list[Path] = []
    seen: set[str] = set()  # a link may lead to where it is
    for path, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(path)
        if real in seen or ("training.yaml" in names and Path(path) != folder):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        files += [Path(path, name) for name in names if name.lower().endswith(SUFFIXES) and not _is_hidden(name)]
    files = sorted(file for file in files if file.is_file())
    if not files:
        raise FileNotFoundError(f"no images under {folder}: expected files named *{', *'.join(SUFFIXES)}")
    return files


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"  # of archives packed on a Mac, with half a file for each


def labels_of(files: Sequence[Path], folder: Path) -> tuple[list[str | None], list[int]]:
    """The label of each file, the name of its top subfolder, or None; and which of them a test folder holds out.

    Where all are in folders named as the parts of a data set, train and test or the like, labels are the folders in those.

    Raises:
        ValueError: there is a test folder, but none to train on, or images beside both, which could be of either.
    """
    parts = [file.relative_to(folder).parts for file in files]
    tops = {part[0].lower() if len(part) > 1 else "" for part in parts}
    held_out: list[int] = []
    if beside := not (tops.isdisjoint(TRAIN) or tops.isdisjoint(HELD_OUT)) and tops.difference(TRAIN, HELD_OUT):
        names = ", ".join(sorted(f"{name}/" if name else "single files" for name in beside))
        raise ValueError(
            f"{folder} has folders of images to train on and to test on, and beside them {names}: move those away, or name "
            f"the folder to train on, folder:{folder / TRAIN[0]}"
        )
    if tops <= {*TRAIN, *HELD_OUT}:
        if tops.isdisjoint(TRAIN):
            raise ValueError(
                f"all images of {folder} are held out, in {', '.join(sorted(tops))}: put those to train on into "
                f"{folder / TRAIN[0]}, or name the folder of the images itself"
            )
        held_out = [i for i, part in enumerate(parts) if part[0].lower() in HELD_OUT]
        parts = [part[1:] for part in parts]
    return [part[0] if len(part) > 1 else None for part in parts], held_out


def channels_of(files: Sequence[Path], most: int = 200) -> int:
    """1 if the images are grey, judged by at most 200 of them spread over all, else 3."""
    for file in files[:: len(files) // most + 1]:
        try:
            with Image.open(file) as image:
                if image.mode not in GREY_MODES and not image.mode.startswith(("I", "F")):
                    return 3
        except (OSError, ValueError):
            continue  # told when it is read
    return 1


class TooManyBitsError(ValueError):
    """An image that is whole, but would be damaged."""


def read(
    sources: Sequence[Any], open_image: Callable[[Any], Image.Image], channels: int, size: int, scratch: Path
) -> tuple[Tensor, list[int], list[str]]:
    """The images, uint8 `(N, channels, size, size)`, which of the sources they are, and what is wrong with the others.

    Args:
        sources: files, or whatever `open_image` reads.
        scratch: folder for a memory-mapped file, if the images would take more than half of the memory.

    Raises:
        TooManyBitsError: an image has more than 8 bits a pixel.
    """
    mode = {1: "L", 3: "RGB"}.get(channels)
    if mode is None:
        raise ValueError(f"image files have 1 or 3 channels, not {channels}: set --vae.channels")

    def one(source: Any) -> Tensor | Exception:
        try:
            with open_image(source) as image:
                return _pixels(image, mode, channels, size, source)
        except TooManyBitsError:
            raise
        except Exception as error:  # PIL raises of many kinds for damaged files
            return error

    out = _room((len(sources), channels, size, size), scratch)
    kept: list[int] = []
    broken: list[str] = []
    for index, pixels in enumerate(_in_threads(one, sources)):
        if isinstance(pixels, Tensor):
            out[len(kept)] = pixels
            kept.append(index)
        else:
            broken.append(f"{sources[index]} ({pixels})")
    return out[: len(kept)], kept, broken


def open_file(file: Path) -> Image.Image:
    return Image.open(file)


def _in_threads(one: Callable[[Any], Any], sources: Sequence[Any]) -> Iterator[Any]:
    # decoding leaves the interpreter's lock, so that threads are enough
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(sources), AHEAD):
            yield from pool.map(one, sources[start : start + AHEAD])


def _pixels(image: Image.Image, mode: str, channels: int, size: int, source: Any) -> Tensor:
    if image.mode.startswith(("I", "F")):
        raise TooManyBitsError(
            f"{source} has more than 8 bits a pixel (PIL mode {image.mode}): scale it to 8 bits first"
        )
    image.draft(mode, (2 * size, 2 * size))  # a JPEG is decoded at about the size that is needed
    upright = ImageOps.exif_transpose(image)
    x, _ = to_model(upright.convert(mode), channels, size)
    return (x[0] * 255).round().to(torch.uint8)


def tell_broken(broken: list[str], count: int) -> None:
    """Name the broken ones of so many images, which are left out.

    Raises:
        ValueError: they are more than one in a hundred.
    """
    if not broken:
        return
    named = "; ".join(broken[:SHOWN]) + ("; ..." if len(broken) > SHOWN else "")
    message = f"{len(broken)} of {count} images cannot be read: {named}"
    if len(broken) > MOST_BROKEN * count:
        raise ValueError(f"{message}. That is more than 1 %: mend or remove them")
    warnings.warn(f"{message}. They are left out", stacklevel=3)


def _room(shape: tuple[int, ...], scratch: Path) -> Tensor:
    """An uint8 tensor in memory, or on the disk if it would take more than half of the memory."""
    count = torch.Size(shape).numel()
    if count <= memory_limit():
        return torch.empty(shape, dtype=torch.uint8)
    scratch.mkdir(parents=True, exist_ok=True)
    file = tempfile.NamedTemporaryFile(dir=scratch, prefix="images-", delete=False)  # noqa: SIM115 (its name is needed)
    with file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, count)  # a full disk is told now, not by a crash while writing
    mapped = torch.from_file(file.name, shared=True, size=count, dtype=torch.uint8).view(shape)
    with contextlib.suppress(PermissionError):  # Windows
        os.unlink(file.name)  # the mapping keeps it until the process ends, however it ends
    return mapped


def memory_limit() -> int:
    """Bytes that images may take in memory: $VAE_AUGMENT_MEMORY, else half of the machine's."""
    if limit := os.environ.get("VAE_AUGMENT_MEMORY"):
        return int(limit)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):  # not on every system
        return 8 * 2**30
