"""How much memory and how many processors this process may use, in a container too; tensors too large for the memory."""

import contextlib
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

CGROUPS = Path("/sys/fs/cgroup")  # of Linux, where a container's limits are
CGROUPS_OF_PROCESS = Path("/proc/self/cgroup")
MEMORY_WITHOUT_ANSWER = 16 * 2**30  # bytes, on a system that does not say how much it has


def memory_limit() -> int:
    """Return the bytes that images may take in memory: $VAE_AUGMENT_MEMORY, else half of what this process may use."""
    limit = os.environ.get("VAE_AUGMENT_MEMORY")
    return int(limit) if limit else usable_memory() // 2


def usable_memory() -> int:
    """Return the bytes that this process may use: those installed, and no more than a container has."""
    try:
        installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on every system
        installed = MEMORY_WITHOUT_ANSWER
    return min([installed, *_cgroup_numbers("memory", "memory.max", "memory.limit_in_bytes")])


def processors() -> int:
    """Return the number of processors that this process may use: those it is bound to, and no more than a container has."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = list(_cgroup_quotas())
    return max(1, min([bound, *(math.ceil(quota) for quota in quotas)]))


def allocate(shape: tuple[int, ...], scratch: Path) -> Tensor:
    """Return an uninitialised uint8 tensor in memory, or memory-mapped in this folder if it exceeds `memory_limit()`."""
    count = torch.Size(shape).numel()
    if count <= memory_limit():
        return torch.empty(shape, dtype=torch.uint8)
    scratch.mkdir(parents=True, exist_ok=True)
    file = tempfile.NamedTemporaryFile(dir=scratch, prefix="images-", delete=False)  # noqa: SIM115 (its name is needed)
    with file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, count)  # a full disk raises here, instead of a crash while writing
    mapped = torch.from_file(file.name, shared=True, size=count, dtype=torch.uint8).view(shape)
    with contextlib.suppress(PermissionError):  # Windows
        os.unlink(file.name)  # the mapping keeps the data until the process ends, however it ends
    return mapped


def _cgroup_numbers(controller: str, *names: str) -> Iterator[int]:
    """Yield what these files say in the cgroups of this process; "max", no limit, is left out."""
    for folder in _cgroup_folders(controller):
        for name in names:
            with contextlib.suppress(OSError, ValueError):
                yield int((folder / name).read_text())


def _cgroup_quotas() -> Iterator[float]:
    """Yield processors that the cgroups of this process allow, as parts of a period."""
    for folder in _cgroup_folders("cpu"):
        with contextlib.suppress(OSError, ValueError):  # version 2; "max", no limit, is no number
            quota, period = map(int, (folder / "cpu.max").read_text().split())
            yield quota / period
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):  # version 1; -1 is no limit
            quota, period = (int((folder / f"cpu.cfs_{part}_us").read_text()) for part in ("quota", "period"))
            if quota > 0:
                yield quota / period


def _cgroup_folders(controller: str) -> Iterator[Path]:
    """Yield the folders of the cgroups that this process is in, of version 1 and 2, up to the root.

    A container may see its own cgroup as the root, whatever path the file /proc/self/cgroup has of it.
    """
    with contextlib.suppress(OSError):
        for line in CGROUPS_OF_PROCESS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            for root in (
                (CGROUPS / controllers, CGROUPS / controller) if controllers else (CGROUPS, CGROUPS / "unified")
            ):
                inner = root / path.lstrip("/")
                yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(root))
