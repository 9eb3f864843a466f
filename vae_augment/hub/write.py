"""Writing a weights folder with its model card."""

import os
from pathlib import Path

from .card import read_card
from .find import name_of
from .format import save_folder
from .model_card import model_card
from .weights import Weights, savable


def save(folder: str | os.PathLike[str], weights: Weights, card: str | None = None) -> None:
    """Write a weights folder that `load` reads. Tensors are stored in float16; interrupted, it leaves no half file.

    Args:
        folder: made if there is none.
        card: text of README.md. None: it is written from the weights; what was written into an old one by hand is kept.

    Raises:
        TypeError: the network is no `VAE`; nothing is written.
        ValueError: values that are not finite in float16; nothing is written.

    Example:
        >>> import tempfile
        >>> from vae_augment import VAE, VAEConfig, Weights, load_weights
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(folder, Weights(VAE(VAEConfig(latent_dim=8))))
        ...     load_weights(folder).vae.latent_shape
        (8,)
    """
    folder, own = Path(os.path.expanduser(folder)), savable(weights)
    save_folder(folder, own, model_card(own, name_of(folder), old=read_card(folder)) if card is None else card)
