"""Finding weights by name: bundled with the package, in a local folder, or on the Hugging Face Hub."""

import os
from dataclasses import replace
from pathlib import Path

from .bundled import BUNDLED, bundled
from .format import load_folder
from .remote import fetch, is_repo_id, not_found
from .weights import Weights, WeightsError


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
        revision: of the Hub: a branch, a tag or, for repeatable results, a commit's sha; default main.
        token: of the Hub; default that of `hf auth login`, False sends none.
        cache_dir: where what comes from the Hub is kept; default $HF_HUB_CACHE.
        local_files_only: take what is in the cache, as `HF_HUB_OFFLINE=1` does for a whole process.
        force_download: fetch again what is in the cache.

    Raises:
        FileNotFoundError: no such weights, a file is missing, or the Hub could not be asked; the message says which.
        WeightsError: the files are damaged, do not fit together, or are of a newer version.
    """
    text, folder = os.fspath(name), Path(name).expanduser()
    if text in bundled() and (isinstance(name, str) or not folder.is_dir()):
        return load_folder(BUNDLED / text)
    if folder.is_dir():
        return load_folder(folder)
    if not is_repo_id(name):
        raise FileNotFoundError(not_found(name))
    folder = fetch(str(name), revision, token, cache_dir, local_files_only, force_download)
    try:
        return replace(load_folder(folder), commit=folder.name)
    except (FileNotFoundError, WeightsError) as error:
        raise type(error)(
            f"{name} of the Hub, commit {folder.name}: {error}. If the cache is damaged: force_download=True"
        ) from None


def name_of(folder: Path) -> str:
    """What `load` takes for this folder."""
    text = folder.as_posix()
    return f"./{text}" if text in bundled() else text
