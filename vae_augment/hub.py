"""Finding weights by name: bundled with the package, in a local folder, or on the Hugging Face Hub, and pushing them there."""

import difflib
import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from .card import Card, read_card
from .folder import DOCUMENTS, FILES, Weights, WeightsError, load_folder, save

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

__all__ = [
    "BUNDLED",
    "DOCUMENTS",
    "FILES",
    "Weights",
    "WeightsError",
    "bundled",
    "check_repo_id",
    "load",
    "load_folder",
    "name_of",
    "push",
    "save",
]

BUNDLED = Path(__file__).parent / "weights"


def bundled() -> list[str]:
    """Names of the weights that come with the package."""
    return sorted(path.parent.name for path in BUNDLED.glob("*/config.json"))


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
    if not _is_hub_id(name):
        raise FileNotFoundError(_not_found(name))
    folder = _fetch(str(name), revision, token, cache_dir, local_files_only, force_download)
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


def _fetch(
    repo_id: str,
    revision: str | None,
    token: str | bool | None,
    cache_dir: str | os.PathLike[str] | None,
    local_files_only: bool,
    force_download: bool,
) -> Path:
    """The cache's folder of one commit, so that config and weights fit together even while the branch moves."""
    from huggingface_hub import snapshot_download

    from . import __version__

    try:
        folder = snapshot_download(
            repo_id,
            revision=revision,
            token=token,
            cache_dir=None if cache_dir is None else Path(cache_dir).expanduser(),
            local_files_only=local_files_only,
            force_download=force_download,
            allow_patterns=list(FILES),
            library_name="vae-augment",
            library_version=__version__,
        )
    # the client's errors have no base of their own: OSError, those of its HTTP library, RuntimeError of its Xet library
    except Exception as error:
        raise FileNotFoundError(
            f"{_not_found(repo_id)}; as a Hub id it could not be fetched: {error}\n{_remedy(error)}"
        ) from error
    return Path(folder)


def push(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    tag: str | None = None,
    commit_message: str = "Weights for vae-augment",
    endpoint: str | None = None,
) -> str:
    """Put a weights folder on the Hugging Face Hub, as one commit; the repository is made if there is none.

    Only what belongs to the weights is sent: config, tensors, card, its picture and the recipe; no checkpoint, no log.
    Of these, what the folder does not have is removed there by the same commit; other files there are left alone. What
    was written by hand into the card there is kept, unless the folder's card has such text of its own. The card that is
    sent names the repository where the folder's names the folder.

    Args:
        folder: as `save` or `python -m train` writes it.
        repo_id: `user/repo`.
        private: of a new repository; None: as the account's default. An existing one is left as it is.
        token: default: that of `hf auth login`.
        revision: branch to commit to, made from main if there is none; default main.
        tag: name to give the commit.
        endpoint: of another server than huggingface.co; default $HF_ENDPOINT.

    Returns:
        The commit's sha, which `from_pretrained(repo_id, revision=sha)` loads for ever.

    Raises:
        FileNotFoundError, WeightsError: what does not load is not pushed.
        ConnectionError: the server refused or could not be reached; nothing is committed unless the message names a commit.
    """
    check_repo_id(repo_id)
    folder = Path(folder).expanduser()
    load_folder(folder)
    from huggingface_hub import HfApi

    from . import __version__

    api = HfApi(endpoint=endpoint, token=token, library_name="vae-augment", library_version=__version__)
    done = "nothing is committed"
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = api.create_commit(
            repo_id,
            operations=_changes(api, repo_id, revision, folder),
            commit_message=commit_message,
            revision=revision,
        )
        if tag is not None:
            done = f"commit {commit.oid} is made, but not tagged {tag!r}"
            api.create_tag(repo_id, tag=tag, revision=commit.oid)
    except Exception as error:  # as in `_fetch`
        raise ConnectionError(f"{folder} was not pushed to {repo_id}, {done}: {error}\n{_remedy(error)}") from error
    return str(commit.oid)


def _changes(
    api: "HfApi", repo_id: str, revision: str | None, folder: Path
) -> list["CommitOperationAdd | CommitOperationDelete"]:
    """What makes the repository hold this folder: one list, for one commit."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    there = set(api.list_repo_files(repo_id, revision=revision))
    contents: dict[str, Path | bytes] = {
        name: folder / name for name in (*FILES, *DOCUMENTS) if (folder / name).is_file()
    }
    own = Card.parse(read_card(folder))
    if own.block:
        own = own.renamed(repo_id)
        if "README.md" in there:
            with TemporaryDirectory() as cache:
                path = api.hf_hub_download(repo_id, "README.md", revision=revision, cache_dir=cache)
                own = own.keeping(Card.parse(read_card(Path(path).parent)))
        contents["README.md"] = str(own).encode()
    gone = there & {*FILES, *DOCUMENTS} - set(contents)
    return [CommitOperationAdd(name, content) for name, content in contents.items()] + [
        CommitOperationDelete(name) for name in sorted(gone)
    ]


def check_repo_id(repo_id: str) -> None:
    """Raises ValueError if this is no Hub id of the form user/repo."""
    if not _is_hub_id(repo_id):
        raise ValueError(f"a Hub id is of the form user/repo, got {repo_id!r}")


def _is_hub_id(name: str | os.PathLike[str]) -> bool:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    if not isinstance(name, str) or name.count("/") != 1 or name.startswith((".", "~")):
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def _not_found(name: str | os.PathLike[str]) -> str:
    close = difflib.get_close_matches(str(name).lower(), bundled(), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return (
        f"no weights named {str(name)!r}:{hint} it is neither a bundled name ({', '.join(bundled())}), nor a folder, "
        "nor a Hub id of the form user/repo"
    )


def _remedy(error: Exception) -> str:
    """What to do about an error of the Hub's client."""
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, OfflineModeIsEnabled

    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if isinstance(error, PermissionError | OSError) and getattr(error, "errno", None) is not None:
        return "The cache cannot be written: free space, or give another folder as cache_dir or $HF_HOME."
    if status in (401, 403):
        return "The token is missing or may not do this: hf auth login, or token=..."
    if status == 404:
        return "Look at the name, the revision and, of a private repository, the token (hf auth login)."
    if isinstance(error, OfflineModeIsEnabled | LocalEntryNotFoundError) and status is None:
        return "It is not in the cache: load it once with the network, without local_files_only and HF_HUB_OFFLINE."
    if isinstance(error, EntryNotFoundError):
        return "The repository does not hold a file of its own list: ask its author."
    return "Try again in a while: what was fetched is kept, and a push that broke off can be repeated."
