"""FrozenVAE: the network of a transform, kept out of torch's module tree."""

import copy
import functools
import platform
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..numerics import float32_on_cpu
from .codec import Codec, Whitened
from .fused import FusedVAE
from .lone import LoneVAE
from .model import VAE


@functools.cache
def _is_intel() -> bool:
    cpus = Path("/proc/cpuinfo")
    return "GenuineIntel" in (cpus.read_text() if cpus.is_file() else platform.processor())


def computes_bf16(device: torch.device) -> bool:
    """Whether this device computes bfloat16 sooner than float32.

    Those without its instructions emulate them. Intel's AVX-512 has them, at half the speed of float32; its AMX is fast.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not torch.cpu._is_avx512_bf16_supported():
        return False
    return not _is_intel() or bool(torch.cpu._is_amx_tile_supported())


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """A tensor on this device; on its way from the CPU, a GPU's work that is under way is not waited for."""
    return x.pin_memory().to(device, non_blocking=True) if x.is_cpu and device.type == "cuda" else x.to(device)


class FrozenVAE:
    """A frozen codec on the CPU and, made on demand, its copies on other devices.

    A plain object on purpose: as a registered submodule the network would leak into the user's optimiser, `state_dict`
    and `repr`, and follow `.train()`. Only the CPU copy is pickled, so transforms travel to workers of any start method.

    Args:
        codec: a copy of it is kept.
    """

    def __init__(self, codec: Codec) -> None:
        assert isinstance(codec, nn.Module)
        self._freeze(copy.deepcopy(codec).cpu().float().eval().requires_grad_(False))

    @float32_on_cpu()  # also where a copy is made, or a worker is sent one
    def _freeze(self, codec: Any) -> None:
        self.codec: Codec = codec
        self.channels, self.size, self.latent_shape = codec.channels, codec.size, tuple(codec.latent_shape)
        self.fused = FusedVAE(codec) if type(codec) is VAE and FusedVAE.is_small(codec.config) else None
        self.lone = None if self.fused is None else LoneVAE(self.fused)
        self._copies: dict[torch.device, Whitened | FusedVAE] = {}

    def on(self, device: torch.device) -> Whitened | FusedVAE:
        """What computes images soonest on this device: the network, or the same as matrices."""
        if device.type == "cpu" and self.fused is not None:
            return self.fused
        if device not in self._copies:
            # matrices were measured on CPUs and GPUs of CUDA alone
            is_fused = self.fused is not None and device.type == "cuda"
            self._copies[device] = (
                self.fused.to(device)  # type: ignore[union-attr]
                if is_fused
                else Whitened(copy.deepcopy(self.codec).to(device))  # type: ignore[attr-defined]
            )
        return self._copies[device]

    def __getstate__(self) -> dict[str, Any]:
        return {"codec": self.codec}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._freeze(state["codec"])
