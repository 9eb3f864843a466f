"""Near copies: how many decoded latents of a bank are likenesses of single training images."""

import torch
from torch import Tensor

from vae_augment import VAE, LatentBank
from vae_augment.images import spread_places

COMPARED = 500  # decoded latents, and held-out images, at most
LARGEST_WORK = 5e10  # multiplications of a search, a second or two: of more or larger images, some are compared
HALF = 0.5  # of the distance at which held-out images lie


@torch.no_grad()
def near_copies(vae: VAE, bank: LatentBank, train: Tensor, test: Tensor) -> float:
    """The part of a bank's decoded latents that are nearer to a training image than half of what held-out images mostly are.

    Distances are Euclidean, of pixels. Whoever has the weights can decode them.

    Args:
        train, test: uint8 `(N, C, S, S)`; the bank is of the former.
    """
    assert bank.index is not None
    count = min(COMPARED, int(LARGEST_WORK / (2 * COMPARED * train[0].numel())))
    own = spread_places(len(bank), count)
    drawn = torch.cat([vae.decode(part.float()) for part in bank.latents[own].split(100)])
    held_out = test[spread_places(len(test), count)].float().div_(255)
    most = int(LARGEST_WORK / (2 * count * train[0].numel()))
    known = torch.cat([bank.index[own].long(), spread_places(len(train), most)]).unique()  # their own images among them
    usual = _to_nearest(held_out, train, known).median()
    return float((_to_nearest(drawn, train, known) < HALF * usual).float().mean())


def _to_nearest(images: Tensor, train: Tensor, places: Tensor) -> Tensor:
    """From each image, float, to the nearest of those at these places of uint8 ones: `(N,)`."""
    x = images.flatten(1)
    nearest = torch.full((len(x),), torch.inf)
    for part in places.split(1000):
        nearest = torch.minimum(nearest, torch.cdist(x, train[part].flatten(1).float().div_(255)).min(1).values)
    return nearest
