"""VAEs for the benchmarks that need one trained on fewer images than the bundled ones saw."""

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from train.data import Data
from train.log import Log
from train.loop import train
from train.recipes import RECIPES
from vae_augment import VAE


def pretrain(name: str, images: Tensor, folder: Path, steps: int | None = None, seed: int = 0) -> VAE:
    """The recipe `name`, trained on these images alone, uint8 `(N, C, S, S)`; `folder` gets its metrics.jsonl."""
    recipe = RECIPES[name]
    recipe = replace(recipe, seed=seed, steps=steps or recipe.steps, batch_size=min(recipe.batch_size, len(images)))
    folder.mkdir(parents=True, exist_ok=True)
    with Log(folder, {}, recipe.steps, "disabled") as log:
        return train(recipe, Data(name, images, images), log, folder)
