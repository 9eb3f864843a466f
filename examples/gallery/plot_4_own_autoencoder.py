"""
Any autoencoder: principal components
=====================================

The transform asks of an autoencoder that it encodes and decodes, and nothing else. Here it is the oldest one: principal
component analysis (Pearson, 1901).
"""

# %%
# A module with a few members is a codec: see `vae_augment.vae.Codec`.

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from vae_augment import VAEAugment
from vae_augment.demo_data import fashion_sample
from vae_augment.vae import fingerprint_of


class PrincipalComponents(nn.Module):
    """Images -> their first 40 components, and back."""

    channels, size, latent_shape = 1, 28, (40,)

    def __init__(self, images: Tensor) -> None:  # uint8 (N, 1, 28, 28)
        super().__init__()
        x = images.flatten(1) / 255
        _, _, components = torch.pca_lowrank(x, 40)  # (784, 40)
        self.register_buffer("middle", x.mean(0))
        self.register_buffer("components", components)
        z = (x - self.middle) @ components
        self.register_buffer("latent_mean", z.mean(0))
        self.register_buffer("latent_std", z.std(0))

    def encode(self, x: Tensor) -> tuple[Tensor, None]:  # images in [0, 1] -> mean; it knows no std
        return (x.flatten(1) - self.middle) @ self.components, None

    def decode(self, z: Tensor) -> Tensor:
        return (z @ self.components.T + self.middle).unflatten(1, (1, 28, 28)).clamp(0, 1)

    @property
    def fingerprint(self) -> str:  # says whether a bank or a fit is of these components
        return fingerprint_of(self, "principal components")


# %%
# How far strength 1 goes is solved for it. `residual=True`, the default, keeps the detail that forty numbers cannot hold.

torch.manual_seed(0)
images, _ = fashion_sample()
augment = VAEAugment(PrincipalComponents(images)).calibrate(images[:100])
rows = {
    "originals": images[:8],
    "reconstructed": VAEAugment(augment.vae, strength=0, residual=False)(images[:8]),
    "varied": augment(images[:8]),
}
figure, axes = plt.subplots(3, 8, figsize=(8, 3.4), layout="constrained")
for row, (name, shown) in enumerate(rows.items()):
    for column, image in enumerate(shown):
        axes[row, column].imshow(image[0], cmap="gray_r")
        axes[row, column].axis("off")
    axes[row, 0].set_title(name, fontsize=10, loc="left")
