"""Grid: a table of pictures with titles, as data."""

from collections.abc import Sequence
from dataclasses import dataclass

import PIL.Image


@dataclass(frozen=True)
class Column:
    """Pictures under one title.

    Args:
        title: as "strength 0.5".
        cells: one for each row, of mode L, RGB or RGBA.
    """

    title: str
    cells: Sequence[PIL.Image.Image]


@dataclass(frozen=True)
class Grid:
    """Columns of as many pictures each.

    Args:
        columns: from left to right, one at least.
        rows: a title for each row; none: rows have no titles.

    Raises:
        ValueError: there is no picture, or columns differ in length.

    Example:
        >>> grid = Grid([Column("original", [PIL.Image.new("L", (28, 28))])], ["boot"])
        >>> grid.shape
        (1, 1)
    """

    columns: Sequence[Column]
    rows: Sequence[str] = ()

    def __post_init__(self) -> None:
        lengths = {len(column.cells) for column in self.columns}
        if len(lengths) != 1 or lengths == {0} or (self.rows and len(self.rows) not in lengths):
            raise ValueError(
                f"a grid needs columns of as many pictures each, got {[len(column.cells) for column in self.columns]} under "
                f"{len(self.rows)} row titles: give one for each row"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.columns[0].cells), len(self.columns)
