"""The Hugging Face Hub: fetching the weights of a repository, and pushing a folder to one."""

import contextlib
import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypedDict, Unpack

from ..user_warning import warn
from ..version import __version__
from .card import MAX_CARD_BYTES, Card, card_text
from .format import DOCUMENTS, FILES, load_folder
from .printable import shown
from .published import published, read_documents
from .reading import read_regular
from .shipped import bundled

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

MOST_NAMED = 3  # folders of weights, in a message


class DownloadOptions(TypedDict, total=False):
    """Options of a download, as `load` describes them."""

    revision: str | None
    token: str | bool | None
    cache_dir: str | os.PathLike[str] | None
    local_files_only: bool
    force_download: bool


def fetch(repo_id: str, files: Sequence[str] = FILES, **options: Unpack[DownloadOptions]) -> Path:
    """The cache's folder of one commit, so that config and weights fit together even while the branch moves.

    Raises:
        FileNotFoundError: there is no such repository or revision.
        ConnectionError: the files could not be fetched for another reason.
    """
    from huggingface_hub import snapshot_download

    if (cache := options.get("cache_dir")) is not None:
        options["cache_dir"] = Path(os.path.expanduser(cache))
    try:
        folder = snapshot_download(
            repo_id,
            allow_patterns=list(files),
            library_name="vae-augment",
            library_version=__version__,
            **options,  # type: ignore[arg-type]  # cache_dir is a Path by now
        )
    # the client's errors have no base of their own: OSError, those of its HTTP library, RuntimeError of its Xet library
    except Exception as error:
        reason = _reason(error)
        kind = FileNotFoundError if _is_not_found(reason) else ConnectionError
        raise kind(
            unknown_name(repo_id, f"and as a Hub id it could not be fetched: {error}\n{_remedy(reason)}")
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
    originals: bool = False,
) -> str:
    """Put a weights folder on the Hugging Face Hub, as one commit; the repository is made if there is none.

    The files of the weights are sent: config, tensors, card, its picture and the recipe; no checkpoint, no log. The same
    commit removes those of them that the folder lacks; other files of the repository are left alone. Paths of this machine in the
    recipe and the card are reduced to names, and of the picture's file nothing but pixels is sent. Text that was written
    by hand into the card there is kept, unless the folder's card has such text of its own. The card that is sent names the
    repository where the folder's names the folder.

    Args:
        folder: written by `save` or by `python -m train`.
        repo_id: `user/repo`.
        private: whether a new repository is private; None: as the account's default. An existing one is left as it is.
        token: default: that of `hf auth login`.
        branch: to commit to, made from main if there is none; default main.
        tag: name to give the commit.
        endpoint: URL of another server than huggingface.co; default $HF_ENDPOINT.
        originals: whether samples.png is sent with its first row, which are held-out images themselves.

    Weights with a bank show likenesses of the bank's images: if the repository is public, a warning says so. So does
    one where the card on the Hub states another licence than the folder's.

    Returns:
        The commit's sha, which `from_pretrained(repo_id, revision=sha)` loads for ever.

    Raises:
        ValueError: `repo_id` is not of the form user/repo.
        FileNotFoundError, WeightsError: the folder does not load, or a file of it is a link or not what its name says; it is not
            pushed.
        ConnectionError: the server refused or could not be reached; nothing is committed unless the message names a commit.
    """
    check_repo_id(repo_id)
    folder = Path(os.path.expanduser(folder))
    documents = read_documents(folder)
    weights = load_folder(folder)
    others, card = published(documents, weights.vae.size, originals)
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint, token=token, library_name="vae-augment", library_version=__version__)
    done = "nothing is committed"
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        if weights.bank is not None and not api.repo_info(repo_id).private:  # one that was there stays as it was
            _warn_of_likenesses(len(weights.bank), repo_id)
        if branch is not None:
            api.create_branch(repo_id, branch=branch, exist_ok=True)
        commit = api.create_commit(
            repo_id,
            operations=_changes(api, repo_id, branch, folder, others, card),
            commit_message=commit_message,
            revision=branch,
        )
        if tag is not None:
            done = f"commit {commit.oid} is made, but not tagged {tag!r}"
            api.create_tag(repo_id, tag=tag, revision=commit.oid)
    except Exception as error:  # as in `fetch`
        raise ConnectionError(
            f"{folder} was not pushed to {repo_id}, {done}: {error}\n{_remedy(_reason(error))}"
        ) from error
    return str(commit.oid)


def _warn_of_likenesses(count: int, repo_id: str) -> None:
    warn(
        f"these weights hold the latents of {count} single images, and {repo_id} is public: whoever has them sees likenesses of "
        "these. If nobody may: a new repository with private=True, or weights without a bank, VAEAugment(augment.vae), "
        "python -m train --bank_size 0",
    )


def _warn_of_another_licence(own: Card, old: Card) -> None:
    """Say so if a push changes the licence: who took the weights under the old one should not find it gone without a word."""
    stated, before = own.front.get("license"), old.front.get("license")
    if stated is not None and before not in (None, stated):
        warn(
            f"the card on the Hub stated the licence {shown(before)}, and that of the folder, which is pushed, {shown(stated)}"
        )


def _changes(
    api: "HfApi", repo_id: str, branch: str | None, folder: Path, documents: Mapping[str, bytes], own: Card
) -> list["CommitOperationAdd | CommitOperationDelete"]:
    """The operations of one commit after which the repository holds this folder."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    there = set(api.list_repo_files(repo_id, revision=branch))
    contents: dict[str, Path | bytes] = {name: folder / name for name in FILES if (folder / name).is_file()}
    contents |= documents
    if own.block:
        own = own.renamed(repo_id)
        if "README.md" in there:
            with TemporaryDirectory() as cache:
                path = Path(api.hf_hub_download(repo_id, "README.md", revision=branch, cache_dir=cache))
                old = Card.parse(card_text(read_regular(path, MAX_CARD_BYTES)))
            _warn_of_another_licence(own, old)
            own = own.keeping(old)
        contents["README.md"] = str(own).encode()
    gone = there & {*FILES, *DOCUMENTS} - set(contents)
    return [CommitOperationAdd(name, content) for name, content in contents.items()] + [
        CommitOperationDelete(name) for name in sorted(gone)
    ]


def check_repo_id(repo_id: str) -> None:
    """Refuse a name that is no Hub id of the form user/repo.

    Raises:
        ValueError: it is none.

    Example:
        >>> check_repo_id("you/digits")
    """
    if not is_repo_id(repo_id):
        raise ValueError(f"a Hub id is of the form user/repo, got {repo_id!r}")


def is_repo_id(name: str | os.PathLike[str]) -> bool:
    """Tell whether a name has the form user/repo of a Hub id, and is no path that begins with a dot or a tilde."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    if not isinstance(name, str) or name.count("/") != 1 or name.startswith((".", "~")):
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def unknown_name(name: str | os.PathLike[str], as_hub_id: str = "nor a Hub id of the form user/repo") -> str:
    """Message for a name that leads to no weights on this machine, with the bundled name that it resembles."""
    close = difflib.get_close_matches(str(name).lower(), bundled(), n=1)
    hint = f". Did you mean {close[0]!r}? It" if close else ": it"
    return (
        f"no weights named {shown(str(name))}{hint} is neither a bundled name ({', '.join(bundled())}), nor a folder"
        f"{_beside(name)}, {as_hub_id}"
    )


def _beside(name: str | os.PathLike[str]) -> str:
    """Which folders of weights lie where this name looks for one: a run is mostly meant by a name of the form runs/photos."""
    parent = Path(os.path.expanduser(name)).parent
    with contextlib.suppress(OSError, ValueError):  # a name that is too long, a folder that may not be read
        there = sorted(path.name for path in parent.iterdir() if (path / "config.json").is_file())
        if there:
            more = ", ..." if len(there) > MOST_NAMED else ""
            return f" (in {shown(str(parent))} there is {', '.join(map(shown, there[:MOST_NAMED]))}{more})"
    return ""


def _reason(error: Exception) -> BaseException:
    """The error of the server or the network, where the client only says that its cache lacks the files."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    return error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None else error


def _status(error: BaseException) -> int | None:
    """HTTP status of the server's answer; None if there was none."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _is_not_found(error: BaseException) -> bool:
    """Tell whether the server answered that there is no such repository, revision or file.

    The Hub answers so of a private repository, too, to a client without a token.
    """
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError | LocalEntryNotFoundError):  # subclasses of what follows
        return False
    missing = RepositoryNotFoundError | RevisionNotFoundError | EntryNotFoundError
    return isinstance(error, missing) or _status(error) == 404


def _remedy(error: BaseException) -> str:
    """A sentence on what to do about an error of the Hub's client."""
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, OfflineModeIsEnabled

    status = _status(error)
    is_network = isinstance(error, ConnectionError | TimeoutError)
    if isinstance(error, OSError) and error.errno is not None and not is_network:
        return "The cache cannot be written: free space, or give another folder as cache_dir or $HF_HOME."
    if status in (401, 403):
        return "The token is missing or may not do this: hf auth login, or token=..."
    if status == 404:
        return "Look at the name, the revision and, of a private repository, the token (hf auth login)."
    if isinstance(error, OfflineModeIsEnabled | LocalEntryNotFoundError) and status is None:
        return "It is not in the cache: load it once with the network, without local_files_only and HF_HUB_OFFLINE."
    if isinstance(error, EntryNotFoundError):
        return "The repository does not hold a file of its own list: ask its author."
    return "Try again in a while, and look at the network: what was fetched is kept, and a push that broke off can be repeated."
