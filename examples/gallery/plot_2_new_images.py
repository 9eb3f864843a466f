"""
New images of a class
=====================

Ten labels a class spread over ten thousand garments without labels. Then every class has thousands of latents to draw from.
"""

# %%
# The fit: a hundred labelled images, two seconds. The report says how right the labels are, as far as these hundred can tell.

import matplotlib.pyplot as plt
import torch

from vae_augment import VAEAugment
from vae_augment.demo_data import FASHION_CLASSES, fashion_sample

images, labels = fashion_sample()
few = [(images[i], int(labels[i])) for i in range(100)]
augment = VAEAugment.from_pretrained("fashion-mnist").fit(few)
print(augment.fit_report)

# %%
# New images: in the first row a labelled one of each class, below it new ones.

torch.manual_seed(0)
new = augment.sample(list(range(10)) * 4).unflatten(0, (4, 10))
figure, axes = plt.subplots(5, 10, figsize=(9, 5), layout="constrained")
for column, name in enumerate(FASHION_CLASSES):
    for row in range(5):
        image = images[column] / 255 if row == 0 else new[row - 1, column]
        axes[row, column].imshow(image[0], cmap="gray_r", vmin=0, vmax=1)
        axes[row, column].axis("off")
    axes[0, column].set_title(name, fontsize=9)

# %%
# Novelty says how far they lie from what is known: 0 is a decoded image of the pool, a near copy; 0.85, the default, lies
# between several.

figure, axes = plt.subplots(3, 10, figsize=(9, 3), layout="constrained")
for row, novelty in enumerate([0, 0.5, 0.85]):
    augment.novelty = novelty
    torch.manual_seed(1)
    for column, image in enumerate(augment.sample([9] * 10)):
        axes[row, column].imshow(image[0], cmap="gray_r", vmin=0, vmax=1)
        axes[row, column].axis("off")
    axes[row, 0].set_title(f"novelty {novelty:g}", fontsize=10, loc="left")
