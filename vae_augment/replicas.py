"""The network of a transform, kept out of torch's module tree."""

import copy
from typing import Any, Literal

import torch
from torch import Tensor

from .fused import FusedVAE
from .onnx_vae import OnnxVAE
from .vae import VAE

Backend = Literal["torch", "onnx"]  # of the CPU


def computes_bf16(device: torch.device) -> bool:
    """Whether this device has bfloat16 instructions; one without emulates them, slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def sent(x: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on this device; a GPU's work that is under way is not waited for."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)


class Replicas:
    """A frozen VAE on the CPU, what computes it there and, made on demand, its copies on other devices.

    A plain object on purpose: as a registered submodule the network would leak into the user's optimiser, `state_dict`
    and `repr`, and follow `.train()`. Only the CPU copy is pickled, so transforms travel to workers of any start method.
    """

    def __init__(self, vae: VAE, backend: Backend = "torch") -> None:
        self.master = copy.deepcopy(vae).cpu().float().eval().requires_grad_(False)
        self.backend = backend
        self._build()

    def _build(self) -> None:
        self.fused = FusedVAE(self.master)
        self.on_cpu = self.fused if self.backend == "torch" else OnnxVAE(self.fused)
        self._copies: dict[torch.device, VAE | FusedVAE] = {}

    def fastest(self, device: torch.device) -> VAE | FusedVAE | OnnxVAE:
        """What computes images soonest on this device: the network, or the same as matrices or in ONNX Runtime."""
        if device.type == "cpu":
            return self.on_cpu
        if device not in self._copies:
            # matrices were measured on CPUs and GPUs of CUDA alone
            is_known = device.type == "cuda"
            self._copies[device] = self.fused.to(device) if is_known else copy.deepcopy(self.master).to(device)
        return self._copies[device]

    def __getstate__(self) -> dict[str, Any]:
        return {"master": self.master, "backend": self.backend}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.master, self.backend = state["master"], state["backend"]
        self._build()
