"""The evidence lower bound and its parts: pure functions. Nats per image (summed over pixels, mean over the batch)."""

import math

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from vae_augment import VAE, LatentBank, Posterior

SMALLEST_SIGMA = 1 / 256  # one grey level; without a floor the log of a perfect reconstruction diverges


def vae_loss(
    vae: VAE,
    x: Tensor,
    beta: float = 1.0,
    likelihood: str = "gaussian",
    free_bits: float = 0.0,
    eps: Tensor | None = None,
) -> dict[str, Tensor]:
    """Images `(B, C, S, S)` in [0, 1] -> total, recon and kl, scalars that autograd can follow.

    `total = recon + beta * kl`, where dimensions with less KL than `free_bits` nats cost `free_bits`. `eps` is the noise
    of the latents, `(B, *latent_shape)`; None: drawn.
    """
    eps = torch.randn(len(x), *vae.latent_shape, device=x.device) if eps is None else eps
    return elbo(statistics(vae, x, eps, likelihood), x[0].numel(), beta, likelihood, free_bits)


def statistics(vae: VAE, x: Tensor, eps: Tensor, likelihood: str) -> Tensor:
    """All that the loss needs to know of images, means over them: `(1 + latent dimensions,)`, for `elbo`.

    Those of parts of one length average to those of the whole.
    """
    posterior = vae.encode(x)
    logits = vae.decode_logits(posterior.mean + posterior.std * eps)
    return torch.cat([distortion(logits, x, likelihood)[None], kl_per_dim(posterior).flatten()])


def elbo(means: Tensor, pixels: int, beta: float, likelihood: str, free_bits: float) -> dict[str, Tensor]:
    """`statistics` of images of so many pixel values -> the parts of their loss, see `vae_loss`."""
    recon, per_dim = reconstruction(means[0], pixels, likelihood), means[1:]
    kl = per_dim.sum()
    cost = per_dim.clamp(min=free_bits).sum() if free_bits else kl
    return {"total": recon + beta * cost, "recon": recon, "kl": kl}


def distortion(logits: Tensor, x: Tensor, likelihood: str) -> Tensor:
    """What a reconstruction misses, mean over the batch: squared error per pixel, or for Bernoulli nats per image."""
    if likelihood == "bernoulli":
        return binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    return (torch.sigmoid(logits) - x).square().mean()


def reconstruction(distortion: Tensor, pixels: int, likelihood: str) -> Tensor:
    """-log p(x|z) in nats per image: the density of pixels in [0, 1], or for Bernoulli the probability."""
    if likelihood == "bernoulli":
        return distortion
    # the variance that maximises the likelihood of a batch is its mean squared error
    # (Rybkin et al., "Simple and Effective VAE Training with Calibrated Decoders", ICML 2021, eq. 8)
    return pixels / 2 * (torch.log(2 * math.pi * (distortion + SMALLEST_SIGMA**2)) + 1)


def kl_per_dim(posterior: Posterior) -> Tensor:
    """KL(q(z|x) || N(0, 1)) of each latent dimension, mean over the batch: `latent_shape`."""
    mean, std = posterior
    return (0.5 * (mean.square() + std.square() - 1) - std.log()).mean(0)


def bits_per_dim(nats: float, dims: int) -> float:
    """Nats per image of the density on [0, 1] -> bits per pixel of 8-bit images."""
    return nats / (dims * math.log(2)) + 8


@torch.no_grad()
def evaluate(vae: VAE, images: Tensor, likelihood: str = "gaussian") -> dict[str, float]:
    """Held-out quality of uint8 images `(N, C, S, S)`, measured with noise that is always the same.

    Returns:
        psnr_db: of decode(mean), from the mean squared error of all images. nats, bits_per_dim (Gaussian likelihood
        only): the bound. kl_nats: per image. active_units: dimensions whose mean varies by more than 0.01 (Burda et
        al., 2016).
    """
    means, kl, squared, nats = [], 0.0, 0.0, 0.0
    noise = torch.Generator().manual_seed(0)  # its own: looking at a run must not change it
    for part in images.split(1000):
        x = part.to(vae.latent_mean.device).float() / 255
        posterior = vae.encode(x)
        squared += float((vae.decode(posterior.mean) - x).square().sum())
        kl += float(kl_per_dim(posterior).sum()) * len(x)
        eps = torch.randn(len(x), *vae.latent_shape, generator=noise).to(x.device)
        nats += float(vae_loss(vae, x, likelihood=likelihood, eps=eps)["total"]) * len(x)
        means.append(posterior.mean)
    dims = images[0].numel()
    spread = torch.cat(means).var(0, correction=0).reshape(vae.config.latent_dim, -1).mean(1)
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
def knn_purity(vae: VAE, bank: LatentBank | None, images: Tensor, labels: Tensor, k: int = 10) -> float:
    """Part of the k nearest neighbours of an image, among these, that share its label.

    By the latents' Euclidean distance; where a bank compares images by their textures alone, by the angle between these.

    Args:
        images: uint8 `(N, C, S, S)`; labels: `(N,)`.
    """
    if bank is not None and (textures := bank.textures_alone) is not None:
        points = normalize(textures.of(images))
    else:
        parts = (part.to(vae.latent_mean.device).float() / 255 for part in images.split(1000))
        points = torch.cat([vae.encode(part).mean.flatten(1) for part in parts])
    labels, same = labels.to(points.device), 0.0
    for start in range(0, len(points), 1000):
        distance = torch.cdist(points[start : start + 1000], points)
        rows = torch.arange(len(distance), device=points.device)
        distance[rows, start + rows] = torch.inf  # not itself
        nearest = distance.topk(k, largest=False).indices
        same += float((labels[nearest] == labels[start : start + 1000, None]).sum())
    return same / (k * len(points))
