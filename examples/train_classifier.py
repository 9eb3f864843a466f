"""Train a small classifier through a DataLoader, on real images and with synthetic ones added; about 20 s, offline.

    python examples/train_classifier.py

Prints the accuracy on 250 held-out garments, without and with `SyntheticDataset`. With a quarter of a thousand images and
one draw the two differ by chance; this shows how to plug it in, `benchmarks/` measures what it earns.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.transforms import v2

from vae_augment import SyntheticDataset, VAEAugment
from vae_augment.demo_data import fashion_sample

STEPS = 300


def classifier() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 24, 3, stride=2, padding=1), nn.BatchNorm2d(24), nn.ReLU()),
        *(nn.Conv2d(24, 48, 3, stride=2, padding=1), nn.BatchNorm2d(48), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48 * 4, 10)),
    )


def train(dataset: Dataset) -> nn.Module:
    torch.manual_seed(0)
    net = classifier()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    policy = v2.Compose([v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.3], [0.35])])
    step = 0
    while step < STEPS:  # equal steps, not equal epochs: the larger data set gets no longer training
        for images, labels in DataLoader(dataset, batch_size=32, shuffle=True, drop_last=True):
            loss = nn.functional.cross_entropy(net(policy(images)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    return net.eval()


@torch.no_grad()
def accuracy(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    x = v2.functional.normalize(images / 255, [0.3], [0.35])
    return (net(x).argmax(1) == labels).float().mean().item()


def main() -> None:
    images, labels = fashion_sample()
    base, held_out = TensorDataset(images[:250], labels[:250]), (images[250:], labels[250:])
    augment = VAEAugment.from_pretrained("fashion-mnist")
    print(f"real images only:      {accuracy(train(base), *held_out):.3f}")
    print(f"and synthetic, 1 to 1: {accuracy(train(SyntheticDataset(base, 1.0, augment)), *held_out):.3f}")


if __name__ == "__main__":
    main()
