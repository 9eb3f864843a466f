"""Train on ten labelled garments a class, with the best policy alone, and with samples of a fit added.

    python examples/few_labels.py

About a minute on two cores, offline. Prints the accuracy on 400 held-out garments, without and with, for three draws of
the labelled images. The bundled VAE has seen unlabelled Fashion-MNIST, and so has its bank. `benchmarks/accuracy.py` measures
the same on 10,000 test images.
"""

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from vae_augment import VAEAugment
from vae_augment.demo_data import fashion_sample

STEPS, BATCH, PREPARED = 500, 64, 4000


def classifier() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 24, 3, stride=2, padding=1), nn.BatchNorm2d(24), nn.ReLU()),
        *(nn.Conv2d(24, 48, 3, stride=2, padding=1), nn.BatchNorm2d(48), nn.ReLU()),
        *(nn.Conv2d(48, 96, 3, stride=2, padding=1), nn.BatchNorm2d(96), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(96 * 16, 10)),
    )


def train(images: Tensor, labels: Tensor) -> nn.Module:
    """Equal steps and schedule whatever the images are; RandAugment, the best policy here, on all of them."""
    policy = v2.RandAugment()
    images = torch.stack([policy(image) for image in images])
    net = classifier()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)
    for _ in range(STEPS):
        batch = torch.randint(len(images), (BATCH,))
        loss = nn.functional.cross_entropy(net(images[batch] / 255), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def accuracy(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    return 100 * (net(images / 255).argmax(1) == labels).float().mean().item()


def main() -> None:
    images, labels = fashion_sample()  # 500, ten classes in turn
    for draw in range(3):
        torch.manual_seed(draw)
        chosen = torch.zeros(500, dtype=torch.bool)
        for c in range(10):
            of_class = (labels == c).nonzero()[:, 0]
            chosen[of_class[torch.randperm(50)[:10]]] = True
        few, rest = (images[chosen], labels[chosen]), (images[~chosen], labels[~chosen])

        pick = torch.randint(100, (PREPARED,))
        x, y = few[0][pick], few[1][pick]
        alone = accuracy(train(x, y), *rest)

        augment = VAEAugment.from_pretrained("fashion-mnist").fit(list(zip(*few, strict=True)))
        replaced = torch.rand(PREPARED) < 0.7  # the fewer labels, the more samples; half for 50 a class
        x = x.clone()
        x[replaced] = (augment.sample(y[replaced]) * 255).round().to(torch.uint8)
        print(f"draw {draw}: RandAugment {alone:.1f} %, RandAugment + ours {accuracy(train(x, y), *rest):.1f} %")


if __name__ == "__main__":
    main()
