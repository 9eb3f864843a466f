"""The device of a run: CUDA, MPS or the CPU."""

import os

import torch
from torch import Tensor

from . import processes


def pick(name: str) -> torch.device:
    """Return the device of this process for `Recipe.device`.

    Raises:
        ValueError: there is no such device, or several processes cannot share it.
    """
    return _pick_alone(name) if processes.world_size() == 1 else _pick_among_processes(name)


def _pick_alone(name: str) -> torch.device:
    device = torch.device(_best() if name == "auto" else name)
    is_there = {
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not is_there.get(device.type, True):
        raise ValueError(f"there is no device {name} here: --device auto takes the best there is")
    return device


def _pick_among_processes(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"  # MPS has no collective operations
    if name not in ("cuda", "cpu"):
        raise ValueError(f"device of a run of several processes must be auto, cuda or cpu, got {name!r}")
    if name == "cpu":
        return torch.device("cpu")
    rank, count, gpus = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if count > gpus:
        raise ValueError(f"{count} processes on a machine of {gpus} GPUs: lower --nproc-per-node, or --device cpu")
    torch.cuda.set_device(rank)
    return torch.device("cuda", rank)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the states of torch's generators that a run on this device draws from, by device type."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_random_state(states: dict[str, Tensor], device: torch.device) -> None:
    """Restore a `random_state`: that of the CPU, and that of this device if it was taken on one of its type."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    if device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])


def _best() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
