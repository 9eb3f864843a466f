"""Weights: a weights folder in memory; WeightsError: a file that is not to be trusted."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..pool import LatentBank
from ..prior import Exemplars, Mixture, Prior, StandardNormal
from ..vae import VAE
from .printable import printable


class WeightsError(ValueError):
    """A weights folder, or the file of a fit, that is damaged, inconsistent, or written by a newer version.

    Its message quotes the file: characters that a terminal would obey are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


@dataclass(frozen=True)
class Weights:
    """A weights folder in memory.

    Args:
        vae: the network, in eval mode, on the CPU. `VAEAugment` keeps another codec here, too; of these an autoencoder of
            diffusers can be saved.
        bank: latents of the pool it was trained on, or None.
        gains: factor at strength 1 of each calibrated jitter, by its name.
        provenance: what it was trained on: name, number of images, sha256 of their pixels.
        metrics: quality on the test set, with units in the names.
        prior: latents of new images where there is no bank; None: those of a bank, or none were fitted.
        commit: sha of the Hub's commit that was loaded; None for weights from elsewhere. It is not saved.

    Example:
        >>> from vae_augment import load_weights
        >>> weights = load_weights("mnist")
        >>> weights.vae.latent_shape, len(weights.bank), weights.provenance["name"]
        ((48,), 10000, 'MNIST training images')
    """

    vae: VAE
    bank: LatentBank | None = None
    gains: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, str | int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    prior: Mixture | None = None
    commit: str | None = None

    def usual_prior(self) -> Prior:
        """Where latents of new images come from: beside those of the bank, else the mixture, else N(0, I)."""
        if self.bank is not None:
            return Exemplars(self.bank.whitened(self.vae))
        return self.prior or StandardNormal(tuple(self.vae.latent_shape))


def savable(weights: Weights) -> Weights:
    """The same weights, known to be those of a `VAE`.

    Raises:
        TypeError: their network is another codec, whose architecture config.json cannot describe.
    """
    if not isinstance(weights.vae, VAE):
        raise TypeError(
            f"a weights folder holds a vae_augment.VAE, and this network is a {type(weights.vae).__name__}: save it with its "
            "own library; VAEAugment.save_fit keeps what was fitted with it, and save_pretrained writes autoencoders of diffusers"
        )
    return weights
