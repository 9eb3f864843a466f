"""Report: what was found, printed, and written as a page with JSON beside it, each whole or not at all."""

import os
from dataclasses import dataclass
from pathlib import Path

from ..atomic import atomic_write
from ..version import __version__
from .page import page
from .result import Findings

SUFFIXES = (".html", ".htm")


@dataclass(frozen=True, eq=False)
class Report(Findings):
    """What is known of synthetic images: `print` shows it, `save` writes a page and JSON; see `Findings` for its parts."""

    def save(self, path: str | os.PathLike[str]) -> tuple[Path, Path]:
        """Write a page, which needs nothing else, and the JSON of `to_json` beside it under the same name. Returns both paths.

        Raises:
            ValueError: the name does not end in .html.
            FileNotFoundError: its folder is not there.
        """
        page_path = checked_path(path)
        json_path = page_path.with_suffix(".json")
        atomic_write(json_path, self.to_json().encode())
        atomic_write(page_path, page(self, __version__).encode())
        return page_path, json_path


def checked_path(path: str | os.PathLike[str]) -> Path:
    """The path of a page, before time is spent on it.

    Raises:
        ValueError: it does not end as a page does.
        FileNotFoundError: its folder is not there.
    """
    page_path = Path(path).expanduser()
    if page_path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"a report is a page, got {str(path)!r}: name it with .html at its end")
    if not page_path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {page_path.parent}: make it first, or name another")
    return page_path
