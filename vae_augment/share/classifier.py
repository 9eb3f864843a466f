"""A small classifier and a policy, by which ratios are compared: seconds of one core."""

import math

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from ..seeding import global_seed

BATCH, CHUNK = 32, 16  # images a step; images that share one draw of the policy
LARGEST_SIDE = 32  # pixels that the classifier sees


def network(classes: int, channels: int, size: int) -> nn.Sequential:
    """Two convolutions, which take long steps: six times fewer operations than the classifier of `benchmarks.accuracy`."""
    side = math.ceil(math.ceil(size / 3) / 2)
    return nn.Sequential(
        *(nn.Conv2d(channels, 16, 5, stride=3, padding=2), nn.BatchNorm2d(16), nn.ReLU()),  # (B, 16, S/3, S/3)
        *(nn.Conv2d(16, 48, 3, stride=2, padding=1), nn.BatchNorm2d(48), nn.ReLU()),  # (B, 48, S/6, S/6)
        *(nn.Flatten(), nn.Linear(48 * side**2, classes)),
    )


def varied(images: Tensor) -> Tensor:
    """RandAugment (Cubuk et al., NeurIPS 2020) of uint8 images `(N, C, S, S)`, a draw for each few of them.

    Of other channels than 1 and 3, which have no colours, an affine map. Both draw from torch's global generator.
    """
    policy = v2.RandAugment() if images.shape[1] in (1, 3) else v2.RandomAffine(10, (0.07, 0.07), (0.9, 1.1), 10)
    return torch.cat([policy(part) for part in images.split(CHUNK)]) if len(images) else images


@torch.enable_grad()  # also where what is trained for runs without
def trained(images: Tensor, labels: Tensor, classes: int, seed: int) -> nn.Module:
    """AdamW with one cycle over images in their order, once: uint8 `(steps * BATCH, C, S, S)`, int64 labels."""
    with global_seed(seed):
        net = network(classes, *images.shape[1:3])
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=len(images) // BATCH)
    for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        loss = nn.functional.cross_entropy(net(x.float() / 255), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def log_probabilities(net: nn.Module, images: Tensor) -> Tensor:
    """uint8 images `(N, C, S, S)` -> `(N, classes)`."""
    return torch.cat([net(part.float() / 255).log_softmax(1) for part in images.split(500)])
