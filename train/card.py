"""The model card of a run."""

from pathlib import Path

from vae_augment import Weights
from vae_augment.hub import ORIGINALS, model_card, read_card


def run_card(weights: Weights, name: str, folder: Path, recipe: str, command: str) -> str:
    """Write the text of README.md for a run's folder; what the owner added to an older one is kept.

    Args:
        weights: of the run.
        name: what `from_pretrained` takes.
        folder: of the run; its samples.png is `pictures.contact_sheet`.
        recipe: text of training.yaml.
        command: the command line that repeats the run.
    """
    rows = f"{ORIGINALS}, reconstructions, augmentations at strength 0.5, 1 and 2, samples of the prior"
    return model_card(weights, name, recipe=recipe, command=command, picture=rows, old=read_card(folder))
