"""Image files of any size, decoded to one uint8 tensor: upright, over one flat colour, at one size."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import torch
from PIL import Image, JpegImagePlugin, UnidentifiedImageError
from torch import Tensor

from ..user_warning import warn
from .appearance import check_bits, has_transparency, over_flat_colour, upright
from .convert import to_model
from .memory import allocate, memory_limit, processors
from .spread import spread_places

# of PIL, which would start Ghostscript for an EPS, whatever the name of its file
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
HEIF = "HEIF"  # the format of pillow-heif, if that is installed
JPEG_START = b"\xff\xd8\xff"
MAX_PIXELS = 89_478_485  # of an image as it is decoded; PIL warns of more
MAX_JPEG_PIXELS = 4 * MAX_PIXELS  # of a JPEG, which is decoded at down to an eighth of its sides
REDUCED_PIXELS = 32_000_000  # from which an image is reduced before anything copies it
DECODING_BYTES = 10  # memory of each pixel while an image is read
MAX_UNREADABLE_FRACTION = 0.01  # of the images; with more, the data set itself is broken
MAX_NAMED_FILES = 5  # unreadable files that a message names
CHUNK = 256  # images that are read ahead at a time, at most
CHANNEL_CHECK_IMAGES = 200  # images, spread over all, by which `detect_channels` judges
GREY_MODES = ("1", "L", "LA")  # of PIL


@functools.cache
def formats() -> tuple[str, ...]:
    """Return the formats that are read: PIL's of `FORMATS`, and HEIF if pillow-heif is installed."""
    Image.init()
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    return tuple(name for name in (*FORMATS, HEIF) if name in Image.OPEN)


def open_image(file: Path | IO[bytes]) -> Image.Image:
    """Open an image file of one of the `formats`, without decoding it.

    Raises:
        OSError: no such file, or no image of these formats; PIL raises errors of other types for damaged files.
    """
    if isinstance(file, Path):
        with file.open("rb") as stream:
            start = stream.read(len(JPEG_START))
    else:
        start = file.read(len(JPEG_START))
        file.seek(0)
    if (
        start == JPEG_START
    ):  # without PIL's bound on pixels, which it takes before it knows at what size a JPEG is decoded
        return JpegImagePlugin.JpegImageFile(file)
    try:
        return Image.open(file, formats=formats())
    except UnidentifiedImageError:
        if isinstance(file, Path):
            raise
        raise UnidentifiedImageError(
            "the image is of no format that is read"
        ) from None  # PIL names the object in memory


def detect_channels(sources: Sequence[Any], open_image: Callable[[Any], Image.Image] = open_image) -> int:
    """Return 1 if the images are grey, else 3; at most 200 of them, spread over all, are opened."""
    for place in spread_places(len(sources), CHANNEL_CHECK_IMAGES).tolist():
        try:
            with open_image(sources[place]) as image:
                if image.mode not in GREY_MODES and not image.mode.startswith(("I", "F")):
                    return 3
        except Exception:  # PIL raises errors of many types for damaged files
            continue  # `read_images` reports it
    return 1


def read_images(
    sources: Sequence[Any],
    open_image: Callable[[Any], Image.Image],
    channels: int,
    size: int,
    scratch: Path,
    kind: str = "",
) -> tuple[Tensor, list[int], list[str]]:
    """Read images, upright, transparent ones over white, and resized to uint8 `(N, channels, size, size)`.

    Args:
        sources: files, or whatever `open_image` opens.
        open_image: a function from a source to its PIL image, e.g. the one of this file.
        channels, size: of the result; 1 channel or 3.
        scratch: folder for a memory-mapped file, used if the images would take more than `memory_limit()`.
        kind: written before a source in messages.

    Returns:
        The images, the indices of their sources, and a description of each source that could not be read.

    Raises:
        ValueError: another number of channels.
    """
    mode = {1: "L", 3: "RGB"}.get(channels)
    if mode is None:
        raise ValueError(
            f"image files have 1 or 3 channels, not {channels}: set --vae.channels, or give array:FILE.npy"
        )
    budget = PixelBudget(memory_limit() // 4 // DECODING_BYTES)

    def read_one(source: Any) -> Tensor | Exception:
        try:
            with open_image(source) as image:
                return _to_tensor(image, mode, channels, size, f"{kind}{source}", budget)
        except Exception as error:  # PIL raises errors of many types for damaged files
            return error

    out = allocate((len(sources), channels, size, size), scratch)
    kept: list[int] = []
    unreadable: list[str] = []
    for index, pixels in enumerate(_map_in_threads(read_one, sources, channels * size * size)):
        if isinstance(pixels, Tensor):
            out[len(kept)] = pixels
            kept.append(index)
        else:
            unreadable.append(f"{kind}{sources[index]} ({pixels})")
    return out[: len(kept)], kept, unreadable


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
    warn(f"{message}. They are left out")


class PixelBudget:
    """Pixels that threads may decode at a time; an image of more than all of them waits until it is alone."""

    def __init__(self, pixels: int) -> None:
        self._free = self._all = max(1, pixels)
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def taking(self, pixels: int) -> Iterator[None]:
        """Take pixels within, as soon as so many are free."""
        taken = min(pixels, self._all)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= taken)
            self._free -= taken
        try:
            yield
        finally:
            with self._changed:
                self._free += taken
                self._changed.notify_all()


def check_pixels(image: Image.Image) -> None:
    """Raise ValueError if an image that is not decoded yet would take too much memory."""
    pixels, jpeg = image.width * image.height, isinstance(image, JpegImagePlugin.JpegImageFile)
    # all of a progressive JPEG is in memory at once, at whatever size it is decoded
    most = MAX_JPEG_PIXELS if jpeg and "progressive" not in image.info else MAX_PIXELS
    if pixels > most:
        raise ValueError(f"{image.width}x{image.height} pixels are more than the {most:,} that are read: scale it down")


def _map_in_threads(function: Callable[[Any], Any], sources: Sequence[Any], result_bytes: int) -> Iterator[Any]:
    threads = processors()  # they are enough: decoding releases the interpreter's lock
    ahead = max(threads, min(CHUNK, memory_limit() // 8 // result_bytes))
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(sources), ahead):
            yield from pool.map(function, sources[start : start + ahead])


def _to_tensor(image: Image.Image, mode: str, channels: int, size: int, source: str, budget: PixelBudget) -> Tensor:
    check_bits(image, source)
    check_pixels(image)
    image.draft(mode, (2 * size, 2 * size))  # a JPEG is decoded at about the size that is needed
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise ValueError(
            f"{image.width}x{image.height} pixels are more than the {MAX_PIXELS:,} that are read: scale it down"
        )
    with budget.taking(pixels):
        seen = upright(image)
        if pixels > REDUCED_PIXELS:
            seen = _reduced(seen, size)
        seen = over_flat_colour(seen)
        x, _ = to_model(seen if seen.mode == mode else seen.convert(mode), channels, size)
    return (x[0] * 255).round().to(torch.uint8)


def _reduced(image: Image.Image, size: int) -> Image.Image:
    """Reduce an image to no less than twice the size that is needed."""
    if image.mode not in ("L", "RGB", "LA", "RGBA"):  # a palette's numbers have no mean
        image = image.convert("RGBA" if has_transparency(image) else "RGB")
    return image.reduce(max(1, min(image.width, image.height) // (2 * size)))
