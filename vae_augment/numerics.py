"""What is computed once, as a fit or a bank, comes out the same whatever its user has set for training."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

CPU = torch.device("cpu")
AHEAD = 8  # parts that wait for their turn, or to be taken

T = TypeVar("T")
R = TypeVar("R")

_of_user: ContextVar[int | None] = ContextVar("vae_augment_threads", default=None)


@contextlib.contextmanager
def float32_on_cpu() -> Iterator[None]:
    """Compute within on one thread of the CPU, without autocast and gradients, whatever is set around it.

    Operations here are small. Several threads would wait for one another, which takes many times as long where other programs
    run. The number of threads is afterwards what it was.

    Example:
        >>> with torch.autocast("cpu", torch.bfloat16), float32_on_cpu():
        ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        torch.float32
    """
    with contextlib.ExitStack() as stack:
        if (threads := torch.get_num_threads()) > 1:  # never raised in a forked worker, which has one: it would hang
            stack.callback(torch.set_num_threads, threads)
            stack.callback(_of_user.reset, _of_user.set(threads))
            torch.set_num_threads(1)
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.autocast("cpu", enabled=False))
        if not _TELLS_DEFAULT or torch.get_default_device() != CPU:  # else it would only slow each operation down
            stack.enter_context(CPU)
        yield


with torch.device("meta"):
    # torch before 2.7 does not say so, and fails where a default was set and taken back
    _TELLS_DEFAULT = torch.get_default_device() == torch.device("meta")


def in_threads(work: Callable[[T], R], parts: Sequence[T]) -> Iterator[R]:
    """What `work` makes of each part, in their order, on as many threads as the user lets torch have; a worker has one.

    Each thread computes as in `float32_on_cpu`, so that a part comes out the same however many there are.

    Example:
        >>> list(in_threads(lambda part: part.sum().item(), torch.arange(6).split(2)))
        [1, 5, 9]
    """
    threads = 1 if get_worker_info() is not None else _of_user.get() or torch.get_num_threads()
    if threads < 2 or len(parts) < 2:
        yield from map(float32_on_cpu()(work), parts)
        return

    def alone(part: T) -> R:
        with torch.no_grad(), torch.autocast("cpu", enabled=False), CPU:  # which each thread has of its own
            return work(part)

    with float32_on_cpu(), ThreadPoolExecutor(threads) as pool:
        waiting = deque(pool.submit(alone, part) for part in parts[:AHEAD])
        for part in parts[AHEAD:]:
            yield waiting.popleft().result()
            waiting.append(pool.submit(alone, part))
        while waiting:
            yield waiting.popleft().result()


def in_one(parts: Iterable[Tensor], count: int) -> Tensor:
    """Parts, one after the other, as one tensor of so many rows: with no second copy, as `torch.cat` of many parts takes.

    Example:
        >>> in_one(torch.arange(6).split(4), 6)
        tensor([0, 1, 2, 3, 4, 5])
    """
    whole, start = None, 0
    for part in parts:
        if whole is None:
            whole = torch.empty(count, *part.shape[1:], dtype=part.dtype)
        whole[start : start + len(part)] = part
        start += len(part)
    if whole is None or start != count:
        raise ValueError(f"parts have {start} rows, expected {count}")
    return whole


@contextlib.contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Within, a module is in eval mode, so that looking at it changes no statistics; its parts are afterwards as they were."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors of a symmetric matrix; torch 2.6 fails on some that are large and float32."""
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except RuntimeError:
        values, vectors = (found.to(matrix.dtype) for found in torch.linalg.eigh(matrix.double()))
    return values, vectors
