"""The columns of a preview: originals, strengths, jitters and, after a fit, new images of the class."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Generator

from ..jitter import CALIBRATED, Jitter, Noise, needs_bank, traits_of
from ..pool import LatentBank
from ..strength import gain_name
from ..vae import Codec
from .cells import as_cell
from .grid import Column
from .rows import Rows

LARGE = 10_000_000  # parameters


class Varies(Protocol):
    """What varies single images, as `VAEAugment` does."""

    strength: float
    novelty: float

    def vary_all(
        self, images: Sequence[Any], labels: Sequence[Any] | None = None, generator: Generator | None = None
    ) -> list[Any]: ...


@torch.no_grad()
def allowed_jitters(vae: Codec, bank: LatentBank | None, gains: Mapping[str, float]) -> list[Jitter]:
    """The calibrated jitters, the default first, less those that need a bank or a std where there is none.

    Of a large network also less those whose gain is not stored, since it takes minutes to solve one; `calibrate` stores all.

    Example:
        >>> from vae_augment import VAE, VAEConfig
        >>> allowed_jitters(VAE(VAEConfig(latent_dim=8, width=16, neck=4)), None, {})
        [Noise(scale=1.0, coarse=3), PosteriorSample(temperature=1.0)]
    """
    blank = torch.zeros(1, vae.channels, vae.size, vae.size, dtype=torch.float32, device="cpu")
    has_std = vae.encode(blank)[1] is not None
    is_large = isinstance(vae, torch.nn.Module) and sum(p.numel() for p in vae.parameters()) > LARGE
    jitters: list[Any] = [kind() for kind in CALIBRATED]
    return [
        jitter
        for jitter in jitters
        if (has_std or not traits_of(jitter).reads_std)
        and (bank is not None or not needs_bank(jitter))
        and (isinstance(jitter, Noise) or not is_large or gain_name(jitter) in gains)
    ]


def originals(rows: Rows) -> Column:
    return Column("original", [as_cell(image) for image in rows.images])


def of_strengths(augment: Varies, rows: Rows, strengths: Sequence[float], seed: int) -> Iterator[Column]:
    """The same draw at each strength, so that a row shows one way, walked further and further. Leaves the last one set."""
    for strength in strengths:
        augment.strength = strength
        yield _column(f"strength {strength:g}", augment, rows, None, seed)


def of_jitter(augment: Varies, jitter: Jitter, rows: Rows, seed: int) -> Column:
    """A jitter's column, whose transform is given."""
    return _column(_name(jitter), augment, rows, None, seed)


def of_novelties(augment: Varies, rows: Rows, novelties: Sequence[float], seed: int) -> Iterator[Column]:
    """New images of each row's class, drawn beside the same latent of the pool at each novelty."""
    labels = None if None in rows.labels else rows.labels
    for novelty in novelties:
        augment.novelty = novelty
        yield _column(f"novelty {novelty:g}", augment, rows, labels, seed)


def _column(title: str, augment: Varies, rows: Rows, labels: Sequence[Any] | None, seed: int) -> Column:
    new = augment.vary_all(rows.images, labels, Generator("cpu").manual_seed(seed))
    return Column(title, [as_cell(image) for image in new])


def _name(jitter: Jitter) -> str:
    """A class of jitters by its name, a function by its own."""
    return str(getattr(jitter, "__name__", type(jitter).__name__))
