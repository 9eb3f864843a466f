"""The processes of one run, as torchrun starts them: which one this is, and what they exchange.

Without torchrun there is one process: it is the main one, and every function here returns what it is given.
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
def process_group() -> Iterator[None]:
    """Join the processes that torchrun started, within a context; gloo on the CPU, nccl on GPUs."""
    alone = not dist.is_available() or not dist.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1"
    if alone:
        yield
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    yield  # not destroyed after an error: torchrun ends the other processes
    dist.destroy_process_group()


def world_size() -> int:
    """Return the number of processes of this run, on all machines."""
    return dist.get_world_size() if _is_distributed() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if _is_distributed() else 0


def is_main() -> bool:
    """Whether this process writes files, prints, and speaks to W&B and the Hub."""
    return rank() == 0


def launcher() -> str:
    """Return the command that started the processes, without the flags of the run."""
    per_node = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return "python -m train" if world_size() == 1 else f"torchrun --nproc-per-node {per_node} -m train"


@contextlib.contextmanager
def main_process_first() -> Iterator[None]:
    """Let one process of each machine run the block before the others, which then find what it downloaded."""
    is_ahead = not _is_distributed() or os.environ["LOCAL_RANK"] == "0"
    if not is_ahead:
        barrier()
    yield
    if is_ahead:
        barrier()


def barrier() -> None:
    """Wait until every process has come here."""
    if _is_distributed():
        all_reduce_sum(torch.zeros(1))


def all_reduce_sum(values: Tensor) -> Tensor:
    """Return the sum over the processes, in each of them: a tensor of the same shape, without gradient."""
    values = values.detach().clone()
    if _is_distributed():
        dist.all_reduce(values)
    return values


def all_reduce_mean(values: Tensor) -> Tensor:
    """Return the mean over the processes, in each of them the same bits: a tensor of the same shape, without gradient."""
    return all_reduce_sum(values) / world_size()


def any_process(condition: bool) -> bool:
    """Whether the condition holds in any process."""
    return bool(all_reduce_sum(torch.tensor(float(condition))) > 0) if _is_distributed() else condition


def broadcast_from_main(make: Callable[[], Any]) -> Any:
    """Call `make` in the main process only, and return its result in each of them."""
    made = [make() if is_main() else None]
    if _is_distributed():
        dist.broadcast_object_list(made, device=torch.device("cpu"))
    return made[0]


def shard(batch: Tensor) -> Tensor:
    """Return the part of a batch that this process computes; the batch's length is a multiple of `world_size()`."""
    return batch.chunk(world_size())[rank()]


def wrap_ddp(module: nn.Module, device: torch.device) -> nn.Module:
    """Wrap a module in DistributedDataParallel, which averages its gradients over the processes."""
    if not _is_distributed():
        return module
    return DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)


def no_sync(module: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Keep gradients in their process, within a context; a later backward pass averages them."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else contextlib.nullcontext()


def is_lost_peer(error: RuntimeError) -> bool:
    """Whether an error says that another process has gone; gloo's are plain RuntimeErrors with the path of its source."""
    return _is_distributed() and (isinstance(error, dist.DistError) or "gloo" in str(error))


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()
