"""The picture of a data card: some images of each class, as they were written."""

import io
from collections.abc import Callable, Sequence

import numpy as np
import PIL.Image

from .contents import Contents
from .png import from_png

CLASSES, COLUMNS, TILE, GAP = 12, 8, 64, 2  # rows and columns of images; pixels


def shown_rows(contents: Contents) -> list[list[int]]:
    """The rows of the data set that each row of the picture shows: synthetic ones, of the first classes that have some."""
    new = np.arange(contents.real, len(contents))
    if contents.targets is None:
        return [new[a : a + COLUMNS].tolist() for a in range(0, min(len(new), CLASSES * COLUMNS), COLUMNS)]
    of_class = [new[contents.targets[contents.real :] == c] for c in range(len(contents.classes))]
    return [rows[:COLUMNS].tolist() for rows in of_class if len(rows)][:CLASSES]


def gallery(contents: Contents, read: Callable[[Sequence[int]], list[bytes]]) -> bytes:
    """The picture as PNG."""
    lines = shown_rows(contents)
    pngs = iter(read([row for line in lines for row in line]))
    step = TILE + GAP
    canvas = PIL.Image.new("RGB", (step * max(map(len, lines)) - GAP, step * len(lines) - GAP), "white")
    for y, line in enumerate(lines):
        for x in range(len(line)):
            tile = _tile(from_png(next(pngs)))
            left, top = (TILE - tile.width) // 2, (TILE - tile.height) // 2
            canvas.paste(tile, (x * step + left, y * step + top), tile)
    file = io.BytesIO()
    canvas.save(file, "PNG")
    return file.getvalue()


def _tile(image: PIL.Image.Image) -> PIL.Image.Image:
    """An image as large as fits; small ones in whole multiples, so that their pixels are seen."""
    image = image.convert("RGBA")
    scale = TILE / max(image.size)
    if scale >= 1:
        return image.resize((image.width * int(scale), image.height * int(scale)), PIL.Image.Resampling.NEAREST)
    side = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(side, PIL.Image.Resampling.LANCZOS)
