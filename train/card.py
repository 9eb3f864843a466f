"""The model card of a run."""

from pathlib import Path

from vae_augment import Weights
from vae_augment.hub import model_card, read_card


def run_card(weights: Weights, name: str, folder: Path, recipe: str, command: str) -> str:
    """The README.md for a run's folder, whose samples.png is `pictures.contact_sheet`; an older one's own text is kept.

    `name` is what `from_pretrained` takes, `recipe` the text of training.yaml.
    """
    rows = "held-out originals, reconstructions, augmentations at strength 0.5, 1 and 2"
    # parts of a spatial latent are not independent, as the prior has them: no samples are drawn of it
    rows += "" if weights.vae.config.spatial else ", samples of the prior"
    return model_card(weights, name, recipe=recipe, command=command, picture=rows, old=read_card(folder))
