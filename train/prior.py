"""The prior of a run: a mixture of Gaussians fitted to the latents of training images."""

import torch
from torch import Tensor

from vae_augment import VAE
from vae_augment.numerics import evaluating
from vae_augment.prior import Mixture
from vae_augment.vae import Whitened

from .batches import images_at_a_time

STORED_IMAGES, PASSING_IMAGES = 20_000, 2_000  # random training images, at most
AT_A_TIME = 1000


def stored_prior(vae: VAE, train: Tensor) -> Mixture:
    """What weights without a bank generate from: it keeps no latent of a single image. `train`: uint8 `(N, C, S, S)`."""
    return _mixture(vae, train, STORED_IMAGES)


def passing_prior(vae: VAE, train: Tensor) -> Mixture:
    """The same of fewer images, for a picture in the middle of a run."""
    return _mixture(vae, train, PASSING_IMAGES)


@torch.no_grad()
def _mixture(vae: VAE, train: Tensor, most: int) -> Mixture:
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:most]
    net, device = Whitened(vae), next(vae.parameters()).device
    with evaluating(vae):
        parts = chosen.split(images_at_a_time(train, AT_A_TIME))
        latents = torch.cat([net.whitened_mean(train[part].to(device).float().div_(255)).cpu() for part in parts])
    return Mixture.of_latents(latents)
