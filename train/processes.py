"""Several processes of one run, as torchrun starts them: which one this is, and what they tell one another.

Alone, a process is the first of one, and every function here returns what it is given.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Within, the processes that torchrun started know one another."""
    alone = not dist.is_available() or not dist.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1"
    if alone:
        yield
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    yield  # after an error there is nothing to part from: torchrun ends the others
    dist.destroy_process_group()


def count() -> int:
    """Processes of this run, on all machines."""
    return dist.get_world_size() if _several() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if _several() else 0


def is_first() -> bool:
    """Whether this is the process that writes files, prints, and speaks to W&B and the Hub."""
    return rank() == 0


@contextlib.contextmanager
def first_goes_ahead() -> Iterator[None]:
    """The first process of each machine runs the block before its others do, who find what it downloaded."""
    ahead = not _several() or os.environ["LOCAL_RANK"] == "0"
    if not ahead:
        barrier()
    yield
    if ahead:
        barrier()


def barrier() -> None:
    """Wait until every process is here."""
    if _several():
        total(torch.zeros(1))


def total(values: Tensor) -> Tensor:
    """The sum over the processes, in each of them; a tensor of the same shape."""
    values = values.detach().clone()
    if _several():
        dist.all_reduce(values)
    return values


def mean(values: Tensor) -> Tensor:
    """The mean over the processes, in each of them, the same bits; without gradient."""
    return total(values) / count()


def is_any(asked: bool) -> bool:
    """Whether any process says so."""
    return bool(total(torch.tensor(float(asked))) > 0) if _several() else asked


def from_first(make: Callable[[], Any]) -> Any:
    """What the first process makes, in each of them."""
    made = [make() if is_first() else None]
    if _several():
        dist.broadcast_object_list(made, device=torch.device("cpu"))
    return made[0]


def share(batch: Tensor) -> Tensor:
    """The part of a batch that this process computes; the batch's length is a multiple of `count()`."""
    return batch.chunk(count())[rank()]


def together(module: nn.Module, device: torch.device) -> nn.Module:
    """The module, its gradients averaged over the processes."""
    if not _several():
        return module
    return DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)


def without_exchange(module: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Within, gradients stay in their process, to be averaged by a later backward pass."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else contextlib.nullcontext()


def is_of_a_lost_one(error: RuntimeError) -> bool:
    """Whether it says that another process has gone; gloo's errors are plain RuntimeErrors with the path of its source."""
    return _several() and (isinstance(error, dist.DistError) or "gloo" in str(error))


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()
