"""Classifiers on a pretrained network: a linear probe of its features, and its last stage trained further.

They are what somebody who has such a network does first. The probe is scikit-learn's logistic regression on features of length 1.
Lite0's last stage is its last block and head; what goes into it is computed once, for each image and its mirror image.
"""

import copy

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from vae_augment.encoders import Encoder

PENALTY = 10.0  # scikit-learn's C
LEAST = 0.02  # probability below which a soft label's class is left out
STEPS, BATCH, RATE = 300, 32, 1e-3  # of the last stage


def probe(features: Tensor, targets: Tensor, weights: Tensor) -> LogisticRegression:
    """Logistic regression on float32 `(N, D)`; targets are classes `(N,)` or distributions `(N, C)`; weights `(N,)`."""
    if targets.ndim == 2:
        rows, classes = (targets >= LEAST).nonzero(as_tuple=True)
        features, weights, targets = features[rows], weights[rows] * targets[rows, classes], classes
    model = LogisticRegression(C=PENALTY, max_iter=200)
    return model.fit(unit(features).numpy(), targets.numpy(), sample_weight=weights.numpy())


def probe_accuracy(model: LogisticRegression, features: Tensor, labels: Tensor) -> float:
    """In per cent."""
    return 100 * float(model.score(unit(features).numpy(), labels.numpy()))


def unit(features: Tensor) -> Tensor:
    return nn.functional.normalize(features.float(), dim=1)


class LastStage(nn.Module):
    """The end of EfficientNet-Lite0, with a new linear layer: float `(B, 192, h, w)` -> logits `(B, classes)`."""

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__()
        net = copy.deepcopy(encoder.forward.net)  # type: ignore[attr-defined]
        self.block, self.conv, self.norm, self.act = net._blocks[-1], net._conv_head, net._bn1, net._swish
        self.linear = nn.Linear(net._conv_head.out_channels, classes)
        self.requires_grad_(True).eval()  # statistics stay those of ImageNet: batches here are small

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.act(self.norm(self.conv(self.block(x)))).mean((2, 3)))


@torch.no_grad()
def before_last_stage(encoder: Encoder, images: Tensor) -> Tensor:
    """What goes into the last stage, float16 `(N, 192, h, w)`."""
    net, found = encoder.forward.net, list[Tensor]()  # type: ignore[attr-defined]
    handle = net._blocks[-1].register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].half()))
    try:
        encoder.embed(images)
    finally:
        handle.remove()
    return torch.cat(found)


def with_mirrored(encoder: Encoder, images: Tensor) -> Tensor:
    """The same of images and of their mirror images, `(2, N, 192, h, w)`."""
    return torch.stack([before_last_stage(encoder, view) for view in (images, images.flip(-1))])


def train_last_stage(encoder: Encoder, inputs: Tensor, targets: Tensor, few: int, share: float, seed: int) -> LastStage:
    """Train on inputs `(2, N, 192, h, w)`, of which the first `few` are labelled, and a share of a batch are others.

    Args:
        targets: distributions, float32 `(N, C)`.
    """
    torch.manual_seed(seed)
    net, others = LastStage(encoder, targets.shape[1]), inputs.shape[1] - few
    from_others = round(share * BATCH) if others else 0
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    for _ in range(STEPS):
        own = torch.randint(few, (BATCH - from_others,))
        places = torch.cat([own, few + torch.randint(max(1, others), (from_others,))])
        x = inputs[torch.randint(2, places.shape), places].float()
        loss = nn.functional.cross_entropy(net(x), targets[places])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def last_stage_accuracy(net: LastStage, inputs: Tensor, labels: Tensor) -> float:
    """In per cent, of inputs `(N, 192, h, w)`."""
    predicted = torch.cat([net(part.float()).argmax(1) for part in inputs.split(200)])
    return 100 * float((predicted == labels).float().mean())
