"""The three uses of the package, as it was installed: run in an empty folder, offline. Prints what it did."""

import subprocess
import sys
from pathlib import Path

import torch
from torch.utils.data import TensorDataset

import vae_augment
from vae_augment import SyntheticDataset, VAEAugment
from vae_augment.demo_data import fashion_sample

assert Path.cwd() not in Path(vae_augment.__file__).parents, "this is to test what was installed"
images, labels = fashion_sample()

augment = VAEAugment.from_pretrained("mnist")  # vary images
assert augment(images[:8]).shape == (8, 1, 28, 28)
assert augment(images[:8]).dtype == torch.uint8

few = [(images[i], int(labels[i])) for i in range(100)]  # new images of a class, from a few labels
assert VAEAugment.from_pretrained("fashion-mnist").fit(few).sample([9, 9, 0]).shape == (3, 1, 28, 28)

dataset = SyntheticDataset(TensorDataset(images, labels), ratio=0.5)  # synthetic samples in a data set
assert len(dataset) == 750
assert dataset[600][0].shape == (1, 28, 28)

command = [sys.executable, "-m", "vae_augment", "generate", "sample", "--out", "more", "--count", "20"]
subprocess.run(command, check=True)
assert len(list(Path("more").rglob("*.png"))) >= 20
print(
    f"vae-augment {vae_augment.__version__} with torch {torch.__version__} on Python {sys.version.split()[0]}: all uses work"
)
