"""Image files of any kind and size, read into one uint8 tensor: in memory or, if it is too large, a memory-mapped file."""

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

MAX_UNREADABLE_FRACTION = 0.01  # of the images; with more, the data set itself is broken
MAX_NAMED_FILES = 5  # unreadable files that a message names
CHUNK = 256  # images that are read ahead at a time
CHANNEL_CHECK_IMAGES = 200  # images, spread over all, by which `detect_channels` judges
GREY_MODES = ("1", "L", "LA")  # of PIL
SUFFIXES = (*IMG_EXTENSIONS, ".gif", ".jfif", ".jpe", ".avif")
TRAIN_FOLDERS = ("train", "training")  # folders with these names are splits of a data set, not classes
HELD_OUT_FOLDERS = ("val", "valid", "validation", "dev", "eval", "test", "testing")


def find_images(folder: Path, skip_folders_with: str | None = None) -> list[Path]:
    """Return the sorted image files anywhere under a folder; links are followed, hidden files and folders left out.

    Args:
        folder: where to search.
        skip_folders_with: name of a file that marks subfolders to leave out.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: write folder:PATH, the folder that holds the images")
    files: list[Path] = []
    seen: set[str] = set()  # a link may lead back to a folder above it
    for path, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(path)
        if real in seen or (skip_folders_with in names and Path(path) != folder):
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
    # archives packed on a Mac hold __MACOSX, with half a file for each image
    return name.startswith(".") or name == "__MACOSX"


def labels_and_held_out(files: Sequence[Path], folder: Path) -> tuple[list[str | None], list[int]]:
    """Return the label of each file, and the indices of the files that lie in a test folder.

    A label is the name of the file's top subfolder, or None. If all top subfolders are named as splits (train, test or the
    like), labels are the subfolders of those.

    Raises:
        ValueError: there is a test folder but none to train on, or images beside both, which could belong to either.

    Example:
        >>> names = "train/cat/1.png", "train/dog/2.png", "test/dog/3.png"
        >>> labels_and_held_out([Path("photos", name) for name in names], Path("photos"))
        (['cat', 'dog', 'dog'], [2])
    """
    parts = [file.relative_to(folder).parts for file in files]
    tops = {part[0].lower() if len(part) > 1 else "" for part in parts}
    has_both = not (tops.isdisjoint(TRAIN_FOLDERS) or tops.isdisjoint(HELD_OUT_FOLDERS))
    if has_both and (strays := tops.difference(TRAIN_FOLDERS, HELD_OUT_FOLDERS)):
        names = ", ".join(sorted(f"{name}/" if name else "single files" for name in strays))
        raise ValueError(
            f"{folder} has folders of images to train on and to test on, and beside them {names}: move those away, or name "
            f"the folder to train on, folder:{folder / TRAIN_FOLDERS[0]}"
        )
    if not tops <= {*TRAIN_FOLDERS, *HELD_OUT_FOLDERS}:
        return [_folder_label(part) for part in parts], []
    if tops.isdisjoint(TRAIN_FOLDERS):
        raise ValueError(
            f"all images of {folder} are held out, in {', '.join(sorted(tops))}: put those to train on into "
            f"{folder / TRAIN_FOLDERS[0]}, or name the folder of the images itself"
        )
    held_out = [i for i, part in enumerate(parts) if part[0].lower() in HELD_OUT_FOLDERS]
    return [_folder_label(part[1:]) for part in parts], held_out


def _folder_label(parts: tuple[str, ...]) -> str | None:
    return parts[0] if len(parts) > 1 else None


def detect_channels(files: Sequence[Path]) -> int:
    """Return 1 if the images are grey, else 3; at most 200 of them, spread over all, are opened."""
    for file in files[:: len(files) // CHANNEL_CHECK_IMAGES + 1]:
        try:
            with Image.open(file) as image:
                if image.mode not in GREY_MODES and not image.mode.startswith(("I", "F")):
                    return 3
        except (OSError, ValueError):
            continue  # `read_images` reports it
    return 1


class TooManyBitsError(ValueError):
    """An intact image that a conversion to 8 bits would damage."""


def read_images(
    sources: Sequence[Any], open_image: Callable[[Any], Image.Image], channels: int, size: int, scratch: Path
) -> tuple[Tensor, list[int], list[str]]:
    """Read images, upright and resized to uint8 `(N, channels, size, size)`.

    Args:
        sources: files, or whatever `open_image` opens.
        open_image: a function from a source to its PIL image, e.g. `PIL.Image.open`.
        channels, size: of the result; 1 channel or 3.
        scratch: folder for a memory-mapped file, used if the images would take more than `memory_limit()`.

    Returns:
        The images, the indices of their sources, and a description of each source that could not be read.

    Raises:
        TooManyBitsError: an image has more than 8 bits a pixel.
        ValueError: another number of channels.
    """
    mode = {1: "L", 3: "RGB"}.get(channels)
    if mode is None:
        raise ValueError(f"image files have 1 or 3 channels, not {channels}: set --vae.channels")

    def read_one(source: Any) -> Tensor | Exception:
        try:
            with open_image(source) as image:
                return _to_tensor(image, mode, channels, size, source)
        except TooManyBitsError:
            raise
        except Exception as error:  # PIL raises errors of many types for damaged files
            return error

    out = _allocate((len(sources), channels, size, size), scratch)
    kept: list[int] = []
    unreadable: list[str] = []
    for index, pixels in enumerate(_map_in_threads(read_one, sources)):
        if isinstance(pixels, Tensor):
            out[len(kept)] = pixels
            kept.append(index)
        else:
            unreadable.append(f"{sources[index]} ({pixels})")
    return out[: len(kept)], kept, unreadable


def _map_in_threads(function: Callable[[Any], Any], sources: Sequence[Any]) -> Iterator[Any]:
    # threads are enough: decoding releases the interpreter's lock
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(sources), CHUNK):
            yield from pool.map(function, sources[start : start + CHUNK])


def _to_tensor(image: Image.Image, mode: str, channels: int, size: int, source: Any) -> Tensor:
    if image.mode.startswith(("I", "F")):
        raise TooManyBitsError(
            f"{source} has more than 8 bits a pixel (PIL mode {image.mode}): scale it to 8 bits first"
        )
    image.draft(mode, (2 * size, 2 * size))  # a JPEG is decoded at about the size that is needed
    upright = ImageOps.exif_transpose(image)
    x, _ = to_model(upright.convert(mode), channels, size)
    return (x[0] * 255).round().to(torch.uint8)


def report_unreadable(unreadable: list[str], count: int) -> None:
    """Warn of the images that are left out, of `count` in all, and name the first of them.

    Raises:
        ValueError: more than one in a hundred is unreadable.
    """
    if not unreadable:
        return
    named = "; ".join(unreadable[:MAX_NAMED_FILES]) + ("; ..." if len(unreadable) > MAX_NAMED_FILES else "")
    message = f"{len(unreadable)} of {count} images cannot be read: {named}"
    if len(unreadable) > MAX_UNREADABLE_FRACTION * count:
        raise ValueError(f"{message}. That is more than 1 %: mend or remove them")
    warnings.warn(f"{message}. They are left out", stacklevel=3)


def _allocate(shape: tuple[int, ...], scratch: Path) -> Tensor:
    """Return an uninitialised uint8 tensor in memory, or memory-mapped if it exceeds `memory_limit()`."""
    count = torch.Size(shape).numel()
    if count <= memory_limit():
        return torch.empty(shape, dtype=torch.uint8)
    scratch.mkdir(parents=True, exist_ok=True)
    file = tempfile.NamedTemporaryFile(dir=scratch, prefix="images-", delete=False)  # noqa: SIM115 (its name is needed)
    with file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, count)  # a full disk raises here, instead of a crash while writing
    mapped = torch.from_file(file.name, shared=True, size=count, dtype=torch.uint8).view(shape)
    with contextlib.suppress(PermissionError):  # Windows
        os.unlink(file.name)  # the mapping keeps the data until the process ends, however it ends
    return mapped


def memory_limit() -> int:
    """Return the bytes that images may take in memory: $VAE_AUGMENT_MEMORY, else half of the machine's memory."""
    if limit := os.environ.get("VAE_AUGMENT_MEMORY"):
        return int(limit)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):  # not on every system
        return 8 * 2**30
