"""Typicality: how much images are like a pool's, by their distance to its nearest."""

import torch
from torch import Tensor

from .nearest import PART
from .views import View

CHUNK = 50  # images at a time: a fit takes less than 50 MB
LARGEST_COPY_DISTANCE = 0.01  # of features in float16 of one image, as a part of their mean length


@torch.no_grad()
def typicality(view: View, features: Tensor) -> Tensor:
    """Part of a pool's images that lie farther from their nearest other than each of these from its nearest: float32 `(M,)`.

    Of images of the pool's kind about half are above 0.5; copies of an image of the pool have 1. Copies within the pool do not
    count.

    Args:
        features: float32 `(M, D)`, of images, as the view embeds them.
    """
    pool = view.features.split(PART)
    copy_distance = LARGEST_COPY_DISTANCE * torch.cat([part.float().norm(dim=1) for part in pool]).mean()
    within = view.distances_within(copy_distance)
    nearest = torch.stack([_nearest(features, known.float()) for known in pool]).amin(0)
    farther = 1 - torch.searchsorted(within.sort().values, nearest) / max(1, len(within))
    return torch.where(nearest > copy_distance, farther, 1)


def _nearest(features: Tensor, pool: Tensor) -> Tensor:
    """Distances to the nearest of a pool, float32 `(M,)`."""
    return torch.cat([torch.cdist(part, pool).amin(1) for part in features.split(CHUNK)])
