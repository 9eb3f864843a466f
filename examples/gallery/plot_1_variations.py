"""
Vary images
===========

How far is far? One garment, moved along one random way by growing strength, and by each jitter at strength 1.
"""

# %%
# The transform returns what it was given: here a batch of bytes.

import matplotlib.pyplot as plt
import torch

from vae_augment import Interpolate, LocalNoise, Noise, PosteriorSample, VAEAugment
from vae_augment.demo_data import fashion_sample

images, labels = fashion_sample()  # uint8 (500, 1, 28, 28), ten classes in turn
augment = VAEAugment.from_pretrained("fashion-mnist")
augment(images[:8]).shape, augment(images[:8]).dtype

# %%
# Strength 0 is the image itself, 1 a clear change, 2 often another garment. The same seed draws the same way.

strengths = [0, 0.5, 1, 1.5, 2]
figure, axes = plt.subplots(4, 5, figsize=(6, 5), layout="constrained")
for column, strength in enumerate(strengths):
    augment.strength = strength
    torch.manual_seed(0)
    for row, image in enumerate(augment(images[:4])):
        axes[row, column].imshow(image[0], cmap="gray_r")
        axes[row, column].axis("off")
    axes[0, column].set_title(f"strength {strength:g}", fontsize=10)

# %%
# Jitters differ in the way that they go: anywhere, within the encoder's own doubt, toward a similar garment, or along the
# directions in which similar ones lie.

jitters = {
    "original": None,
    "Noise": Noise(),
    "PosteriorSample": PosteriorSample(),
    "Interpolate": Interpolate(k=10),
    "LocalNoise": LocalNoise(k=10),
}
figure, axes = plt.subplots(4, 5, figsize=(6.4, 5), layout="constrained")
for column, (name, jitter) in enumerate(jitters.items()):
    torch.manual_seed(0)
    shown = images[:4] if jitter is None else VAEAugment.from_pretrained("fashion-mnist", jitter=jitter)(images[:4])
    for row, image in enumerate(shown):
        axes[row, column].imshow(image[0], cmap="gray_r")
        axes[row, column].axis("off")
    axes[0, column].set_title(name, fontsize=10)
