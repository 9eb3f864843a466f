"""Weights folders on disk: training writes them, the package brings some, the Hugging Face Hub holds them.

    config.json            architecture, gains of strength, description of the pool, measured metrics, checksums
    model.safetensors      the network and its latent statistics
    bank.safetensors       latents of the pretraining pool (optional)
    prior.safetensors      a mixture of Gaussians, in its place (optional)
    README.md              the model card

Files from elsewhere are untrusted: only safetensors and JSON are read, sizes are checked before memory is spent, and
an inexact fit is an error.
"""

import dataclasses
import hashlib
import json
import math
import shlex
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ..atomic import atomic_write
from ..pool import EXACT, LatentBank, bank_from_tensors, bank_shapes, bank_texts, bank_to_tensors, integer_names
from ..prior import Mixture
from ..vae import VAE, VAEConfig
from .printable import shown
from .reading import read_regular
from .tensor_file import open_tensors
from .weights import Weights, WeightsError

FORMAT_VERSION = 3  # see `_version`
FILES = ("config.json", "model.safetensors", "bank.safetensors", "prior.safetensors")
DOCUMENTS = ("README.md", "samples.png", "training.yaml")
CHECKPOINT = "checkpoint.pt"  # of a run, as `train` names it
MAX_JSON_BYTES = 1_000_000  # of config.json
MAX_NAMES = 300  # characters of names that a message lists
PRIOR = ("shares", "means", "factors")
FLOAT_DTYPES = (torch.float16, torch.bfloat16, torch.float32)

Shapes = Mapping[str, tuple[int | None, ...]]  # of tensors, by name; None: any length


def load_folder(folder: Path) -> Weights:
    """Load a folder whole or not at all.

    Raises:
        FileNotFoundError: a file is missing.
        WeightsError: the files are damaged, do not fit together, or are of a newer version.
    """
    config = _read_config(folder / "config.json")
    checksums = config["sha256"]
    if checksums.pop("config.json", None) != config_checksum(config):
        raise WeightsError(
            f"{folder / 'config.json'} is not as it was written (its own sha256 differs): download or save it again"
        )
    if "model.safetensors" not in checksums:
        raise WeightsError(f"{folder / 'config.json'}: sha256 does not name model.safetensors")
    with torch.device("meta"):  # names and shapes only, before memory is spent
        vae = VAE(VAEConfig(**config["vae"]))
    expected = {key: tuple(value.shape) for key, value in vae.state_dict().items()}
    state, _ = _read_tensors(folder / "model.safetensors", lambda _: expected, checksums["model.safetensors"])
    if not (state["latent_std"].half() > 0).all():
        raise WeightsError(f"{folder / 'model.safetensors'}: latent_std must be above 0, in float16 too")
    vae.load_state_dict({key: value.float() for key, value in state.items()}, strict=True, assign=True)
    vae.eval()
    bank = None
    if "bank.safetensors" in checksums:
        bank = _read_bank(folder / "bank.safetensors", vae, checksums["bank.safetensors"])
    prior = None
    if "prior.safetensors" in checksums:
        prior = _read_prior(folder / "prior.safetensors", vae, checksums["prior.safetensors"])
    return Weights(vae, bank, config["gains"], config["pool"], config["metrics"], prior)


def save_folder(folder: Path, weights: Weights, card: str) -> None:
    """Write a folder that `load_folder` reads, tensors in float16, `card` as README.md.

    `config.json`, which holds the checksums of the others, is replaced last: interrupted, no half of a new folder loads.

    Raises:
        ValueError: values that are not finite in float16, or that would not be loaded; nothing is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().half().contiguous() for k, v in weights.vae.state_dict().items()}
    for key, value in state.items():
        if not value.isfinite().all():
            raise ValueError(
                f"nothing is written: {key} holds values that are not finite in float16, which ends at 65504. Train the "
                "network again, or from an earlier checkpoint"
            )
        if key == "latent_std" and not (value > 0).all():
            raise ValueError(
                "nothing is written: latent_std holds values that are 0 in float16, and would not be loaded. Raise them to "
                "1e-6 at least"
            )
    contents = {"model.safetensors": safetensors.torch.save(state, metadata={"format": "pt"})}
    if weights.bank is not None:
        bank = {k: v.detach().cpu().contiguous() for k, v in bank_to_tensors(weights.bank).items()}
        if not bank["latents"].isfinite().all():
            raise ValueError(
                "nothing is written: the bank holds latents that are not finite in float16. Make it again with "
                "LatentBank.from_images"
            )
        # one text at most: safetensors writes several in any order, and the same bank shall be the same bytes
        texts = bank_texts(weights.bank) or {"format": "pt"}
        contents["bank.safetensors"] = safetensors.torch.save(bank, metadata=texts)
    if weights.prior is not None:
        contents["prior.safetensors"] = _prior_content(weights.prior)
    config = {
        "format_version": _version(weights.bank),
        "vae": weights.vae.config.to_dict(),
        "gains": dict(weights.gains),
        "pool": dict(weights.provenance),
        "metrics": dict(weights.metrics),
    }
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    own = config_checksum(config | {"sha256": checksums})
    config["sha256"] = checksums | {"config.json": own}
    if len(text := _config_text(config)) > MAX_JSON_BYTES:
        raise ValueError(
            f"nothing is written: config.json would have {len(text)} bytes, and no more than {MAX_JSON_BYTES} are read. Shorten "
            "the provenance, metrics or gains"
        )
    contents["README.md"] = card.encode()
    contents["config.json"] = text
    for name, content in contents.items():
        atomic_write(folder / name, content)
    for name in set(FILES) - set(contents):  # of the weights that were here before
        (folder / name).unlink(missing_ok=True)


def _version(bank: LatentBank | None) -> int:
    """3 of a bank whose places take 32 bits, 2 of one with the view of an encoder; else 1, so that earlier versions read it."""
    if bank is not None and len(bank) > EXACT:
        return 3
    return 1 if bank is None or bank.encoder is None else 2


def _config_text(config: Mapping[str, Any]) -> bytes:
    return (json.dumps(config, indent=2) + "\n").encode()


def _without_config(folder: Path, config: str) -> str:
    """Why a folder is no weights folder, or not yet: a run writes its weights when all steps are done."""
    if (folder / CHECKPOINT).is_file():
        whole = shlex.quote(str(folder))
        return f"{folder} is a run that has not ended, and has no weights yet: go on with it, python -m train --resume {whole}"
    return f"{folder} is not a weights folder: it has no {config}"


def _read_config(path: Path) -> dict[str, Any]:
    """Read config.json and check it field by field."""
    try:
        content = read_regular(path, MAX_JSON_BYTES)
    except FileNotFoundError:
        raise FileNotFoundError(_without_config(path.parent, path.name)) from None
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise WeightsError(f"{path} does not hold a JSON object")
    version = config.get("format_version")
    if type(version) is not int or version < 1:
        raise WeightsError(f"{path} has no format_version: it was not written by vae-augment")
    if version > FORMAT_VERSION:
        raise WeightsError(
            f"{path} has format_version {version}, this vae-augment reads up to {FORMAT_VERSION}: pip install -U vae-augment"
        )
    keys = {"format_version", "vae", "gains", "pool", "metrics", "sha256"}
    _check_keys(path, "keys", set(config), keys)
    for key in keys - {"format_version"}:
        if not isinstance(config[key], dict):
            raise WeightsError(f"{path}: {key} must be an object, got {shown(config[key])}")
    _check_keys(path, "keys of vae", set(config["vae"]), {f.name for f in dataclasses.fields(VAEConfig)})
    _check_values(path, config)
    try:
        VAEConfig(**config["vae"])
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: {error}") from None
    if len(_config_text(config)) > MAX_JSON_BYTES:
        raise WeightsError(
            f"{path} could not be saved again: as it is written here, it has more than {MAX_JSON_BYTES} bytes"
        )
    return config


def _check_values(path: Path, config: Mapping[str, Any]) -> None:
    """Refuse values that are nested, or that cannot be printed or computed with."""
    for key, gain in config["gains"].items():
        if type(gain) not in (int, float) or not 0 <= gain < 1e6:
            raise WeightsError(f"{path}: the gain of {key:.80} must be a number of at least 0, got {shown(gain)}")
    for key, metric in config["metrics"].items():
        if type(metric) not in (int, float) or not abs(metric) < 1e300:  # not isfinite: it fails on huge integers
            raise WeightsError(f"{path}: the metric {key:.80} must be a finite number, got {shown(metric)}")
    for key, value in config["pool"].items():
        if type(value) not in (int, str):
            raise WeightsError(f"{path}: {key:.80} of pool must be a string or an integer, got {shown(value)}")
    for name, checksum in config["sha256"].items():
        if type(checksum) is not str:
            raise WeightsError(f"{path}: sha256 of {name:.80} must be a string, got {shown(checksum)}")


def config_checksum(config: Mapping[str, Any]) -> str:
    """sha256 of everything that config.json says, however it is laid out, except this checksum itself."""
    checksums = {name: value for name, value in config["sha256"].items() if name != "config.json"}
    text = json.dumps(dict(config) | {"sha256": checksums}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _check_keys(path: Path, kind: str, got: set[str], expected: set[str]) -> None:
    if unknown := sorted(got - expected):
        raise WeightsError(f"{path}: unknown {kind}: {', '.join(unknown):.{MAX_NAMES}}")
    if missing := sorted(expected - got):
        raise WeightsError(f"{path}: missing {kind}: {', '.join(missing):.{MAX_NAMES}}")


def _read_tensors(
    path: Path, expected: Callable[[Collection[str]], Shapes], checksum: str
) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """The tensors and texts of a file if names, shapes and checksum are as expected and every value is finite.

    `expected` says what a file that holds tensors of these names must hold.
    """
    try:
        with open_tensors(path) as file:
            infos = file.header.tensors
            shapes = {key: info.shape for key, info in infos.items()}
            _check_shapes(path, shapes, expected(shapes))
            for key, info in infos.items():
                if key not in integer_names() and info.dtype not in FLOAT_DTYPES:
                    raise WeightsError(f"{path}: {key} must be finite floats of 16 or 32 bits, got {info.dtype}")
            (tensors, found), texts = file.read(), file.header.texts
    except FileNotFoundError:
        raise FileNotFoundError(f"{path.parent} is not complete: it has no {path.name}") from None
    if found != checksum:
        raise WeightsError(
            f"{path} is not the file that config.json describes (sha256 differs): download or save it again"
        )
    for key, tensor in tensors.items():
        if key not in integer_names() and not tensor.half().isfinite().all():
            raise WeightsError(
                f"{path}: {key} must hold finite floats of 16 or 32 bits, within the range of float16: get or train other weights"
            )
    return tensors, texts


def _read_bank(path: Path, vae: VAE, checksum: str) -> LatentBank:
    tensors, texts = _read_tensors(path, lambda names: bank_shapes(names, vae), checksum)
    try:
        return bank_from_tensors(tensors, vae, texts)
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from None


def _prior_content(prior: Mixture) -> bytes:
    tensors = {name: getattr(prior, name).detach().cpu().half().contiguous() for name in PRIOR}
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise ValueError(
            "nothing is written: the prior holds values that are not finite in float16. Fit it again, Mixture.of_latents"
        )
    return safetensors.torch.save(tensors, metadata={"format": "pt"})


def _read_prior(path: Path, vae: VAE, checksum: str) -> Mixture:
    latent = vae.latent_shape
    shapes: Shapes = {"shares": (None,), "means": (None, *latent), "factors": (None, None, *latent)}
    tensors, _ = _read_tensors(path, lambda _: shapes, checksum)
    lengths = {len(tensor) for tensor in tensors.values()}
    shares = tensors["shares"].float()
    if len(lengths) != 1 or not bool((shares >= 0).all()) or not 0 < float(shares.sum()) < math.inf:
        raise WeightsError(
            f"{path}: shares must be parts of a whole, one for each Gaussian: get or train other weights"
        )
    return Mixture(**tensors)


def _check_shapes(path: Path, shapes: Mapping[str, tuple[int, ...]], expected: Shapes) -> None:
    _check_keys(path, "tensors", set(shapes), set(expected))
    for key, shape in shapes.items():
        wanted = expected[key]
        fits = len(shape) == len(wanted) and all(w in (None, s) for w, s in zip(wanted, shape, strict=True))
        if not fits:
            raise WeightsError(f"{path}: {key} has shape {shape}, config.json asks for {wanted}")
