"""Writing a weights folder with its model card."""

import errno
import os
from pathlib import Path

from ..autoencoders import DiffusersCodec
from .card import read_card
from .diffusers_folder import save_diffusers_folder
from .find import name_of
from .format import save_folder
from .model_card import model_card
from .printable import shown
from .weights import Weights, savable

LONGEST = ".model.safetensors.12345678.part"  # name of a file that is written there


def folder_to_write(name: str | os.PathLike[str]) -> Path:
    """Return the path of a folder, `~` expanded. Raises ValueError if this system has no folders of so long a name."""
    folder = Path(os.path.expanduser(name))
    try:
        os.lstat(folder / LONGEST)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ValueError(
                f"{shown(str(folder))}... has {len(str(folder))} characters, too many for a folder: give a shorter name"
            ) from None
    return folder


def save(folder: str | os.PathLike[str], weights: Weights, card: str | None = None) -> None:
    """Write a weights folder that `load` reads. Tensors are stored in float16; interrupted, it leaves no half file.

    Args:
        folder: made if there is none.
        card: text of README.md. None: it is written from the weights; what was written into an old one by hand is kept.

    An autoencoder of diffusers is written as diffusers does, without a card, in float32, with what was measured of it beside it.

    Raises:
        TypeError: the network is no `VAE`, nor one of diffusers; nothing is written.
        ValueError: values that are not finite in float16, or the folder's name is too long; nothing is written.

    Example:
        >>> import tempfile
        >>> from vae_augment import VAE, VAEConfig, Weights, load_weights
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(folder, Weights(VAE(VAEConfig(latent_dim=8))))
        ...     load_weights(folder).vae.latent_shape
        (8,)
    """
    if isinstance(weights.vae, DiffusersCodec):
        save_diffusers_folder(folder_to_write(folder), weights)
        return
    folder, own = folder_to_write(folder), savable(weights)
    save_folder(folder, own, model_card(own, name_of(folder), old=read_card(folder)) if card is None else card)
