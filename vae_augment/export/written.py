"""What a set that was written says of itself: whether it is whole, and which of its images are real."""

import json
import re
from pathlib import Path

from .writer import CARD, PLAN

LONGEST_COMMAND = 300  # characters of it that are shown


def check_whole(folder: Path) -> None:
    """Raise ValueError for the folder of a set that was begun and not written to its end; other folders pass."""
    if (folder / PLAN).is_file() and not (folder / CARD).is_file():
        raise ValueError(
            f"{folder} is not whole: it is still being written, or was stopped. Run the same command again, where it was run "
            f"before, which goes on: {_begun_by(folder)}"
        )


def _begun_by(folder: Path) -> str:
    """The command that a set's plan names, if it is one of ours and no more: the set may be a stranger's."""
    try:
        how = str(json.loads((folder / PLAN).read_text(errors="replace"))["how"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        how = ""
    is_ours = len(how) <= LONGEST_COMMAND and re.fullmatch(r"vae-augment generate [\w .,=:/'+-]+", how)
    return how if is_ours else "vae-augment generate"


def real_files(folder: Path) -> set[Path]:
    """Those that metadata.jsonl of a folder says are real."""
    file = folder / "metadata.jsonl"
    if not file.is_file():
        return set()
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            known = [json.loads(line) for line in lines if '"synthetic"' in line]
        return {folder / line["file_name"] for line in known if line.get("synthetic") is False}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{file} does not say which images are real: write the set again") from None
