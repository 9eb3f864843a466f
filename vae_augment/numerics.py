"""What is computed once, as a fit or a bank, comes out the same whatever its user has set for training."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

CPU = torch.device("cpu")


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
            torch.set_num_threads(1)
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.autocast("cpu", enabled=False))
        if torch.get_default_device() != CPU:  # else it would only slow each operation down
            stack.enter_context(CPU)
        yield


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
