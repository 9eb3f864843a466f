"""Work that is shared among processes of one machine."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
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
    loader: DataLoader[Any] = DataLoader(
        parts,  # type: ignore[arg-type]  # a list is a data set
        batch_size=None,
        collate_fn=_Told(make),  # type: ignore[arg-type]  # of single parts
        num_workers=0 if wanted < 2 else wanted,
        worker_init_fn=_end_with_parent,
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


def _end_with_parent(_: int) -> None:
    """End a worker as soon as the process that started it has ended, killed or not.

    DataLoader's own look every five seconds misses a parent that ended before they began. By forkserver, Python's way on Linux
    since 3.14, it looks at the server, which lives as long as its workers do.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


@dataclass(frozen=True)
class _Told(Generic[T]):
    """What a function returns, or the error that a user can mend: DataLoader would add its own text to it."""

    make: Callable[[T], int]

    def __call__(self, part: T) -> int | Exception:
        try:
            return self.make(part)
        except (OSError, TypeError, ValueError) as error:
            return error
