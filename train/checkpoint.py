"""The state of a run in one file, replaced atomically: whenever a run is killed, the last complete one is there."""

import errno
import io
import shlex
import zipfile
from pathlib import Path
from typing import Any

import torch

from vae_augment.atomic import atomic_write

FILE = "checkpoint.pt"
BEST_FILE = "best.pt"  # weights only
FORMAT_VERSION = 2  # of what `State.to_dict` returns


def save(folder: Path, state: dict[str, Any], name: str = FILE) -> None:
    """Write a checkpoint of tensors, numbers and containers of them, which load with weights_only=True."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT_VERSION} | state, buffer)
    atomic_write(folder / name, buffer.getvalue())


def load(folder: Path, name: str = FILE) -> dict[str, Any]:
    """Load the last complete checkpoint of a run's folder, or its best weights, on the CPU.

    Raises:
        FileNotFoundError: the run ended before its first checkpoint.
        ValueError: the checkpoint is damaged, or another version of this package wrote it.
    """
    if not (folder / name).is_file():
        if name == BEST_FILE:
            raise damaged(folder, "it is not there", name)
        raise FileNotFoundError(f"{folder} has no {name} to resume from: begin a new run there, with --overwrite")
    try:
        contents = io.BytesIO((folder / name).read_bytes())
        check_sums(contents)
        state: dict[str, Any] = torch.load(contents, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises errors of many types for files that it did not write
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which a place before the file's beginning is
            raise
        raise damaged(folder, type(error).__name__, name) from error
    if not isinstance(state, dict):
        raise damaged(folder, f"it holds a {type(state).__name__}", name)
    if state.get("format") != FORMAT_VERSION:
        raise ValueError(f"{folder / name} is of another version of vae-augment: resume with that, or begin a new run")
    return state


def check_sums(contents: io.BytesIO) -> None:
    """Raises zipfile.BadZipFile for bytes that are not those that were written, which torch reads without a word."""
    with zipfile.ZipFile(contents) as archive:
        if (name := archive.testzip()) is not None:
            raise zipfile.BadZipFile(name)
    contents.seek(0)


def damaged(folder: Path, reason: str, name: str = FILE) -> ValueError:
    """Return the error that a checkpoint, whole as a file or not, holds something else than it must."""
    remedy = "begin a new run" if name == FILE else f"--resume {shlex.quote(str(folder))} --keep last does without it"
    return ValueError(f"{folder / name} is damaged ({reason}): {remedy}")
