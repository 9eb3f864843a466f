"""FixMatch with the small classifier of `benchmarks.accuracy`: a rival that uses the pool, and no pretrained network.

Sohn et al., "FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence" (NeurIPS 2020): a pool image's label
is the network's own, of a weak view, where that is surer than 0.95; a strong view of it is to get the same label. As there, seven
unlabelled images stand beside a labelled one, and the result is an average of the weights. The optimizer and its schedule are
those of all other arms.
"""

import copy

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from .accuracy import classifier

LABELLED, RATIO = 16, 7  # images in a batch; unlabelled ones for each
SURE, DECAY = 0.95, 0.99  # the threshold; of the average of the weights
VIEWS = 4  # weak and strong ones of each image, made before


def views(images: Tensor, policy: v2.Transform, count: int = VIEWS) -> tuple[Tensor, Tensor]:
    """Weak and strong views of uint8 images `(N, C, S, S)`, each `(count, N, C, S, S)`."""
    side = images.shape[-1]
    weak = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomCrop(side, side // 8, padding_mode="reflect")])
    strong = v2.Compose([policy, v2.RandomErasing(1.0, (0.02, 0.25))])
    made = [[torch.stack([view(image) for image in images]) for _ in range(count)] for view in (weak, strong)]
    return torch.stack(made[0]), torch.stack(made[1])


def fixmatch(
    labelled: Tensor, labels: Tensor, pool: tuple[Tensor, Tensor], seed: int, classes: int, steps: int
) -> nn.Module:
    """Train on weak views `(V, M, C, S, S)` of labelled images, and on weak and strong views of a pool.

    Args:
        labels: int64 `(M,)`.
        pool: as `views` returns them.
    """
    torch.manual_seed(seed)
    net = classifier(classes, *labelled.shape[2:4])
    average = copy.deepcopy(net).requires_grad_(False)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    weak, strong = pool
    for _ in range(steps):
        few = torch.randint(labelled.shape[1], (LABELLED,))
        many = torch.randint(weak.shape[1], (LABELLED * RATIO,))
        parts = (_views(labelled, few), _views(weak, many), _views(strong, many))
        with torch.autocast("cpu", torch.bfloat16):
            of_few, of_weak, of_strong = net(torch.cat(parts)).float().split([len(part) for part in parts])
        confidence, target = of_weak.detach().softmax(1).max(1)
        consistency = nn.functional.cross_entropy(of_strong, target, reduction="none") * (confidence >= SURE)
        loss = nn.functional.cross_entropy(of_few, labels[few]) + consistency.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        _follow(average, net)
    return average.eval()


def _views(made: Tensor, places: Tensor) -> Tensor:
    """A random view of each of these images, float32 in [0, 1]."""
    return made[torch.randint(len(made), places.shape), places].float() / 255


def _follow(average: nn.Module, net: nn.Module) -> None:
    for own, new in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if own.is_floating_point():
            own.lerp_(new, 1 - DECAY)
        else:
            own.copy_(new)
