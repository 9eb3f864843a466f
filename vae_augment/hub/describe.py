"""Description of a weights folder: where it is, what it was trained on, how good it is, what it holds."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..pool import LatentBank
from .card import read_license
from .diffusers_folder import MEASURED, network_file
from .find import Located, locate
from .format import DOCUMENTS, FILES
from .remote import fetch


@dataclass(frozen=True)
class BankDescription:
    """A bank, described: how many latents, how many neighbours of each, and what images are compared by."""

    latents: int
    neighbours: int
    compared_by: list[str]


@dataclass(frozen=True)
class Description:
    """A weights folder, described in JSON types.

    Args:
        name: the name that it was loaded by.
        source: "bundled", "folder" or "hub".
        folder: path of the files.
        revision: branch, tag or sha that was asked of the Hub; None elsewhere, and for main.
        commit: sha of the Hub's commit; None elsewhere.
        channels, size: of the images, `(channels, size, size)`.
        latent: shape of one latent.
        parameters: number of the network's parameters.
        provenance: what it was trained on: name, number of images, sha256 of their pixels.
        metrics: measured quality, with units in the names.
        license: licence that the model card states; None if it states none.
        gains: factor at strength 1 of each calibrated jitter.
        bank: None without one.
        files: sizes in bytes.
    """

    name: str
    source: str
    folder: str
    revision: str | None
    commit: str | None
    channels: int
    size: int
    latent: list[int]
    parameters: int
    provenance: Mapping[str, str | int]
    metrics: Mapping[str, float]
    license: str | None
    gains: Mapping[str, float]
    bank: BankDescription | None
    files: Mapping[str, int]


def describe(name: str | os.PathLike[str], *, revision: str | None = None) -> Description:
    """Load a weights folder, whole or not at all, and describe it; errors as of `load`.

    Args:
        name: bundled name or local folder, which touch no network, or Hub id `user/repo`.
        revision: branch, tag or commit of the Hub.

    Example:
        >>> about = describe("mnist")
        >>> about.source, about.latent, about.provenance["images"], about.license
        ('bundled', [48], 60000, 'apache-2.0')
    """
    located = locate(name, revision=revision)
    weights = located.load()
    if located.source == "hub":
        _fetch_card(located)
    return Description(
        name=located.name,
        source=located.source,
        folder=str(located.folder),
        revision=revision if located.source == "hub" else None,
        commit=located.commit,
        channels=weights.vae.channels,
        size=weights.vae.size,
        latent=list(weights.vae.latent_shape),
        parameters=sum(parameter.numel() for parameter in weights.vae.parameters()),
        provenance=dict(weights.provenance),
        metrics=dict(weights.metrics),
        license=read_license(located.folder),
        gains=dict(weights.gains),
        bank=None if weights.bank is None else _describe_bank(weights.bank),
        files=_sizes(located.folder),
    )


def _fetch_card(located: Located) -> None:
    """Add the model card to the cache, for its licence. Weights that are cached are described offline, too."""
    with suppress(ConnectionError, FileNotFoundError):
        fetch(located.name, ("config.json", "README.md"), revision=located.commit)


def _describe_bank(bank: LatentBank) -> BankDescription:
    return BankDescription(len(bank), bank.views[0].neighbours.shape[1], [view.name for view in bank.views])


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of the files that belong to the weights."""
    paths = [folder / name for name in (*FILES, *DOCUMENTS, network_file(None), MEASURED)]
    return {path.name: path.stat().st_size for path in paths if path.is_file()}
