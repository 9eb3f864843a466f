"""Vary ten garments in one line, offline: writes quickstart.png, originals above four augmentations of each.

    python examples/quickstart.py

Prints the transform and where the picture is; takes a few seconds.
"""

import torch
from torchvision.transforms.v2 import functional as F
from torchvision.utils import make_grid

from vae_augment import Interpolate, VAEAugment
from vae_augment.demo_data import fashion_sample

torch.manual_seed(0)
images, _ = fashion_sample()  # uint8 (500, 1, 28, 28), ten classes in turn
originals = images[:10]

# toward garments that the VAE finds similar; the default jitter is Noise(), which needs no bank of latents
augment = VAEAugment.from_pretrained("fashion-mnist", jitter=Interpolate(k=4), strength=2.0)
rows = [originals] + [augment(originals) for _ in range(4)]

picture = F.to_pil_image(make_grid(torch.cat(rows), nrow=10, padding=2, pad_value=128))
picture.resize((picture.width * 3, picture.height * 3), resample=0).save("quickstart.png")
print(augment)
print("quickstart.png: originals in the first row, their augmentations below")
