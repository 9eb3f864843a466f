"""
Images of no class
==================

A VAE's textbook prior is N(0, I). Latents of real images fill a small part of it, so that its samples are blots. A prior that
was fitted to latents after training (Ghosh et al., ICLR 2020) shows images.
"""

# %%
# Three priors for the same weights. `Exemplars` draws beside latents of the bank, `Mixture` from Gaussians that were fitted to
# them.

import matplotlib.pyplot as plt
import torch

from vae_augment import VAEAugment, load_weights
from vae_augment.prior import Exemplars, Mixture, StandardNormal

weights = load_weights("mnist")
augment = VAEAugment(weights)
latents = weights.bank.whitened(weights.vae)
priors = {
    "N(0, I)": StandardNormal(weights.vae.latent_shape),
    "mixture of Gaussians": Mixture.of_latents(latents),
    "beside latents of the bank": Exemplars(latents),
}

# %%
# The decoder is the same, and so is the number of draws.

figure, axes = plt.subplots(6, 10, figsize=(7, 5), layout="constrained")
for block, (name, prior) in enumerate(priors.items()):
    torch.manual_seed(0)
    drawn = augment.generate(20, prior=prior)
    for axis, image in zip(axes[2 * block : 2 * block + 2].flat, drawn, strict=True):
        axis.imshow(image[0], cmap="gray_r", vmin=0, vmax=1)
        axis.axis("off")
    axes[2 * block, 0].set_title(name, fontsize=10, loc="left")
