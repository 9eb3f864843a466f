"""The state of a run in one file, replaced whole: whenever a run is killed, the last complete one is there."""

import io
from pathlib import Path
from typing import Any

import torch

from vae_augment.atomic import atomic_write

NAME = "checkpoint.pt"
BEST = "best.pt"  # weights only
FORMAT = 2  # of the state that loop.py keeps


def save(folder: Path, state: dict[str, Any], name: str = NAME) -> None:
    """Tensors, numbers and containers of them only, so that it loads with weights_only=True."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT} | state, buffer)
    atomic_write(folder / name, buffer.getvalue())


def load(folder: Path, name: str = NAME) -> dict[str, Any]:
    """The last complete checkpoint of a run's folder, or its best weights, on the CPU.

    Raises:
        FileNotFoundError: the run did not come as far as one.
        ValueError: it is damaged, or another version of this package wrote it.
    """
    if not (folder / name).is_file():
        raise FileNotFoundError(f"{folder} has no {name} to resume from: begin a new run there, with --overwrite")
    try:
        state: dict[str, Any] = torch.load(folder / name, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch raises of many kinds for what it did not write
        raise ValueError(f"{folder / name} is damaged: begin a new run ({type(error).__name__})") from error
    if state.get("format") != FORMAT:
        raise ValueError(f"{folder / name} is of another version of vae-augment: resume with that, or begin a new run")
    return state
