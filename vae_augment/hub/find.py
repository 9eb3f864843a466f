"""Weights by name: bundled with the package, in a local folder, or on the Hugging Face Hub."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Unpack

import torch

from .diffusers_folder import AS_IT_IS, MEASURED, PIPELINE, Reading, is_diffusers, load_diffusers_folder, network_file
from .format import FILES, load_folder
from .remote import DownloadOptions, fetch, is_repo_id, unknown_name
from .shipped import BUNDLED, bundled
from .weights import Weights, WeightsError


@dataclass(frozen=True)
class Located:
    """A weights folder that a name leads to.

    Args:
        name: the name, as it was given.
        source: which kind of name it is.
        folder: the files; of the Hub, the cache's copy of one commit.
        commit: sha of the Hub's commit; None elsewhere.
    """

    name: str
    source: Literal["bundled", "folder", "hub"]
    folder: Path
    commit: str | None = None

    def load(self, how: Reading = AS_IT_IS) -> Weights:
        """Load the folder; an error names the Hub's repository and commit, too."""
        if self.source != "hub":
            return self._read(how)
        try:
            return replace(self._read(how), commit=self.commit)
        except (FileNotFoundError, WeightsError) as error:
            raise type(error)(
                f"{self.name} of the Hub, commit {self.commit}: {error}. If the cache is damaged: force_download=True"
            ) from None

    def _read(self, how: Reading) -> Weights:
        if is_diffusers(self.folder):
            return load_diffusers_folder(self.folder, how)
        if (self.folder / PIPELINE).is_file():
            raise FileNotFoundError(
                f"{self.folder} holds a pipeline of diffusers; its autoencoder is mostly in a folder of its own: subfolder='vae'"
            )
        weights = load_folder(self.folder)  # first, so that a damaged file is told as one
        how.refuse(self.name)
        return weights


def locate(
    name: str | os.PathLike[str],
    subfolder: str | None = None,
    variant: str | None = None,
    **options: Unpack[DownloadOptions],
) -> Located:
    """Find the folder of weights, fetched if it is on the Hub; options and errors as of `load`."""
    text, folder = os.fspath(name), Path(os.path.expanduser(name))
    within = _checked_subfolder(subfolder)
    is_folder = os.path.isdir(folder)  # where Path.is_dir raises for a name that is too long
    if text in bundled() and (isinstance(name, str) or not is_folder):
        _check_no_revision(text, "comes with the package", options)
        return Located(text, "bundled", BUNDLED / text)
    if is_folder:
        _check_no_revision(text, "is a local folder", options)
        return Located(text, "folder", folder / within)
    if not is_repo_id(name):
        raise FileNotFoundError(unknown_name(name))
    root = fetch(text, _below(within, (*FILES, MEASURED, PIPELINE)), **options)
    if is_diffusers(root / within):  # the network of the same commit; of several variants this one alone
        options["revision"] = root.name
        fetch(text, _below(within, [network_file(variant)]), **options)
    return Located(text, "hub", root / within, commit=root.name)


def _below(folder: Path, files: Sequence[str]) -> list[str]:
    return [(folder / name).as_posix() for name in files]


def _checked_subfolder(subfolder: str | None) -> Path:
    """Raises ValueError for what does not lie within a folder."""
    if subfolder is None:
        return Path()
    if not isinstance(subfolder, str) or not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", subfolder):
        raise ValueError(f"subfolder must be a folder within the repository, as 'vae', got {subfolder!r:.80}")
    return Path(subfolder)


def _check_no_revision(name: str, kind: str, options: DownloadOptions) -> None:
    """Raise ValueError if a revision is asked of weights that have none: they are not those that were pinned."""
    if (revision := options.get("revision")) is not None:
        raise ValueError(
            f"{name!r} {kind}, and only weights of the Hub have revisions: leave revision={revision!r} out"
        )


def load(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    subfolder: str | None = None,
    variant: str | None = None,
    dtype: torch.dtype | None = None,
    size: int | None = None,
) -> Weights:
    """Load a bundled name, a local folder or a Hub id `user/repo`, whole or not at all.

    A folder whose config.json names an autoencoder of diffusers is one of these (`pip install 'vae-augment[diffusers]'`); its
    latents are whitened by what `VAEAugment.calibrate` stored, else by what is measured here on shipped images.

    Args:
        name: a name of `bundled()` comes first, then a folder, then the Hub; the first two touch no network. A folder that
            has a bundled name is meant by `"./mnist"`, or by a `Path`, for which an existing folder comes first.
        revision: branch or tag of the Hub or, for repeatable results, a commit's sha; default main.
        token: for the Hub; default that of `hf auth login`, False sends none.
        cache_dir: folder that keeps downloads; default $HF_HUB_CACHE.
        local_files_only: take what is in the cache, as `HF_HUB_OFFLINE=1` does for a whole process.
        force_download: fetch again what is in the cache.
        subfolder: of the folder or repository, in which the weights are: "vae" of a pipeline of diffusers.
        variant: of an autoencoder of diffusers: "fp16" reads its files of half the size.
        dtype: of one: in which a GPU computes, torch.bfloat16 or torch.float16; default float32.
        size: of one: side of the images that the network sees, a multiple of its cells. Default: what was stored, else 128
            pixels, more where cells are large.

    Raises:
        ImportError: diffusers is not installed, and the weights are of it.
        FileNotFoundError: there is no such name, folder, repository or revision, or a file of the weights is missing.
        ConnectionError: the download failed: the server was not reached or refused, the token may not, or the cache lacks the
            weights while offline; the message says what to do.
        WeightsError: the files are damaged, do not fit together, or are of a newer version.
        ValueError: a revision of weights that are not of the Hub; an option of diffusers' for others.

    Example:
        >>> from vae_augment import load_weights  # this function
        >>> load_weights("fashion-mnist").vae.latent_shape
        (64,)
    """
    located = locate(
        name,
        subfolder,
        variant,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        force_download=force_download,
    )
    return located.load(Reading(variant, dtype, size))


def name_of(folder: Path) -> str:
    """The name under which `load` finds this folder."""
    text = folder.as_posix()
    return f"./{text}" if text in bundled() else text
