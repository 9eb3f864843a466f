"""Generators: the one to draw from, and the global one lent for a while to code that cannot be given one of its own."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

import torch

# torch 2.15+: the worker's own generator inside a thread worker, None (the global one) everywhere else
thread_generator: Callable[[], torch.Generator | None] = getattr(torch, "thread_safe_generator", lambda: None)

_lock = threading.RLock()  # the generator is the process's: threads take turns
if hasattr(os, "register_at_fork"):  # a forked worker must not wait for a thread that it has not
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


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
