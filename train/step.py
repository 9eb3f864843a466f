"""The gradient of one batch: the same, however the batch is divided among processes and micro-batches."""

import contextlib
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from vae_augment import VAE
from vae_augment.images import as_floats
from vae_augment.vae import computes_bf16

from . import processes
from .loss import statistics
from .recipes import Recipe


class Forward(nn.Module):
    """The module that DistributedDataParallel and torch.compile wrap: images and noise to `loss.statistics`."""

    def __init__(self, vae: VAE, likelihood: str, bf16: bool) -> None:
        super().__init__()
        self.vae, self.likelihood, self.bf16 = vae, likelihood, bf16

    def forward(self, x: Tensor, eps: Tensor) -> Tensor:
        # autocast here, not around the step: the pass without gradient would leave its cast weights, which have none,
        # in autocast's cache for the pass that needs a gradient
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            return statistics(self.vae, x, eps, self.likelihood)


def prepare(vae: VAE, recipe: Recipe, device: torch.device) -> nn.Module:
    """Return `Forward`, compiled if the recipe asks for it, and wrapped for several processes."""
    bf16 = computes_bf16(device) if recipe.bf16 is None else recipe.bf16
    forward = Forward(vae, recipe.likelihood, bf16)
    if recipe.compile:
        forward.compile()
    return processes.wrap_ddp(forward, device)


def backward(
    forward: nn.Module, x: Tensor, eps: Tensor, accumulate: int, loss: Callable[[Tensor], Mapping[str, Tensor]]
) -> Mapping[str, Tensor]:
    """Add the gradient of the whole batch's loss to the parameters, and return the parts of that loss.

    The loss is not a mean over images: the Gaussian likelihood takes the logarithm of the batch's squared error, and free
    bits apply to the batch's KL. So each micro-batch gets the means of the whole batch as its value, and its own means as
    what the gradient follows. The mean of these gradients is the gradient of the whole.

    Args:
        forward: from `prepare`.
        x, eps: this process's images `(B, C, S, S)`, uint8 or floats in [0, 1], and noise `(B, *latent_shape)`.
        accumulate: number of micro-batches. From 2 on, a pass without gradient comes first, to compute the means.
        loss: a function from these means to the parts of the loss, "total" among them.
    """
    micro_batches = list(zip(x.chunk(accumulate), eps.chunk(accumulate), strict=True))
    whole = None
    if accumulate > 1:
        with torch.no_grad():
            of_parts = [forward(as_floats(images), noise) for images, noise in micro_batches]
            whole = processes.all_reduce_mean(torch.stack(of_parts).mean(0))
    for number, (images, noise) in enumerate(micro_batches, start=1):
        is_last = number == accumulate
        with contextlib.nullcontext() if is_last else processes.no_sync(forward):
            own = forward(as_floats(images), noise)
            means = processes.all_reduce_mean(own) if whole is None else whole
            values = loss(means + (own - own.detach()))
            (values["total"] / accumulate).backward()
    return values
