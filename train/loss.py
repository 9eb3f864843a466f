"""The evidence lower bound (ELBO) and its parts, as pure functions. Unit: nats per image, averaged over the batch."""

import math

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from vae_augment import VAE, LatentBank, Posterior

from .batches import images_at_a_time

MIN_SIGMA = (
    1 / 256
)  # one grey level, of pixels in [0, 1]: without it, a perfect reconstruction has an infinite likelihood
ACTIVE_VARIANCE = (
    0.01  # of a latent dimension's mean over images; above it, the dimension is active (Burda et al., 2016)
)
CHUNK = 1000  # images at a time, and fewer large ones, to bound memory


def vae_loss(
    vae: VAE,
    x: Tensor,
    beta: float = 1.0,
    likelihood: str = "gaussian",
    free_bits: float = 0.0,
    eps: Tensor | None = None,
) -> dict[str, Tensor]:
    """Compute the loss of images `(B, C, S, S)` in [0, 1] and its parts: total, recon and kl, scalars with gradient.

    `total = recon + beta * kl`, where a dimension with less KL than `free_bits` nats costs `free_bits`.

    Args:
        vae, x: network and images.
        beta, likelihood, free_bits: see `Recipe`.
        eps: standard normal noise of the latents, `(B, *latent_shape)`; None: drawn.

    Example:
        >>> from vae_augment import VAEConfig
        >>> loss = vae_loss(VAE(VAEConfig()), torch.rand(2, 1, 28, 28), beta=0.5)
        >>> torch.allclose(loss["total"], loss["recon"] + 0.5 * loss["kl"])
        True
    """
    eps = torch.randn(len(x), *vae.latent_shape, device=x.device) if eps is None else eps
    return elbo(statistics(vae, x, eps, likelihood), x[0].numel(), beta, likelihood, free_bits)


def statistics(vae: VAE, x: Tensor, eps: Tensor, likelihood: str) -> Tensor:
    """Compute what `elbo` takes, means over the images: the distortion and the KL of each latent dimension, `(1 + D,)`.

    A batch's statistics are the mean of those of its parts, if these are of one length.
    """
    posterior = vae.encode(x)
    logits = vae.decode_logits(posterior.mean + posterior.std * eps)
    return torch.cat([distortion(logits, x, likelihood)[None], kl_per_dim(posterior).flatten()])


def elbo(means: Tensor, pixels: int, beta: float, likelihood: str, free_bits: float) -> dict[str, Tensor]:
    """Compute the loss and its parts from `statistics` of images with so many pixel values; see `vae_loss`."""
    recon, per_dim = reconstruction(means[0], pixels, likelihood), means[1:]
    kl = per_dim.sum()
    cost = per_dim.clamp(min=free_bits).sum() if free_bits else kl
    return {"total": recon + beta * cost, "recon": recon, "kl": kl}


def distortion(logits: Tensor, x: Tensor, likelihood: str) -> Tensor:
    """Compute the distortion, mean over the batch: squared error per pixel, or for Bernoulli nats per image."""
    if likelihood == "bernoulli":
        return binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    return (torch.sigmoid(logits) - x).square().mean()


def reconstruction(distortion: Tensor, pixels: int, likelihood: str) -> Tensor:
    """Compute -log p(x|z) in nats per image: of a density on [0, 1], or for Bernoulli of a probability."""
    if likelihood == "bernoulli":
        return distortion
    # the variance that maximises the likelihood of a batch is its mean squared error
    # (Rybkin et al., "Simple and Effective VAE Training with Calibrated Decoders", ICML 2021, eq. 8)
    return pixels / 2 * (torch.log(2 * math.pi * (distortion + MIN_SIGMA**2)) + 1)


def kl_per_dim(posterior: Posterior) -> Tensor:
    """Compute KL(q(z|x) || N(0, 1)) of each latent dimension, mean over the batch, `latent_shape`."""
    mean, std = posterior
    return (0.5 * (mean.square() + std.square() - 1) - std.log()).mean(0)


def bits_per_dim(nats: float, dims: int) -> float:
    """Convert nats per image of a density on [0, 1] to bits per dimension of 8-bit images.

    Example:
        >>> bits_per_dim(0.0, dims=784)  # the uniform density
        8.0
    """
    return nats / (dims * math.log(2)) + 8


@torch.no_grad()
def evaluate(vae: VAE, images: Tensor, likelihood: str = "gaussian") -> dict[str, float]:
    """Measure a VAE on held-out uint8 images `(N, C, S, S)`, with noise that is always the same.

    Returns:
        psnr_db: of decode(mean), from the mean squared error of all images.
        nats, bits_per_dim: the ELBO, negative; bits only for the Gaussian likelihood.
        kl_nats: per image.
        active_units: latent dimensions whose mean has a variance above 0.01 over the images (Burda et al., 2016).
    """
    means, kl, squared, nats = [], 0.0, 0.0, 0.0
    noise = torch.Generator().manual_seed(0)  # a generator of its own: an evaluation must not change the run
    for part in images.split(images_at_a_time(images, CHUNK)):
        x = part.to(vae.latent_mean.device).float().div_(255)
        posterior = vae.encode(x)
        squared += float((vae.decode(posterior.mean) - x).square().sum())
        kl += float(kl_per_dim(posterior).sum()) * len(x)
        eps = torch.randn(len(x), *vae.latent_shape, generator=noise).to(x.device)
        nats += float(vae_loss(vae, x, likelihood=likelihood, eps=eps)["total"]) * len(x)
        means.append(posterior.mean)
    dims = images[0].numel()
    variance = torch.cat(means).var(0, correction=0).reshape(vae.config.latent_dim, -1).mean(1)
    quality = {
        "psnr_db": -10 * math.log10(max(squared / images.numel(), 1e-12)),
        "nats": nats / len(images),
        "kl_nats": kl / len(images),
        "active_units": float((variance > ACTIVE_VARIANCE).sum()),
    }
    if likelihood == "gaussian":
        quality["bits_per_dim"] = bits_per_dim(quality["nats"], dims)
    return quality


@torch.no_grad()
def knn_purity(vae: VAE, bank: LatentBank | None, images: Tensor, labels: Tensor, k: int = 10) -> float:
    """Part of the k nearest neighbours of an image, among these, that share its label.

    By the latents' Euclidean distance; over a bank whose latents do not tell classes, by the angle between features of its first
    view.

    Args:
        images: uint8 `(N, C, S, S)`; labels: `(N,)`.
    """
    if bank is not None and not bank.policy.latents_tell_classes:
        points = normalize(bank.views[0].embed(vae, images))
    else:
        parts = (
            part.to(vae.latent_mean.device).float().div_(255) for part in images.split(images_at_a_time(images, 1000))
        )
        points = torch.cat([vae.encode(part).mean.flatten(1) for part in parts])
    labels, same = labels.to(points.device), 0.0
    for start in range(0, len(points), 1000):
        distance = torch.cdist(points[start : start + 1000], points)
        rows = torch.arange(len(distance), device=points.device)
        distance[rows, start + rows] = torch.inf  # not itself
        nearest = distance.topk(k, largest=False).indices
        same += float((labels[nearest] == labels[start : start + 1000, None]).sum())
    return same / (k * len(points))
