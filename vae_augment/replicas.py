"""The network of a transform, kept out of torch's module tree."""

import copy
from typing import Any

import torch

from .vae import VAE


class Replicas:
    """A frozen VAE on the CPU and, made on demand, its copies on other devices.

    A plain object on purpose: as a registered submodule the network would leak into the user's optimiser, `state_dict`
    and `repr`, and follow `.train()`. Only the CPU copy is pickled, so transforms travel to workers of any start method.
    """

    def __init__(self, vae: VAE) -> None:
        self.master = copy.deepcopy(vae).cpu().float().eval().requires_grad_(False)
        self._copies: dict[torch.device, VAE] = {}

    def on(self, device: torch.device) -> VAE:
        """The network on this device."""
        if device.type == "cpu":
            return self.master
        if device not in self._copies:
            self._copies[device] = copy.deepcopy(self.master).to(device)
        return self._copies[device]

    def __getstate__(self) -> dict[str, Any]:
        return {"master": self.master, "_copies": {}}
