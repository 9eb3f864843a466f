"""The gradient of one batch: the same, however the batch is divided among processes and micro-batches."""

import contextlib
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from vae_augment import VAE
from vae_augment.vae import computes_bf16

from . import processes
from .loss import statistics
from .recipes import Recipe


class Forward(nn.Module):
    """Images and noise -> `loss.statistics`: what DistributedDataParallel and torch.compile wrap."""

    def __init__(self, vae: VAE, likelihood: str, bf16: bool) -> None:
        super().__init__()
        self.vae, self.likelihood, self.bf16 = vae, likelihood, bf16

    def forward(self, x: Tensor, eps: Tensor) -> Tensor:
        # here and not around the step: autocast would keep weights cast without gradient for the pass that needs one
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            return statistics(self.vae, x, eps, self.likelihood)


def prepare(vae: VAE, recipe: Recipe, where: torch.device) -> nn.Module:
    """`Forward` as the recipe and the processes want it."""
    bf16 = computes_bf16(where) if recipe.bf16 is None else recipe.bf16
    forward = Forward(vae, recipe.likelihood, bf16)
    if recipe.compile:
        forward.compile()
    return processes.together(forward, where)


def backward(
    forward: nn.Module, x: Tensor, eps: Tensor, parts: int, loss: Callable[[Tensor], Mapping[str, Tensor]]
) -> Mapping[str, Tensor]:
    """Add the gradient of the whole batch's loss to the parameters; returns the parts of that loss.

    The loss is no mean over images: the Gaussian likelihood takes the logarithm of the batch's squared error, and free
    bits look at the batch's KL. So each division of the batch gets the means of the whole batch as its value, and its own
    means as what the gradient follows; the mean of their gradients is then the gradient of the whole.

    Args:
        forward: `Forward`, maybe wrapped.
        x, eps: this process's images `(B, C, S, S)` in [0, 1] and noise `(B, *latent_shape)`.
        parts: micro-batches. From two on, a pass without gradient comes first for the means: a third more work.
        loss: means -> parts of the loss, among them total.
    """
    micro = list(zip(x.chunk(parts), eps.chunk(parts), strict=True))
    whole = None
    if parts > 1:
        with torch.no_grad():
            whole = processes.mean(torch.stack([forward(*part) for part in micro]).mean(0))
    for number, part in enumerate(micro, start=1):
        last = number == parts
        with contextlib.nullcontext() if last else processes.without_exchange(forward):
            own = forward(*part)
            means = processes.mean(own) if whole is None else whole
            values = loss(means + (own - own.detach()))
            (values["total"] / parts).backward()
    return values
