"""Neighbours by latents and HOG in a large pool: candidates of an index, compared under perturbations as in a small one."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..images import as_floats, spread_places
from ..numerics import in_one, in_threads
from ..progress import progress
from ..vae import Codec
from .hog import hog
from .nearest import RECALL_AT, Index, Search, fewest_probes, recall
from .perturbations import perturbations

CHUNK = 100  # images at a time: gradients of so many stay in a core's cache
FOUND = 12  # of the index, for each perturbation of an image
CANDIDATES = 64  # of these, for each image, that are compared in full
KEPT = 32  # of these, of which an image's neighbours are chosen
PART = 4096  # of a pool, compared at a time
HOG = 2.0  # the weight of HOG beside latents, where candidates are sought


def perturbed_features(vae: Codec, x: Tensor) -> tuple[Tensor, Tensor]:
    """Latents `(B, P, L)` and HOG `(B, P, D)` of images `(B, C, S, S)` and of their perturbations, unit vectors."""
    seen = [(normalize(vae.encode(images)[0].flatten(1)), hog(images)) for images in perturbations(x)]
    return torch.stack([latents for latents, _ in seen], 1), torch.stack([hogs for _, hogs in seen], 1)


class PerturbedSearch:
    """A large pool, to be searched by the latents and HOG of perturbed images.

    Args:
        images: `(N, C, S, S)`, uint8 or floats in [0, 1].
        latents: `(N, *latent_shape)`.
    """

    def __init__(self, vae: Codec, images: Tensor, latents: Tensor) -> None:
        self.vae, self.images = vae, images
        self.latents = in_one((normalize(part.float().flatten(1)).half() for part in latents.split(PART)), len(latents))
        parts = images.split(CHUNK)
        seen = in_threads(lambda part: hog(as_floats(part)).half(), parts)
        self.hogs = in_one(progress(seen, "HOG", len(parts)), len(images))
        self._index = Index(len(images), lambda places: joint(*self._at(places)))

    def compare(self, places: Tensor, probes: int) -> tuple[Tensor, Tensor, Tensor]:
        """Candidates for the neighbours of images.

        Returns:
            int32 `(B, n)`, the nearest first; 1 - cosine to each by latents and by HOG, float16 `(B, n, 2)`; and that to the
            eighth nearest by each, float32 `(B, 2)`.
        """
        own = perturbed_features(self.vae, as_floats(self.images[places]))
        asked = joint(*own)
        found, far = self._index.search(asked.flatten(0, 1), FOUND, probes)
        near = nearest_of_lists(found.view(len(places), -1), far.view(len(places), -1), places, CANDIDATES)
        known = self._at(near.clamp_min(0).flatten())
        cosines = torch.stack(
            [(a @ b.view(*near.shape, -1).mT).amax(1) for a, b in zip(own, known, strict=True)], dim=2
        )  # (B, n, 2), of the best perturbation in each
        cosines[near < 0] = -1
        unit = 1 - cosines.topk(min(UNIT_NEIGHBOUR, near.shape[1]), dim=1).values[:, -1]
        best = weighted(cosines).topk(min(KEPT, near.shape[1]), dim=1).indices
        near, cosines = near.gather(1, best), cosines.gather(1, best[:, :, None].expand(-1, -1, 2))
        return near.clamp_min(0).int(), (1 - cosines).half(), unit

    def exact(self, places: Tensor) -> Tensor:
        """The ten nearest others of images by the same measure, among all of the pool: int64 `(B, 10)`."""
        own = perturbed_features(self.vae, as_floats(self.images[places]))

        def best(start: int) -> tuple[Tensor, Tensor]:
            known = torch.arange(start, min(start + PART, len(self.images)))
            cosines = [
                (a.flatten(0, 1) @ b.T).view(len(places), -1, len(known)).amax(1)
                for a, b in zip(own, self._at(known), strict=True)
            ]
            values = weighted(torch.stack(cosines, 2)).masked_fill_(known == places[:, None], -9)
            found = values.topk(min(RECALL_AT, len(known)), dim=1)
            return found.values, known[found.indices]

        values, near = zip(*in_threads(best, range(0, len(self.images), PART)), strict=True)
        return torch.cat(near, 1).gather(1, torch.cat(values, 1).topk(RECALL_AT, dim=1).indices)

    def recall(self, places: Tensor, exact: Tensor, probes: int) -> float:
        """Recall at 10 of the candidates for these images."""
        found = in_threads(lambda part: self.compare(part, probes)[0][:, :RECALL_AT], places.split(CHUNK))
        return recall(torch.cat(list(found)), exact)

    def fewest_probes(self, how: Search) -> tuple[int, float]:
        """As few lists of the index to look at as reach the wanted recall, and the recall."""
        asked = spread_places(len(self.images), how.asked)
        exact = torch.cat([self.exact(part) for part in asked.split(CHUNK)])
        return fewest_probes(lambda probes: self.recall(asked, exact, probes), how.least_recall)

    def _at(self, places: Tensor) -> tuple[Tensor, Tensor]:
        return self.latents[places].float(), self.hogs[places].float()


UNIT_NEIGHBOUR = 8  # as of `latent_hog`


def joint(latents: Tensor, hogs: Tensor) -> Tensor:
    """Vectors whose products are cosines by latents plus twice those by HOG."""
    return torch.cat([latents, HOG**0.5 * hogs], -1)


def weighted(cosines: Tensor) -> Tensor:
    """Cosines by latents and by HOG `(..., 2)` -> what candidates are sought by."""
    return cosines[..., 0] + HOG * cosines[..., 1]


def nearest_of_lists(found: Tensor, far: Tensor, places: Tensor, most: int) -> Tensor:
    """Places found by several searches, `(B, n)`, and how far they are -> the nearest, each once: `(B, m)`, -1 for none."""
    far, order = far.sort(dim=1)
    found, by_place = found.gather(1, order).sort(dim=1, stable=True)
    far = far.gather(1, by_place)
    is_again = torch.zeros_like(found, dtype=torch.bool)
    is_again[:, 1:] = found[:, 1:] == found[:, :-1]
    far = far.masked_fill(is_again | (found == places[:, None]), torch.inf)
    best = far.topk(min(most, far.shape[1]), dim=1, largest=False)
    return found.gather(1, best.indices).masked_fill(best.values.isinf(), -1)
