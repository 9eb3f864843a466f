"""The Hugging Face Hub: fetching a repository's weights, and pushing a folder there."""

import difflib
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from .bundled import bundled
from .card import Card, read_card
from .format import DOCUMENTS, FILES, load_folder

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi


def fetch(
    repo_id: str,
    revision: str | None,
    token: str | bool | None,
    cache_dir: str | os.PathLike[str] | None,
    local_files_only: bool,
    force_download: bool,
) -> Path:
    """The cache's folder of one commit, so that config and weights fit together even while the branch moves."""
    from huggingface_hub import snapshot_download

    from .. import __version__

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
            f"{not_found(repo_id)}; as a Hub id it could not be fetched: {error}\n{_remedy(error)}"
        ) from error
    return Path(folder)


def push(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    branch: str | None = None,
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
        branch: to commit to, made from main if there is none; default main.
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

    from .. import __version__

    api = HfApi(endpoint=endpoint, token=token, library_name="vae-augment", library_version=__version__)
    done = "nothing is committed"
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        if branch is not None:
            api.create_branch(repo_id, branch=branch, exist_ok=True)
        commit = api.create_commit(
            repo_id,
            operations=_changes(api, repo_id, branch, folder),
            commit_message=commit_message,
            revision=branch,
        )
        if tag is not None:
            done = f"commit {commit.oid} is made, but not tagged {tag!r}"
            api.create_tag(repo_id, tag=tag, revision=commit.oid)
    except Exception as error:  # as in `_fetch`
        raise ConnectionError(f"{folder} was not pushed to {repo_id}, {done}: {error}\n{_remedy(error)}") from error
    return str(commit.oid)


def _changes(
    api: "HfApi", repo_id: str, branch: str | None, folder: Path
) -> list["CommitOperationAdd | CommitOperationDelete"]:
    """What makes the repository hold this folder: one list, for one commit."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    there = set(api.list_repo_files(repo_id, revision=branch))
    contents: dict[str, Path | bytes] = {
        name: folder / name for name in (*FILES, *DOCUMENTS) if (folder / name).is_file()
    }
    own = Card.parse(read_card(folder))
    if own.block:
        own = own.renamed(repo_id)
        if "README.md" in there:
            with TemporaryDirectory() as cache:
                path = api.hf_hub_download(repo_id, "README.md", revision=branch, cache_dir=cache)
                own = own.keeping(Card.parse(read_card(Path(path).parent)))
        contents["README.md"] = str(own).encode()
    gone = there & {*FILES, *DOCUMENTS} - set(contents)
    return [CommitOperationAdd(name, content) for name, content in contents.items()] + [
        CommitOperationDelete(name) for name in sorted(gone)
    ]


def check_repo_id(repo_id: str) -> None:
    """Raises ValueError if this is no Hub id of the form user/repo."""
    if not is_repo_id(repo_id):
        raise ValueError(f"a Hub id is of the form user/repo, got {repo_id!r}")


def is_repo_id(name: str | os.PathLike[str]) -> bool:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    if not isinstance(name, str) or name.count("/") != 1 or name.startswith((".", "~")):
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def not_found(name: str | os.PathLike[str]) -> str:
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
