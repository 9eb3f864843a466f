"""Paths as text that YAML, JSON and a card can hold, and back; and where the images of a run lie."""

import os
import re
import tempfile
from pathlib import Path

from vae_augment.atomic import atomic_write

PLACE_FILE = (
    "images.path"  # in a run's folder: where its images lay, absolute; it is not part of the weights, nor published
)
LOCAL = ("folder:", "array:")  # prefixes of data sets that are a folder of images, or a file of them


def storable(text: str) -> str:
    r"""Return a path of the system as text in UTF-8; bytes that are no UTF-8 are written as `\xe9`.

    Example:
        >>> storable("photos/caf\udce9")
        'photos/caf\\xe9'
    """
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def expanded(text: str) -> Path:
    """Return the path that a text of the command line or of `storable` means, with the home folder for a leading ~.

    Raises:
        ValueError: it begins with ~, and this system knows no home folder.
    """
    try:
        path = Path(_as_the_system_has_it(text)).expanduser()
    except RuntimeError:
        raise ValueError(f"{text}: no home folder is known here, set HOME or write the path without ~") from None
    escaped = re.sub(rb"\\x([0-9a-f]{2})", lambda code: bytes.fromhex(code[1].decode()), os.fsencode(path))
    if escaped != os.fsencode(path) and not path.exists():
        return Path(os.fsdecode(escaped))
    return path


def cache_folder() -> Path:
    """Return ~/.cache/vae-augment, or where no home folder is known a folder among the temporary ones."""
    try:
        return Path("~/.cache/vae-augment").expanduser()
    except RuntimeError:
        return Path(tempfile.gettempdir()) / "vae-augment"


def remember_place(run: Path, data: str) -> None:
    """Write down where the images of a new run lie, for `remembered_place`; nothing for images of no folder or file."""
    (run / PLACE_FILE).unlink(missing_ok=True)
    if data.startswith(LOCAL):
        place = os.path.abspath(expanded(data.partition(":")[2]))
        atomic_write(run / PLACE_FILE, storable(place).encode())


def remembered_place(run: Path, data: str) -> str:
    """Return the data set of a run with the folder or file where its images lay, if that is still there."""
    path = run / PLACE_FILE
    if not data.startswith(LOCAL) or not path.is_file():
        return data
    place = path.read_text("utf-8", "replace")
    return f"{data.partition(':')[0]}:{place}" if expanded(place).exists() else data


def _as_the_system_has_it(text: str) -> str:
    # where the system's encoding is not UTF-8, as with LC_ALL=C, Python has the bytes of a name as surrogates
    return text if os.name == "nt" else os.fsdecode(text.encode("utf-8", "surrogateescape"))
