"""Weights by name: bundled with the package, in a local folder, or on the Hugging Face Hub."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Unpack

from .format import load_folder
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

    def load(self) -> Weights:
        """Load the folder; an error names the Hub's repository and commit, too."""
        if self.source != "hub":
            return load_folder(self.folder)
        try:
            return replace(load_folder(self.folder), commit=self.commit)
        except (FileNotFoundError, WeightsError) as error:
            raise type(error)(
                f"{self.name} of the Hub, commit {self.commit}: {error}. If the cache is damaged: force_download=True"
            ) from None


def locate(name: str | os.PathLike[str], **options: Unpack[DownloadOptions]) -> Located:
    """Find the folder of weights, fetched if it is on the Hub; options and errors as of `load`."""
    text, folder = os.fspath(name), Path(os.path.expanduser(name))
    is_folder = os.path.isdir(folder)  # where Path.is_dir raises for a name that is too long
    if text in bundled() and (isinstance(name, str) or not is_folder):
        _check_no_revision(text, "comes with the package", options)
        return Located(text, "bundled", BUNDLED / text)
    if is_folder:
        _check_no_revision(text, "is a local folder", options)
        return Located(text, "folder", folder)
    if not is_repo_id(name):
        raise FileNotFoundError(unknown_name(name))
    folder = fetch(text, **options)
    return Located(text, "hub", folder, commit=folder.name)


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
) -> Weights:
    """Load a bundled name, a local folder or a Hub id `user/repo`, whole or not at all.

    Args:
        name: a name of `bundled()` comes first, then a folder, then the Hub; the first two touch no network. A folder that
            has a bundled name is meant by `"./mnist"`, or by a `Path`, for which an existing folder comes first.
        revision: branch or tag of the Hub or, for repeatable results, a commit's sha; default main.
        token: for the Hub; default that of `hf auth login`, False sends none.
        cache_dir: folder that keeps downloads; default $HF_HUB_CACHE.
        local_files_only: take what is in the cache, as `HF_HUB_OFFLINE=1` does for a whole process.
        force_download: fetch again what is in the cache.

    Raises:
        FileNotFoundError: there is no such name, folder, repository or revision, or a file of the weights is missing.
        ConnectionError: the download failed: the server was not reached or refused, the token may not, or the cache lacks the
            weights while offline; the message says what to do.
        WeightsError: the files are damaged, do not fit together, or are of a newer version.
        ValueError: a revision of weights that are not of the Hub.

    Example:
        >>> from vae_augment import load_weights  # this function
        >>> load_weights("fashion-mnist").vae.latent_shape
        (64,)
    """
    located = locate(
        name,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        force_download=force_download,
    )
    return located.load()


def name_of(folder: Path) -> str:
    """The name under which `load` finds this folder."""
    text = folder.as_posix()
    return f"./{text}" if text in bundled() else text
