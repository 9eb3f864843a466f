"""Neighbourhoods: new latents between those of known images, along the differences of neighbours."""

import functools
import math

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize

from .numerics import float32_on_cpu, in_threads

USUAL_NOVELTY = 0.85  # chosen on validation, see docs/benchmarks.md
NEIGHBOURS = 10
LARGEST_WORK = 2e10  # multiplications of a search, about a second: in larger groups neighbours are sought among some
LARGEST_PAIRS = 1e9  # compared in all groups together, some ten seconds
CHUNK = 1024  # latents compared at a time


class Neighbourhoods:
    """Latents and their neighbours, from which new latents are drawn.

    A manifold Parzen window (Vincent & Bengio, NeurIPS 2002). Of a latent z, whose k neighbours have the mean m,

        z' = z + novelty / sqrt(k) sum_j eps_j (z_j - m),    eps_j ~ N(0, 1)

    A novelty of 0 is the latent itself. What the kernel adds to the latents' variance makes up for what a decoder blurs.

    Args:
        latents: float16 `(N, *latent_shape)`, whitened.
        ends: int64 `(C,)`: where each group of them ends; neighbours are of the same group. One group: `[N]`. In a group of two
            latents new ones lie along their difference; one alone has nothing beside it, and stays as it is.
    """

    @float32_on_cpu()
    def __init__(self, latents: Tensor, ends: Tensor) -> None:
        self._shape = latents.shape[1:]
        self._latents = latents.flatten(1)  # no copy of them: a fit is sent to workers
        starts = [0, *ends[:-1].tolist()]
        spans, most = list(zip(starts, ends.tolist(), strict=True)), int(LARGEST_PAIRS / max(1, len(latents)))
        groups = list(in_threads(lambda span: _neighbours(self._latents[slice(*span)].float(), most) + span[0], spans))
        itself = torch.arange(len(latents))[:, None]
        self._around = torch.cat([itself, torch.cat(groups)], 1).int()  # (N, 1 + k), places

    def draw(self, places: Tensor, novelty: float, generator: Generator | None = None) -> Tensor:
        """Places `(B,)` of latents -> new ones beside them, float32 `(B, *latent_shape)`."""
        around = self._around.index_select(0, places)  # (B, 1 + k)
        itself, of_eps = _weights(around.shape[1] - 1, novelty)
        eps = torch.randn(len(places), len(of_eps), generator=generator, dtype=torch.float32, device="cpu")
        with torch.autocast("cpu", enabled=False):
            weights = torch.addmm(itself, eps, of_eps)  # (B, 1 + k)
            known = self._latents.index_select(0, around.view(-1)).float()
            if len(places) == 1:  # its cost is in calls, of which these are fewer
                return torch.mm(weights, known).view(1, *self._shape)
            known = known.view(*around.shape, self._latents.shape[1])
            return torch.bmm(weights[:, None], known).view(len(places), *self._shape)


@functools.cache
def _weights(k: int, novelty: float) -> tuple[Tensor, Tensor]:
    """The weights of a latent and its neighbours in the formula above: `(1 + k,)`, and `(k, 1 + k)` by which eps adds to them."""
    itself = torch.tensor([1.0] + k * [0.0], dtype=torch.float32, device="cpu")
    of_eps = torch.zeros(k, 1 + k, dtype=torch.float32, device="cpu")
    of_eps[:, 1:] = torch.eye(k, dtype=torch.float32, device="cpu") - 1 / k  # differences are from the neighbours' mean
    return itself, novelty / math.sqrt(k) * of_eps


def _neighbours(latents: Tensor, most: int) -> Tensor:
    """The nearest others of each latent `(N, L)` by cosine, among so many drawn ones, int64 `(N, NEIGHBOURS)`; of few, all."""
    count = len(latents)
    if count <= NEIGHBOURS:
        return (torch.arange(NEIGHBOURS) % count).expand(count, -1)
    directions = normalize(latents)
    # drawn, and not each second or third: what is periodic would lose a part
    candidates = max(NEIGHBOURS + 1, min(most, int(LARGEST_WORK / latents.numel())))
    drawn = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:candidates].sort().values
    found = []
    for start in range(0, count, CHUNK):
        similarity = directions[start : start + CHUNK] @ directions[drawn].T
        itself = drawn == torch.arange(start, start + len(similarity))[:, None]
        found.append(drawn[similarity.masked_fill_(itself, -2).topk(NEIGHBOURS, 1).indices])
    return torch.cat(found)
