"""A weights folder: what training writes, what is bundled, and what the Hugging Face Hub holds.

    config.json            architecture, gains of strength, description of the pool, measured metrics, checksums
    model.safetensors      the network and its latent statistics
    bank.safetensors       latents of the pretraining pool (optional)
    README.md              the model card

Files from elsewhere are untrusted: only safetensors and JSON are read, sizes are checked before memory is spent, and
what does not fit exactly is an error.
"""

import dataclasses
import difflib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from .bank import LARGEST_BANK, LatentBank
from .files import replace_file
from .vae import VAE, VAEConfig

FORMAT_VERSION = 1
BUNDLED = Path(__file__).parent / "weights"
FILES = ("config.json", "model.safetensors", "bank.safetensors")
DOCUMENTS = ("README.md", "samples.png", "training.yaml")
LARGEST_CONFIG = 1_000_000  # bytes


class WeightsError(ValueError):
    """A weights folder that is damaged, inconsistent, or written by a newer version."""


@dataclass(frozen=True)
class Weights:
    """A loaded weights folder.

    Args:
        vae: the network, in eval mode, on the CPU.
        bank: latents of the pool it was trained on, or None.
        gains: for each calibrated jitter, its factor at strength 1.
        pool: what it was trained on: name, number of images, sha256 of their pixels.
        metrics: measured on the test set, with units in the names.
    """

    vae: VAE
    bank: LatentBank | None = None
    gains: Mapping[str, float] = field(default_factory=dict)
    pool: Mapping[str, str | int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


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

    Raises:
        FileNotFoundError: no such weights, or a file is missing.
        WeightsError: the files are damaged, do not fit together, or are of a newer version.
    """
    if isinstance(name, str) and name in bundled():
        return load_folder(BUNDLED / name)
    if Path(name).expanduser().is_dir():
        return load_folder(Path(name).expanduser())
    if not _is_hub_id(name):
        raise FileNotFoundError(_not_found(name))
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    from . import __version__

    # one snapshot, so that config and weights are of one commit even while the branch moves
    try:
        folder = snapshot_download(
            str(name),
            revision=revision,
            token=token,
            cache_dir=None if cache_dir is None else Path(cache_dir),
            local_files_only=local_files_only,
            force_download=force_download,
            allow_patterns=list(FILES),
            library_name="vae-augment",
            library_version=__version__,
        )
    except (
        OSError,
        HfHubHTTPError,
        httpx.HTTPError,
        RuntimeError,
    ) as error:  # the last two: a connection that broke off
        raise FileNotFoundError(f"{_not_found(name)}; as a Hub id it could not be fetched: {error}") from error
    return load_folder(Path(folder))


def load_folder(folder: Path) -> Weights:
    """Load a folder; see `load`."""
    config = _read_config(folder / "config.json")
    checksums = config["sha256"]
    if checksums.pop("config.json", None) != _config_checksum(config):
        raise WeightsError(
            f"{folder / 'config.json'} is not as it was written (its own sha256 differs): download or save it again"
        )
    if "model.safetensors" not in checksums:
        raise WeightsError(f"{folder / 'config.json'}: sha256 does not name model.safetensors")
    with torch.device("meta"):  # names and shapes only, before memory is spent
        vae = VAE(VAEConfig(**config["vae"]))
    expected = {key: tuple(value.shape) for key, value in vae.state_dict().items()}
    state = _read_tensors(folder / "model.safetensors", expected, checksums["model.safetensors"])
    if not (state["latent_std"] > 0).all():
        raise WeightsError(f"{folder / 'model.safetensors'}: latent_std must be above 0")
    vae.load_state_dict({key: value.float() for key, value in state.items()}, strict=True, assign=True)
    vae.eval()
    bank = None
    if "bank.safetensors" in checksums:
        bank = _read_bank(folder / "bank.safetensors", vae.latent_shape, checksums["bank.safetensors"])
    return Weights(vae, bank, config["gains"], config["pool"], config["metrics"])


def save(folder: str | os.PathLike[str], weights: Weights, card: str) -> None:
    """Write a weights folder that `load` reads. Tensors are stored in float16; interrupted, it leaves no half file.

    `card` is the text of README.md. `config.json`, which names the checksums of the others, is replaced last.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().half().contiguous() for k, v in weights.vae.state_dict().items()}
    for key, value in state.items():
        if not value.isfinite().all():
            raise ValueError(f"nothing is written: {key} holds values that are not finite in float16")
    contents = {"model.safetensors": safetensors.torch.save(state, metadata={"format": "pt"})}
    if weights.bank is not None:
        bank = {"latents": weights.bank.latents.half(), "neighbours": weights.bank.neighbours.short()}
        bank = {k: v.detach().cpu().contiguous() for k, v in bank.items()}
        contents["bank.safetensors"] = safetensors.torch.save(bank, metadata={"format": "pt"})
    config = {
        "format_version": FORMAT_VERSION,
        "vae": weights.vae.config.to_dict(),
        "gains": dict(weights.gains),
        "pool": dict(weights.pool),
        "metrics": dict(weights.metrics),
    }
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    own = _config_checksum(config | {"sha256": checksums})
    config["sha256"] = checksums | {"config.json": own}
    contents["README.md"] = card.encode()
    contents["config.json"] = (json.dumps(config, indent=2) + "\n").encode()
    for name, content in contents.items():
        replace_file(folder / name, content)


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

    Args:
        folder: as `save` or `python -m train` writes it.
        repo_id: `user/repo`.
        private: of a new repository; None: as the account's default. An existing one is left as it is.
        token: default: that of `hf auth login`.
        revision: branch to commit to, which must exist; default main.
        tag: name to give the commit.
        endpoint: of another server than huggingface.co; default $HF_ENDPOINT.

    Returns:
        The commit's sha, which `from_pretrained(repo_id, revision=sha)` loads for ever.

    Raises:
        FileNotFoundError, WeightsError: what does not load is not pushed.
        huggingface_hub.errors.HfHubHTTPError: the server refused; nothing is committed.
    """
    check_repo_id(repo_id)
    load_folder(Path(folder))
    from huggingface_hub import HfApi

    from . import __version__

    api = HfApi(endpoint=endpoint, token=token, library_name="vae-augment", library_version=__version__)
    api.create_repo(repo_id, private=private, exist_ok=True)
    commit = api.upload_folder(
        repo_id=repo_id,
        folder_path=Path(folder),
        allow_patterns=[*FILES, *DOCUMENTS],
        commit_message=commit_message,
        revision=revision,
    )
    if tag is not None:
        api.create_tag(repo_id, tag=tag, revision=commit.oid)
    return str(commit.oid)


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


def _read_config(path: Path) -> dict[str, Any]:
    """config.json, checked field by field."""
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} is not a weights folder: it has no {path.name}")
    if path.stat().st_size > LARGEST_CONFIG:
        raise WeightsError(f"{path} has {path.stat().st_size} bytes, more than any config this version writes")
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise WeightsError(f"{path} does not hold a JSON object")
    version = config.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise WeightsError(f"{path} has no format_version: it was not written by vae-augment")
    if version > FORMAT_VERSION:
        raise WeightsError(
            f"{path} has format_version {version}, this vae-augment reads up to {FORMAT_VERSION}: pip install -U vae-augment"
        )
    keys = {"format_version", "vae", "gains", "pool", "metrics", "sha256"}
    _same_keys(path, "keys", set(config), keys)
    for key in keys - {"format_version"}:
        if not isinstance(config[key], dict):
            raise WeightsError(f"{path}: {key} must be an object, got {config[key]!r}")
    _same_keys(path, "keys of vae", set(config["vae"]), {f.name for f in dataclasses.fields(VAEConfig)})
    for key, gain in config["gains"].items():
        if isinstance(gain, bool) or not isinstance(gain, int | float) or not 0 <= gain < 1e6:
            raise WeightsError(f"{path}: the gain of {key} must be a number of at least 0, got {gain!r}")
    try:
        VAEConfig(**config["vae"])
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: {error}") from None
    return config


def _config_checksum(config: Mapping[str, Any]) -> str:
    """Of everything that config.json says, however it is laid out; its own checksum left out."""
    checksums = {name: value for name, value in config["sha256"].items() if name != "config.json"}
    text = json.dumps(dict(config) | {"sha256": checksums}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _same_keys(path: Path, what: str, got: set[str], expected: set[str]) -> None:
    if unknown := sorted(got - expected):
        raise WeightsError(f"{path}: unknown {what}: {', '.join(unknown)}")
    if missing := sorted(expected - got):
        raise WeightsError(f"{path}: missing {what}: {', '.join(missing)}")


def _read_tensors(path: Path, expected: Mapping[str, tuple[int | None, ...]], checksum: str) -> dict[str, Tensor]:
    """The tensors of a file if names, shapes and checksum are as expected and every value is finite; None: any length."""
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} is not complete: it has no {path.name}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 (safe_open is no dict)
            _check_shapes(path, shapes, expected)
            tensors = {key: file.get_tensor(key).clone() for key in shapes}
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path} is not a safetensors file, or is cut off: {error}") from None
    if hashlib.sha256(path.read_bytes()).hexdigest() != checksum:
        raise WeightsError(
            f"{path} is not the file that config.json describes (sha256 differs): download or save it again"
        )
    for key, tensor in tensors.items():
        if key != "neighbours" and not (tensor.dtype.is_floating_point and tensor.isfinite().all()):
            raise WeightsError(f"{path}: {key} holds values that are not finite floats")
    return tensors


def _read_bank(path: Path, latent_shape: tuple[int, ...], checksum: str) -> LatentBank:
    bank = LatentBank(**_read_tensors(path, {"latents": (None, *latent_shape), "neighbours": (None, None)}, checksum))
    neighbours = bank.neighbours
    if neighbours.dtype != torch.int16 or len(neighbours) != len(bank) or not neighbours.numel():
        raise WeightsError(
            f"{path}: neighbours must be int16 (N, k) for {len(bank)} latents, got {tuple(neighbours.shape)}"
        )
    if not (int(neighbours.min()) >= 0 and int(neighbours.max()) < len(bank)):
        raise WeightsError(f"{path}: neighbours point outside the {len(bank)} latents")
    return bank


def _check_shapes(
    path: Path, shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int | None, ...]]
) -> None:
    _same_keys(path, "tensors", set(shapes), set(expected))
    for key, shape in shapes.items():
        wanted = expected[key]
        fits = len(shape) == len(wanted) and all(w in (None, s) for w, s in zip(wanted, shape, strict=True))
        if not fits or (wanted[:1] == (None,) and shape[0] > LARGEST_BANK):
            raise WeightsError(f"{path}: {key} has shape {shape}, config.json asks for {wanted}")
