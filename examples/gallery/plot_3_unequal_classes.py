"""
Classes of unequal size
=======================

Fifty images of most classes, five of one. A data set with synthetic samples fills the small one, without a copy of the five.
"""

# %%
# Five ankle boots, fifty of each other garment.

import matplotlib.pyplot as plt
import torch

from vae_augment import SyntheticDataset
from vae_augment.demo_data import FASHION_CLASSES, fashion_sample

images, labels = fashion_sample()
places = [i for i in range(500) if labels[i] != 9 or i < 50]
unequal = [(images[i], int(labels[i])) for i in places]
dataset = SyntheticDataset(unequal, ratio=0.1, balance=True, seed=0)
len(unequal), len(dataset)

# %%
# What it adds, by class.

real = torch.tensor([label for _, label in unequal]).bincount(minlength=10)
added = torch.tensor([unequal[dataset.source(i)][1] for i in range(len(unequal), len(dataset))]).bincount(minlength=10)
figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
axis.bar(FASHION_CLASSES, real, label="real")
axis.bar(FASHION_CLASSES, added, bottom=real, label="synthetic")
axis.tick_params(axis="x", rotation=45)
axis.set_ylabel("images")
axis.legend(loc="lower left")

# %%
# The five real ankle boots, and the first fifteen new ones.

boots = [image for image, label in unequal if label == 9]
new = [dataset[i][0] for i in range(len(unequal), len(dataset)) if unequal[dataset.source(i)][1] == 9][:15]
figure, axes = plt.subplots(4, 5, figsize=(5, 4), layout="constrained")
for axis, image in zip(axes.flat, boots + new, strict=True):
    axis.imshow(image[0], cmap="gray_r")
    axis.axis("off")
axes[0, 0].set_title("real", fontsize=10, loc="left")
axes[1, 0].set_title("new", fontsize=10, loc="left")
