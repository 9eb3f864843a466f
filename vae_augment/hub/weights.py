"""Weights: a weights folder in memory; WeightsError: one that is not to be trusted."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..pool import LatentBank
from ..vae import VAE


class WeightsError(ValueError):
    """A weights folder that is damaged, inconsistent, or written by a newer version."""


@dataclass(frozen=True)
class Weights:
    """A loaded weights folder.

    Args:
        vae: the network, in eval mode, on the CPU.
        bank: latents of the pool it was trained on, or None.
        gains: for each calibrated jitter, its factor at strength 1.
        provenance: what it was trained on: name, number of images, sha256 of their pixels.
        metrics: measured on the test set, with units in the names.
        commit: sha of the Hub's commit that was loaded; None for weights from elsewhere. It is not saved.
    """

    vae: VAE
    bank: LatentBank | None = None
    gains: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, str | int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    commit: str | None = None
