"""The network of a transform, kept out of torch's module tree."""

import copy
from typing import Any

import torch
from torch import Tensor

from .fused import FusedVAE
from .vae import VAE


def computes_bf16(device: torch.device) -> bool:
    """Whether this device has bfloat16 instructions; one without emulates them, slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def sent(x: Tensor, device: torch.device) -> Tensor:
    """A tensor on this device; on its way from the CPU, a GPU's work that is under way is not waited for."""
    return x.pin_memory().to(device, non_blocking=True) if x.is_cpu and device.type == "cuda" else x.to(device)


class Replicas:
    """A frozen VAE on the CPU and, made on demand, its copies on other devices.

    A plain object on purpose: as a registered submodule the network would leak into the user's optimiser, `state_dict`
    and `repr`, and follow `.train()`. Only the CPU copy is pickled, so transforms travel to workers of any start method.
    """

    def __init__(self, vae: VAE) -> None:
        self.master = copy.deepcopy(vae).cpu().float().eval().requires_grad_(False)
        self._copies: dict[torch.device, VAE | FusedVAE] = {}
        self.fused = FusedVAE(self.master)

    def fastest(self, device: torch.device) -> VAE | FusedVAE:
        """What computes images soonest on this device: the network, or the same as matrices."""
        if device.type == "cpu":
            return self.fused
        if device not in self._copies:
            # matrices were measured on CPUs and GPUs of CUDA alone
            is_known = device.type == "cuda"
            self._copies[device] = self.fused.to(device) if is_known else copy.deepcopy(self.master).to(device)
        return self._copies[device]

    def __getstate__(self) -> dict[str, Any]:
        return {"master": self.master}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.master, self._copies = state["master"], {}
        self.fused = FusedVAE(self.master)
