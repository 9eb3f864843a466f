"""Generators: the one to draw from, and the global one lent for a while to code that cannot be given one of its own."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

import torch
from torch.utils.data import get_worker_info

# torch 2.15+
_of_thread_worker: Callable[[], torch.Generator | None] = getattr(torch, "thread_safe_generator", lambda: None)

_lock = threading.RLock()  # the generator is the process's: threads take turns
if hasattr(os, "register_at_fork"):  # a forked worker must not wait for a thread that it has not
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def thread_generator() -> torch.Generator | None:
    """The worker's own generator inside a thread worker; None, which is the global one, everywhere else."""
    return None if get_worker_info() is None else _of_thread_worker()  # torch's own asks with an import in each call


@contextlib.contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seed torch's global generator of the CPU within; it goes on afterwards as if nothing had been.

    Threads that do so wait for one another. One that draws from it without asking is not kept out.
    """
    with _lock, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def derived_seed(seed: int, number: int) -> int:
    """The seed of the image or batch with this number, of those that a user's seed stands for.

    Example:
        >>> derived_seed(0, 7), derived_seed(1, 7) == derived_seed(1, 8)
        (7, False)
    """
    return (seed * 0x9E3779B97F4A7C15 + number) % 2**63
