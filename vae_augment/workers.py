"""Work that is shared among processes of one machine."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader

T = TypeVar("T")


def in_workers(make: Callable[[T], int], parts: Sequence[T], workers: int | None = None) -> Iterator[int]:
    """What `make` returns of each part, in their order. What it raises is raised here.

    Args:
        make: can be sent to a process.
        workers: processes that are started; 1: none, the work is done here. None: as many as there are cores for it.

    Example:
        >>> list(in_workers(abs, [-2, 3], workers=1))
        [2, 3]
    """
    wanted = min(usable_cores() if workers is None else workers, len(parts))
    alone = wanted < 2
    loader: DataLoader[Any] = DataLoader(
        parts,  # type: ignore[arg-type]  # a list is a data set
        batch_size=None,
        collate_fn=_Told(make),  # type: ignore[arg-type]  # of single parts
        num_workers=0 if alone else wanted,
        multiprocessing_context=None if alone else _start_method(),
        generator=torch.Generator(),  # else it would draw from the user's
    )
    for done in loader:
        if isinstance(done, Exception):
            raise done
        yield done


def usable_cores() -> int:
    """Cores for this process, among those that torchrun started on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    beside = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, cores // int(beside) if beside.isdecimal() and int(beside) else cores)


def _start_method() -> str:
    """Python's own, but never forkserver, its default on Linux since 3.14.

    A worker ends when its parent does. By forkserver that is a server, which outlives a process that is killed, and so would all
    of its workers.
    """
    method = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    return "spawn" if method == "forkserver" else method


@dataclass(frozen=True)
class _Told(Generic[T]):
    """What a function returns, or the error that a user can mend: DataLoader would add its own text to it."""

    make: Callable[[T], int]

    def __call__(self, part: T) -> int | Exception:
        try:
            return self.make(part)
        except (OSError, TypeError, ValueError) as error:
            return error
