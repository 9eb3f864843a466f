"""A jitter of one's own in five lines: a callable `(mean, std) -> z`, here noise on three random dimensions only.

    python examples/own_jitter.py

Prints how many grey levels it changed the images by, on average; takes a few seconds.
"""

import torch
from torch import Tensor

from vae_augment import VAEAugment
from vae_augment.demo_data import fashion_sample


def three_dimensions(mean: Tensor, std: Tensor) -> Tensor:
    chosen = torch.rand_like(mean).topk(3, dim=1).indices
    return mean.scatter_add(1, chosen, 1.5 * torch.randn(len(mean), 3))


torch.manual_seed(0)
images = fashion_sample()[0][:100]
augment = VAEAugment.from_pretrained("fashion-mnist", jitter=three_dimensions)
varied = augment(images)
print(
    f"{type(augment).__name__} changed {len(images)} images by {(varied.float() - images.float()).abs().mean():.1f} of 255 levels"
)
