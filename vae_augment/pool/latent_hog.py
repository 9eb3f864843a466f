"""The view by latents and HOG: two images are near if one, slightly perturbed, encodes and looks like the other."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..images import as_floats
from ..progress import progress
from ..vae import Codec
from .hog import hog
from .perturbations import perturbations

CHUNK = 500  # images, and rows of the similarity matrix, at a time: 20 MB for a pool of 10,000
QUERY_CHUNK = 50  # new images at a time: a fit takes less than 50 MB
NEIGHBOURS = 13  # more make a bank larger and labels hardly truer
CANDIDATES = 100  # by weighted cosine, of which an image's neighbours are chosen
UNIT_NEIGHBOUR = 8  # the neighbour whose distance is the unit of an image's other distances


@dataclass(frozen=True, eq=False)
class LatentHogView:
    """Images compared by their latents and their HOG descriptors, each under small perturbations.

    The bank holds no HOG descriptors: they are computed of its decoded latents.

    Args:
        name: as messages print it.
        weight: its vote.
        latents: float16 `(N, *latent_shape)`, the bank's.
        neighbours: int16 `(N, k)`.
    """

    name: str
    weight: float
    latents: Tensor
    neighbours: Tensor

    @property
    def features(self) -> Tensor:
        """The pool's latents as unit vectors, float32 `(N, L)`."""
        return normalize(self.latents.float().flatten(1))

    def embed(self, vae: Codec, images: Tensor) -> Tensor:
        """Latents of images as unit vectors, float32 `(M, L)`."""
        parts = images.split(QUERY_CHUNK)
        return torch.cat([normalize(vae.encode(as_floats(part))[0].flatten(1)) for part in parts])

    def nearest(self, vae: Codec, images: Tensor, features: Tensor) -> Tensor:
        """The places of the k nearest of the pool to any perturbation of each image, int64 `(M, k)`."""
        latents, hogs = self.features, self._hogs(vae)
        k = min(self.neighbours.shape[1], len(latents))
        unit_neighbour = self.neighbours[::10, :UNIT_NEIGHBOUR][:, -1].long()  # of a tenth, which is enough for a mean
        distances = [(1 - (pool[::10].float() * pool[unit_neighbour]).sum(1)).mean() for pool in (latents, hogs)]
        units = torch.stack(distances).clamp_min(1e-6)
        nearest = []
        for part in progress(images.split(QUERY_CHUNK), "compare with the pool"):
            by_latents, by_hog = _cosines(vae, part, latents, hogs)
            distance = by_latents.sub_(1).div_(-units[0]).sub_(by_hog.sub_(1), alpha=1 / float(units[1]))
            nearest.append(distance.topk(k, dim=1, largest=False).indices)
        return torch.cat(nearest)

    def distances_within(self, least: Tensor) -> Tensor:
        """Distances between latents of an image and its first neighbour."""
        pool = self.features
        distances: Tensor = (pool - pool[self.neighbours[:, 0].long()]).norm(dim=1)
        return distances[distances > least]

    def _hogs(self, vae: Codec) -> Tensor:
        """HOG descriptors of the pool, as far as the bank holds its images: float16 `(N, D)`."""
        width = hog(torch.zeros(1, vae.channels, vae.size, vae.size, dtype=torch.float32)).shape[1]
        hogs = torch.empty(len(self.latents), width, dtype=torch.float16)
        pairs = list(zip(hogs.split(QUERY_CHUNK), self.latents.split(QUERY_CHUNK), strict=True))
        for part, latents in progress(pairs, "decode the pool"):
            part.copy_(hog(vae.decode(latents.float())))
        return hogs


@torch.no_grad()
def latent_hog_neighbours(vae: Codec, images: Tensor, latents: Tensor) -> Tensor:
    """For each image of a pool the others whose latents and HOG are both near, the nearest first: int64 `(N, k)`.

    Latents and HOG err on different images. A distance is measured in that to the eighth neighbour, lest images that lie near to
    everything become everybody's neighbours (Zelnik-Manor & Perona, "Self-Tuning Spectral Clustering", NeurIPS 2004): its unit
    is half-way between the image's own and the pool's mean, since units wholly of each image's own are worse on digits.

    Args:
        images: `(N, C, S, S)`, uint8 or floats in [0, 1].
        latents: float32 `(N, *latent_shape)`.
    """
    count = len(images)
    latents = normalize(latents.flatten(1))
    hogs = torch.cat([hog(as_floats(part)) for part in images.split(CHUNK)])
    candidates, distances, units = [], [], []  # (B, n), (B, n, 2), (B, 2)
    for i, part in enumerate(progress(images.split(CHUNK), "compare by latents and HOG")):
        cosines = _cosines(vae, as_floats(part), latents, hogs)
        rows = torch.arange(len(part))
        for cosine in cosines:
            cosine[rows, i * CHUNK + rows] = -2  # not its own neighbour
        best = (cosines[0] + 2 * cosines[1]).topk(min(CANDIDATES, count - 1), dim=1).indices
        candidates.append(best)
        distances.append(torch.stack([1 - cosine.gather(1, best) for cosine in cosines], dim=2))
        nth = min(UNIT_NEIGHBOUR, count - 1)
        units.append(torch.stack([1 - cosine.topk(nth, dim=1).values[:, -1] for cosine in cosines], dim=1))
    near, own = torch.cat(candidates), torch.cat(units).clamp_min(1e-6)
    unit = (own * own.mean(0)).sqrt()
    distance = (torch.cat(distances) / (unit[:, None] * unit[near]).sqrt()).sum(2)
    return near.gather(1, distance.topk(min(NEIGHBOURS, near.shape[1]), dim=1, largest=False).indices)


def _cosines(vae: Codec, x: Tensor, latents: Tensor, hogs: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines of images to a pool's latents and to its HOG, each that of the best perturbation: `(B, N)` twice.

    A shift of two pixels moves the latent of a digit far; the best perturbation undoes it.

    Args:
        latents, hogs: of the pool, unit vectors `(N, L)` and `(N, D)`, float16 or 32.
    """
    perturbed = list(perturbations(x))
    pairs = [
        (torch.cat([normalize(vae.encode(images)[0].flatten(1)) for images in perturbed]), latents),
        (torch.cat([hog(images) for images in perturbed]), hogs),
    ]
    by_latents, by_hog = torch.empty((2, len(x), len(latents)), dtype=torch.float32).unbind()
    for cosines, (own, pool) in zip((by_latents, by_hog), pairs, strict=True):
        for out, part in zip(cosines.split(CHUNK, dim=1), pool.split(CHUNK), strict=True):
            torch.amax((own @ part.float().T).view(len(perturbed), len(x), -1), 0, out=out)
    return by_latents, by_hog
