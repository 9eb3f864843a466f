"""The program that test_distributed.py starts with torchrun: trains each recipe, and saves the weights of each process."""

import sys
from pathlib import Path

import torch

from train import data as datasets
from train import processes
from train.log import Log
from train.loop import train
from train.recipes import Recipe
from vae_augment import VAEConfig

SMALL = VAEConfig(latent_dim=6, width=16)
RECIPES = {
    "gaussian": Recipe(vae=SMALL, steps=20, batch_size=32, bf16=False),
    "free bits": Recipe(vae=SMALL, steps=20, batch_size=32, bf16=False, free_bits=0.5),
    "bernoulli": Recipe(vae=SMALL, steps=20, batch_size=32, bf16=False, likelihood="bernoulli"),
    "spatial": Recipe(
        vae=VAEConfig(latent_dim=2, width=16, spatial=True), steps=20, batch_size=32, bf16=False, free_bits=0.1
    ),
    "accumulated": Recipe(vae=SMALL, steps=20, batch_size=32, bf16=False, free_bits=0.5, accumulate=4),
}


def run(recipe: Recipe, folder: Path) -> dict[str, torch.Tensor]:
    """Train, and return the weights of this process; the main one's log is in the folder."""
    data = datasets.load("sample", 1, 28)
    if not processes.is_main():
        return train(recipe, data, None, folder).state_dict()
    folder.mkdir(parents=True)
    with Log(folder, {}, recipe.steps, "disabled") as log:
        return train(recipe, data, log, folder).state_dict()


if __name__ == "__main__":
    with processes.process_group():
        for name, recipe in RECIPES.items():
            weights = run(recipe, Path(sys.argv[1]) / name)
            torch.save(weights, Path(sys.argv[1]) / f"{name} {processes.rank()}.pt")
