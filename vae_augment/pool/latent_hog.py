"""The view by latents and HOG: two images are near if one, slightly perturbed, encodes and looks like the other."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..images import as_floats, spread_places
from ..numerics import in_threads
from ..progress import progress
from ..vae import Codec
from .hog import hog
from .nearest import EXACT, PART, USUAL_SEARCH, Search
from .perturbations import perturbations
from .perturbed_search import PerturbedSearch, nearest_of_lists, perturbed_features

CHUNK = 500  # images, and rows of the similarity matrix, at a time: 20 MB for a pool of 10,000
QUERY_CHUNK = 50  # new images at a time: a fit takes less than 50 MB
NEIGHBOURS = 13  # more make a bank larger and labels hardly truer
CANDIDATES = 100  # by weighted cosine, of which an image's neighbours are chosen
UNIT_NEIGHBOUR = 8  # the neighbour whose distance is the unit of an image's other distances
FIRST, WALKED, STEPS = (
    64,
    12,
    3,
)  # of a large pool: the nearest by latents, from how many of which a query walks on, and how far
UNITS_OF = 1000  # images of a large pool, whose mean distance is a unit


@dataclass(frozen=True, eq=False)
class LatentHogView:
    """Images compared by their latents and their HOG descriptors, each under small perturbations.

    The bank holds no HOG descriptors: they are computed of its decoded latents.

    Args:
        name: as messages print it.
        weight: its vote.
        latents: float16 `(N, *latent_shape)`, the bank's.
        neighbours: `(N, k)`, int16 of at most 32,768 images, else int32.
        recall: part of the ten nearest that an index found, where one was used.
    """

    name: str
    weight: float
    latents: Tensor
    neighbours: Tensor
    recall: float = 1.0

    @property
    def features(self) -> Tensor:
        """The pool's latents as unit vectors, float32 `(N, L)`, float16 of a large pool."""
        if len(self.latents) <= EXACT:
            return normalize(self.latents.float().flatten(1))
        return torch.cat([normalize(part.float().flatten(1)).half() for part in self.latents.split(PART)])

    def embed(self, vae: Codec, images: Tensor) -> Tensor:
        """Latents of images as unit vectors, float32 `(M, L)`."""
        parts = images.split(QUERY_CHUNK)
        return torch.cat([normalize(vae.encode(as_floats(part))[0].flatten(1)) for part in parts])

    def nearest(self, vae: Codec, images: Tensor, features: Tensor) -> Tensor:
        """The places of the k nearest of the pool to any perturbation of each image, int64 `(M, k)`.

        A large pool is not decoded whole: from the nearest by latents a query walks on along its graph, as in HNSW (Malkov &
        Yashunin, TPAMI 2020), and only what it passes is decoded.
        """
        if len(self.latents) > EXACT:
            parts = progress(images.split(QUERY_CHUNK), "compare with the pool")
            return torch.cat([self._walked(vae, part) for part in parts])
        latents, hogs = self.features, self._hogs(vae, self.latents)
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
        first = self.neighbours[:, 0].split(PART)
        parts = [
            (part.float() - pool[near.long()].float()).norm(dim=1)
            for part, near in zip(pool.split(PART), first, strict=True)
        ]
        distances = torch.cat(parts)
        return distances[distances > least]

    def _walked(self, vae: Codec, images: Tensor) -> Tensor:
        """The nearest as far as a walk through a large pool's graph finds them."""
        own = perturbed_features(vae, images)
        units = self._units(vae)
        near = self._nearest_by_latents(own[0])
        nowhere = torch.full((len(images),), -1)
        for step in range(STEPS + 1):
            distance = self._distances(vae, own, near, units)
            best = distance.topk(min(FIRST, near.shape[1]), dim=1, largest=False).indices
            near, distance = near.gather(1, best), distance.gather(1, best)
            if step < STEPS:
                beside = self.neighbours[near[:, :WALKED]].long().flatten(1)
                found = torch.cat([near, beside], 1)
                far = torch.cat([distance, distance.new_full(beside.shape, float(distance.max()) + 1)], 1)
                near = nearest_of_lists(found, far, nowhere, found.shape[1]).clamp_min(0)
        return near[:, : self.neighbours.shape[1]]

    def _nearest_by_latents(self, own: Tensor) -> Tensor:
        """The nearest of the pool by the latents `(B, P, L)` of perturbed images alone, int64 `(B, n)`."""

        def best(start: int) -> tuple[Tensor, Tensor]:
            known = normalize(self.latents[start : start + PART].float().flatten(1))
            cosines = (own.flatten(0, 1) @ known.T).view(*own.shape[:2], -1).amax(1)
            found = cosines.topk(min(FIRST, len(known)), dim=1)
            return found.values, found.indices + start

        cosines, places = zip(*in_threads(best, range(0, len(self.latents), PART)), strict=True)
        order = torch.cat(cosines, 1).topk(FIRST, dim=1).indices
        return torch.cat(places, 1).gather(1, order)

    def _distances(self, vae: Codec, own: tuple[Tensor, Tensor], near: Tensor, units: Tensor) -> Tensor:
        """Distances of perturbed images to those of the pool at these places, `(B, n)`, which are decoded."""
        unique, back = near.unique(return_inverse=True)
        latents = self.latents[unique]
        pool = normalize(latents.float().flatten(1)), self._hogs(vae, latents)
        apart = [1 - (a @ b.float()[back].mT).amax(1) for a, b in zip(own, pool, strict=True)]
        return apart[0] / units[0] + apart[1] / units[1]

    def _units(self, vae: Codec) -> Tensor:
        """Mean distances by latents and by HOG from some images of a large pool to their eighth neighbours, `(2,)`."""
        some = spread_places(len(self.latents), UNITS_OF)
        eighth = self.neighbours[some, :UNIT_NEIGHBOUR][:, -1].long()
        seen = [
            (normalize(of.float().flatten(1)), self._hogs(vae, of).float())
            for of in (self.latents[some], self.latents[eighth])
        ]
        return torch.stack([(1 - (a * b).sum(1)).mean() for a, b in zip(*seen, strict=True)]).clamp_min(1e-6)

    @staticmethod
    def _hogs(vae: Codec, pool: Tensor) -> Tensor:
        """HOG descriptors of decoded latents `(N, *latent_shape)` of the pool: float16 `(N, D)`."""
        width = hog(torch.zeros(1, vae.channels, vae.size, vae.size, dtype=torch.float32)).shape[1]
        hogs = torch.empty(len(pool), width, dtype=torch.float16)
        pairs = list(zip(hogs.split(QUERY_CHUNK), pool.split(QUERY_CHUNK), strict=True))
        for part, latents in progress(pairs, "decode the pool"):
            part.copy_(hog(vae.decode(latents.float())))
        return hogs


@torch.no_grad()
def latent_hog_neighbours(
    vae: Codec, images: Tensor, latents: Tensor, how: Search = USUAL_SEARCH
) -> tuple[Tensor, float]:
    """For each image of a pool the others whose latents and HOG are both near, the nearest first: int64 `(N, k)`.

    Latents and HOG err on different images. A distance is measured in that to the eighth neighbour, lest images that lie near to
    everything become everybody's neighbours (Zelnik-Manor & Perona, "Self-Tuning Spectral Clustering", NeurIPS 2004): its unit
    is half-way between the image's own and the pool's mean, since units wholly of each image's own are worse on digits.

    Args:
        images: `(N, C, S, S)`, uint8 or floats in [0, 1].
        latents: float32 `(N, *latent_shape)`.

    Returns:
        The neighbours, and the recall at 10, below 1 where an index found the candidates.
    """
    if (count := len(images)) > how.exact:
        return _found_by_index(vae, images, latents, how)
    latents = normalize(latents.flatten(1))
    hogs = torch.cat([hog(as_floats(part)) for part in images.split(CHUNK)])

    def compared(places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        cosines = _cosines(vae, as_floats(images[places]), latents, hogs)
        for cosine in cosines:
            cosine[torch.arange(len(places)), places] = -2  # not its own neighbour
        best = (cosines[0] + 2 * cosines[1]).topk(min(CANDIDATES, count - 1), dim=1).indices
        distances = torch.stack([1 - cosine.gather(1, best) for cosine in cosines], dim=2)
        nth = min(UNIT_NEIGHBOUR, count - 1)
        return best, distances, torch.stack([1 - cosine.topk(nth, dim=1).values[:, -1] for cosine in cosines], dim=1)

    parts = torch.arange(count).split(CHUNK)
    found = progress(in_threads(compared, parts), "compare by latents and HOG", len(parts))
    candidates, distances, units = map(torch.cat, zip(*found, strict=True))  # (N, n), (N, n, 2), (N, 2)
    return _scaled_nearest(candidates, distances, units), 1.0


def _found_by_index(vae: Codec, images: Tensor, latents: Tensor, how: Search) -> tuple[Tensor, float]:
    pool = PerturbedSearch(vae, images, latents)
    probes, recall = pool.fewest_probes(how)
    parts = torch.arange(len(images)).split(QUERY_CHUNK)
    compared = in_threads(lambda part: pool.compare(part, probes), parts)
    found: list[Tensor] | None = (
        None  # one tensor for each that a part has: of many small ones memory would be in pieces
    )
    for part, results in zip(parts, progress(compared, "compare by latents and HOG", len(parts)), strict=True):
        found = found or [torch.empty(len(images), *result.shape[1:], dtype=result.dtype) for result in results]
        for whole, result in zip(found, results, strict=True):
            whole[part] = result
    assert found is not None
    return _scaled_nearest(*found), recall


def _scaled_nearest(near: Tensor, distances: Tensor, own: Tensor) -> Tensor:
    """Candidates `(N, n)`, distances to them `(N, n, 2)` and to the eighth neighbour `(N, 2)` -> the nearest, scaled locally."""
    own = own.clamp_min(1e-6)
    unit, found = (own * own.mean(0)).sqrt(), []
    for candidates, apart, unit_here in zip(near.split(PART), distances.split(PART), unit.split(PART), strict=True):
        distance = (apart.float() / (unit_here[:, None] * unit[candidates]).sqrt()).sum(2)
        best = distance.topk(min(NEIGHBOURS, candidates.shape[1]), dim=1, largest=False).indices
        found.append(candidates.gather(1, best))
    return torch.cat(found)


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
