"""Two pools that are harder than ten classes of equal size, made of MNIST and Fashion-MNIST.

pairs      100 classes: two digits side by side, each squeezed to half its width
long tail  ten kinds of garments, of which the commonest has 3,000 images in the pool and the rarest a hundredth of that
"""

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from train import data as datasets

PAIRS, COMMONEST, RAREST = 10_000, 3000, 0.01


Parts = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
"""Images and labels of a pool, of those that a draw may label, and of those to measure on; uint8 and int64."""


def of_name(name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """uint8 training images, their labels, test images, their labels."""
    data = datasets.load(name, 1, 28, None)
    labels = datasets.TORCHVISION[name](str(datasets.root_folder(None)), train=True).targets
    assert data.test_labels is not None
    return data.train, labels, data.test, data.test_labels


def pairs(held_out: int) -> Parts:
    """Of the last `held_out` training images, if there are such, the pairs to measure on are made, else of test images."""
    train, labels, test, test_labels = of_name("mnist")
    used = len(train) - held_out
    measured = (train[used:], labels[used:]) if held_out else (test, test_labels)
    seen = _paired(train[:used], labels[:used], 2 * PAIRS, 1)
    halves = [part.split(PAIRS) for part in seen]
    return halves[0][0], halves[1][0], halves[0][1], halves[1][1], *_paired(*measured, PAIRS, 2)


def _paired(images: Tensor, labels: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    left, right = torch.randint(len(images), (2, count), generator=torch.Generator().manual_seed(seed))
    narrow = F.resize(images, [28, 14])
    return torch.cat([narrow[left], narrow[right]], -1), 10 * labels[left] + labels[right]


def long_tail(held_out: int) -> Parts:
    """Garments; to measure on the last `held_out` training images, if there are such, else the test images."""
    train, labels, test, test_labels = of_name("fashion-mnist")
    used = len(train) - held_out
    in_pool, free = torch.zeros(used, dtype=torch.bool), torch.ones(used, dtype=torch.bool)
    for c in range(10):
        own = (labels[:used] == c).nonzero()[:, 0]
        in_pool[own[: round(COMMONEST * RAREST ** (c / 9))]] = True
        free[own[:COMMONEST]] = False
    measured = (train[used:], labels[used:]) if held_out else (test, test_labels)
    return train[:used][in_pool], labels[:used][in_pool], train[:used][free], labels[:used][free], *measured
