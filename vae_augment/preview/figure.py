"""A grid as a matplotlib figure, each pixel of small images as a square of whole pixels. pyplot and its global state stay out."""

import io
from collections.abc import Sequence

import numpy as np
import PIL.Image

from .grid import Grid

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError(f"a preview is drawn by matplotlib: pip install 'vae-augment[app]' ({error})") from error

CELL = 112  # pixels of a cell's longer side at least: titles as "PosteriorSample" need them
LARGEST_CELL = 192  # of photographs
DPI, GAP, TITLE = 100, 6, 26  # pixels: between cells, and for the titles above
POINTS = 8  # of letters
LETTER = 6.6  # pixels that one takes, about
LONGEST_TITLE = 24  # letters of a row's title; the rest is cut off


class PreviewFigure(Figure):
    """A matplotlib figure that shows itself in a notebook, whether or not pyplot was imported there."""

    def to_png(self) -> bytes:
        """The picture as a PNG file, the same bytes each time."""
        with io.BytesIO() as file:
            self.savefig(file, format="png", metadata={"Software": None})
            return file.getvalue()

    def _repr_png_(self) -> bytes:
        return self.to_png()


def draw(grid: Grid) -> PreviewFigure:
    """Draw a grid, originals at the left, titles above the columns and beside the rows."""
    cells = [[enlarged(cell) for cell in column.cells] for column in grid.columns]
    widths = [max(CELL, *(cell.width for cell in column)) for column in cells]
    heights = [max(column[row].height for column in cells) for row in range(len(cells[0]))]
    titles = [_cut(title) for title in grid.rows]
    left = GAP + (round(max(map(len, titles)) * LETTER) + GAP if any(titles) else 0)
    width, height = left + sum(widths) + GAP * len(widths), TITLE + sum(heights) + GAP * len(heights)
    figure = PreviewFigure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    for column, pictures, x, wide in zip(grid.columns, cells, _starts(left, widths), widths, strict=True):
        _write(figure, column.title, (x + wide / 2) / width, 1 - TITLE / 2 / height, "center")
        for cell, y, tall in zip(pictures, _starts(TITLE, heights), heights, strict=True):
            corner = x + (wide - cell.width) // 2, y + (tall - cell.height) // 2
            _show(figure, cell, corner, (width, height))
    for title, y, tall in zip(titles, _starts(TITLE, heights), heights, strict=False):
        _write(figure, title, (left - GAP) / width, 1 - (y + tall / 2) / height, "right")
    return figure


def enlarged(cell: PIL.Image.Image) -> PIL.Image.Image:
    """A cell in the size in which it is looked at: small ones by whole factors, so that their pixels stay squares."""
    longer = max(cell.size)
    if longer > LARGEST_CELL:
        size = [max(1, round(side * LARGEST_CELL / longer)) for side in cell.size]
        return cell.resize((size[0], size[1]), PIL.Image.Resampling.LANCZOS)
    factor = min(-(-CELL // longer), LARGEST_CELL // longer)
    return cell.resize((cell.width * factor, cell.height * factor), PIL.Image.Resampling.NEAREST)


def _show(figure: Figure, cell: PIL.Image.Image, corner: tuple[int, int], of: tuple[int, int]) -> None:
    """Put a cell onto the figure, its upper left corner at these pixels of so many."""
    (x, y), (width, height) = corner, of
    axes = figure.add_axes((x / width, 1 - (y + cell.height) / height, cell.width / width, cell.height / height))
    colours = cell.convert("RGB") if cell.mode == "L" else cell  # a map of greys would be off by one here and there
    axes.imshow(np.asarray(colours), interpolation="nearest", aspect="auto")
    axes.set_axis_off()


def _starts(first: int, lengths: Sequence[int]) -> list[int]:
    starts = [first]
    for length in lengths[:-1]:
        starts.append(starts[-1] + length + GAP)
    return starts


def _cut(title: str) -> str:
    return title if len(title) <= LONGEST_TITLE else f"{title[: LONGEST_TITLE - 1]}…"


def _write(figure: Figure, text: str, x: float, y: float, side: str) -> None:
    # a class may be called "$5": that is no formula
    figure.text(x, y, text, ha=side, va="center", fontsize=POINTS, color="black", parse_math=False)
