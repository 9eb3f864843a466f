"""A small classifier, trained on the spot: the judge of labels, what features come from, and what "train on synthetic" trains."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..seeding import global_seed

BATCH = 64
# of a training, by how many real images there are: 16 epochs, after which a few hundred are known by heart. At 160 steps a
# network of 1,000 garments has most of what more would give it, and a report is under a minute
EPOCHS, LEAST_STEPS, MOST_STEPS = 16, 60, 160
LEARNING_RATE = 1e-2
SIDE = (
    32  # pixels: larger images are seen at half their side, or less, which keeps a report of photographs under a minute
)
WIDTHS = (24, 48, 96)
CHUNK = 500  # images at a time


class Network(nn.Module):
    """Bytes `(B, C, S, S)` -> logits `(B, classes)`; `features` returns what its layers see."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        first, second, third = WIDTHS
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(channels, first, 5, 2, 2), nn.BatchNorm2d(first), nn.ReLU()),
                nn.Sequential(nn.Conv2d(first, second, 3, 1, 1), nn.BatchNorm2d(second), nn.ReLU(), nn.MaxPool2d(2)),
                nn.Sequential(nn.Conv2d(second, third, 3, 1, 1), nn.BatchNorm2d(third), nn.ReLU()),
            ]
        )
        self.head = nn.Linear(4 * third, classes)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(F.adaptive_avg_pool2d(x, 2).flatten(1))  # type: ignore[no-any-return]

    def features(self, x: Tensor) -> Tensor:
        """Mean and deviation of each channel of each layer: what is drawn, and how, down to grain; `(B, 336)`."""
        found = []
        for block in self.blocks:
            x = block(x)
            found += [x.mean((2, 3)), x.std((2, 3))]
        return torch.cat(found, 1)


def seen(images: Tensor) -> Tensor:
    """Images as networks see them: bytes `(B, C, S, S)` -> float32 in [-1, 1], at most 32 pixels a side."""
    x = images.float().div_(127.5).sub_(1)
    if (factor := -(-x.shape[-1] // SIDE)) > 1:
        x = F.avg_pool2d(x, factor)
    return x.contiguous(memory_format=torch.channels_last)


def usual_steps(images: int) -> int:
    """Steps of a training on so many images.

    Example:
        >>> usual_steps(100), usual_steps(500), usual_steps(60_000)
        (60, 125, 160)
    """
    return max(LEAST_STEPS, min(MOST_STEPS, EPOCHS * images // BATCH))


def train(images: Tensor, labels: Tensor, classes: int, steps: int, seed: int) -> Network:
    """Train a classifier; the global generator is left as it was.

    Args:
        images: uint8 `(N, C, S, S)`.
        labels: int64 `(N,)`, below `classes`.
        classes: how many there are, whether or not all occur.
        steps: batches of 64. The same for all sets that are compared, so that more images are no longer training.
        seed: of its weights and batches.
    """
    x = seen(images)
    with torch.enable_grad(), global_seed(seed):
        network = Network(x.shape[1], classes).to(memory_format=torch.channels_last)
        optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.02)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
        for places in _batches(len(x), steps):
            loss = F.cross_entropy(network(x[places]), labels[places], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def _batches(count: int, steps: int) -> Iterator[Tensor]:
    """Batches of places; each image comes once before any comes again."""
    rounds = -(-steps * BATCH // count)
    order = torch.cat([torch.randperm(count) for _ in range(rounds)])[: steps * BATCH]
    yield from order.split(BATCH)


@torch.no_grad()
def probabilities(network: Network, images: Tensor) -> Tensor:
    """Bytes `(N, C, S, S)` -> probabilities of classes, float32 `(N, classes)`."""
    return torch.cat([network(seen(part)).softmax(1) for part in images.split(CHUNK)])


@torch.no_grad()
def layer_features(network: Network, images: Tensor) -> Tensor:
    """Bytes `(N, C, S, S)` -> `Network.features`, float32 `(N, 336)`."""
    return torch.cat([network.features(seen(part)) for part in images.split(CHUNK)])
