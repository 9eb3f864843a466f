"""Which images of a pool are alike: by their latents and outlines, under small deformations."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..images import as_floats
from ..vae import Codec
from .hog import outlines
from .perturbations import deformed

CHUNK = 500  # images, and rows of the similarity matrix, at a time: 20 MB for a pool of 10,000
NEIGHBOURS = 13  # with 20, labels are 0.1 points truer on garments and a bank of 10,000 takes 140 kB more
CANDIDATES = 100  # of which an image's neighbours are chosen
REACH = 8  # the neighbour whose distance is the unit of an image's others


def most_alike(vae: Codec, x: Tensor, directions: Tensor, drawn: Tensor, scale: Tensor, k: int) -> Tensor:
    """Images -> those of a pool that are most like any deformation of each, the nearest first: int64 `(B, k)`.

    Latents of such a VAE move apart when a digit is shifted by two pixels. Compared like this, ten labelled MNIST images
    a class label 95 % of the pool rightly instead of 92 %, and 77 becomes 79 % on Fashion-MNIST; by latents alone it
    would be 0.4 points less there.

    Args:
        directions, drawn: of the pool, its latents `(N, L)` and its outlines `(N, D)`, of length 1, float16 or 32.
        scale: `(2,)`: what is far between latents, and between outlines.
    """
    latents, lines = _alike(vae, x, directions, drawn)
    apart = latents.sub_(1).div_(-scale[0]).sub_(lines.sub_(1), alpha=1 / float(scale[1]))
    return apart.topk(min(k, len(directions)), dim=1, largest=False).indices


def neighbours_of_all(vae: Codec, images: Tensor, directions: Tensor) -> Tensor:
    """For each image of a pool, those whose latents and outlines are both like its own, the nearest first: int64 `(N, k)`.

    The two err on different images: with the outlines, ten labelled images a class label 80.1 % of Fashion-MNIST's pool
    rightly instead of 79.2 %. Distances are measured in those to the eighth neighbour, lest images that lie near to
    everything become everybody's neighbours (Zelnik-Manor & Perona, "Self-Tuning Spectral Clustering", NeurIPS 2004): in
    the middle of each image's own and the pool's mean, since the own alone cost digits 0.4 points.
    """
    count = len(images)
    drawn = torch.cat([outlines(as_floats(part)) for part in images.split(CHUNK)])
    candidates, distances, reach = [], [], []  # (B, n), (B, n, 2), (B, 2)
    for i, part in enumerate(images.split(CHUNK)):
        alike = _alike(vae, as_floats(part), directions, drawn)
        rows = torch.arange(len(part))
        for one in alike:
            one[rows, i * CHUNK + rows] = -2  # not its own neighbour
        nearest = (alike[0] + 2 * alike[1]).topk(min(CANDIDATES, count - 1), dim=1).indices
        candidates.append(nearest)
        distances.append(torch.stack([1 - one.gather(1, nearest) for one in alike], dim=2))
        eighth = min(REACH, count - 1)
        reach.append(torch.stack([1 - one.topk(eighth, dim=1).values[:, -1] for one in alike], dim=1))
    near, own = torch.cat(candidates), torch.cat(reach).clamp_min(1e-6)
    scale = (own * own.mean(0)).sqrt()
    apart = (torch.cat(distances) / (scale[:, None] * scale[near]).sqrt()).sum(2)
    return near.gather(1, apart.topk(min(NEIGHBOURS, near.shape[1]), dim=1, largest=False).indices)


def _alike(vae: Codec, x: Tensor, directions: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines of images to a pool's latents and to its outlines, each that of the best deformation: `(B, N)` twice."""
    views = list(deformed(x))
    seen = [
        (torch.cat([normalize(vae.encode(view)[0].flatten(1)) for view in views]), directions),
        (torch.cat([outlines(view) for view in views]), drawn),
    ]
    latents, lines = torch.empty((2, len(x), len(directions)), dtype=torch.float32).unbind()
    for alike, (of_views, pool) in zip((latents, lines), seen, strict=True):
        for out, part in zip(alike.split(CHUNK, dim=1), pool.split(CHUNK), strict=True):
            torch.amax((of_views @ part.float().T).view(len(views), len(x), -1), 0, out=out)
    return latents, lines
