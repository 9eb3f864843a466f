"""The evidence lower bound and its parts: pure functions. Nats per image (summed over pixels, mean over the batch)."""

import math

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from vae_augment import VAE, Posterior

SMALLEST_SIGMA = 1 / 256  # one grey level; without a floor the log of a perfect reconstruction diverges


def vae_loss(
    vae: VAE, x: Tensor, beta: float = 1.0, likelihood: str = "gaussian", free_bits: float = 0.0
) -> dict[str, Tensor]:
    """Images `(B, C, S, S)` in [0, 1] -> total, recon and kl, scalars that autograd can follow.

    `total = recon + beta * kl`, where dimensions with less KL than `free_bits` nats cost `free_bits`.
    """
    posterior = vae.encode(x)
    z = posterior.mean + posterior.std * torch.randn_like(posterior.std)
    recon = reconstruction(vae.decode_logits(z), x, likelihood)
    per_dim = kl_per_dim(posterior)
    kl = per_dim.sum()
    cost = per_dim.clamp(min=free_bits).sum() if free_bits else kl
    return {"total": recon + beta * cost, "recon": recon, "kl": kl}


def reconstruction(logits: Tensor, x: Tensor, likelihood: str) -> Tensor:
    """-log p(x|z) in nats per image: the density of pixels in [0, 1], or for Bernoulli the probability."""
    if likelihood == "bernoulli":
        return binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    # the variance that maximises the likelihood of this batch is its mean squared error
    # (Rybkin et al., "Simple and Effective VAE Training with Calibrated Decoders", ICML 2021, eq. 8)
    variance = (torch.sigmoid(logits) - x).square().mean() + SMALLEST_SIGMA**2
    return x[0].numel() / 2 * (torch.log(2 * math.pi * variance) + 1)


def kl_per_dim(posterior: Posterior) -> Tensor:
    """KL(q(z|x) || N(0, 1)) of each latent dimension, mean over the batch: `latent_shape`."""
    mean, std = posterior
    return (0.5 * (mean.square() + std.square() - 1) - std.log()).mean(0)


def bits_per_dim(nats: float, dims: int) -> float:
    """Nats per image of the density on [0, 1] -> bits per pixel of 8-bit images."""
    return nats / (dims * math.log(2)) + 8


@torch.no_grad()
def evaluate(vae: VAE, images: Tensor, likelihood: str = "gaussian") -> dict[str, float]:
    """Held-out quality of uint8 images `(N, C, S, S)`.

    Returns:
        psnr_db: of decode(mean), from the mean squared error of all images. nats, bits_per_dim (Gaussian likelihood
        only): the bound. kl_nats: per image. active_units: dimensions whose mean varies by more than 0.01 (Burda et
        al., 2016).
    """
    means, kl, squared, nats = [], 0.0, 0.0, 0.0
    for part in images.split(1000):
        x = part.to(vae.latent_mean.device).float() / 255
        posterior = vae.encode(x)
        squared += float((vae.decode(posterior.mean) - x).square().sum())
        kl += float(kl_per_dim(posterior).sum()) * len(x)
        nats += float(vae_loss(vae, x, likelihood=likelihood)["total"]) * len(x)
        means.append(posterior.mean)
    dims = images[0].numel()
    spread = torch.cat(means).var(0).reshape(vae.config.latent_dim, -1).mean(1)
    quality = {
        "psnr_db": -10 * math.log10(max(squared / images.numel(), 1e-12)),
        "nats": nats / len(images),
        "kl_nats": kl / len(images),
        "active_units": float((spread > 0.01).sum()),
    }
    if likelihood == "gaussian":
        quality["bits_per_dim"] = bits_per_dim(quality["nats"], dims)
    return quality


@torch.no_grad()
def knn_purity(vae: VAE, images: Tensor, labels: Tensor, k: int = 10) -> float:
    """Part of the k nearest neighbours (Euclidean, among these images' latents) that share an image's label."""
    latents = torch.cat([vae.encode(part.to(vae.latent_mean.device).float() / 255).mean for part in images.split(1000)])
    latents, labels = latents.flatten(1), labels.to(latents.device)
    same = 0.0
    for start in range(0, len(latents), 1000):
        distance = torch.cdist(latents[start : start + 1000], latents)
        rows = torch.arange(len(distance), device=latents.device)
        distance[rows, start + rows] = torch.inf  # not itself
        nearest = distance.topk(k, largest=False).indices
        same += float((labels[nearest] == labels[start : start + 1000, None]).sum())
    return same / (k * len(latents))
