"""The state of a run in one file, replaced whole: whenever a run is killed, the last complete one is there."""

import io
from pathlib import Path
from typing import Any

import torch

from vae_augment.files import replace_file

NAME = "checkpoint.pt"
FORMAT = 2  # of the state that loop.py keeps


def save(folder: Path, state: dict[str, Any]) -> None:
    """Tensors, numbers and containers of them only, so that it loads with weights_only=True."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT} | state, buffer)
    replace_file(folder / NAME, buffer.getvalue())


def load(folder: Path) -> dict[str, Any]:
    """The last complete checkpoint of a run's folder, on the CPU.

    Raises:
        FileNotFoundError: the run did not come as far as one.
        ValueError: another version of this package wrote it.
    """
    if not (folder / NAME).is_file():
        raise FileNotFoundError(f"{folder} has no {NAME} to resume from: begin a new run")
    state: dict[str, Any] = torch.load(folder / NAME, map_location="cpu", weights_only=True)
    if state.get("format") != FORMAT:
        raise ValueError(f"{folder / NAME} is of another version of vae-augment: resume with that, or begin a new run")
    return state
