"""Folders of diffusers' autoencoders: read as diffusers writes them, and written with what was measured of them.

    config.json                                 diffusers' own: the class, and how it is built
    diffusion_pytorch_model.safetensors         the network; of a variant, diffusion_pytorch_model.fp16.safetensors
    vae_augment.json                            size, statistics of latents, gains, metrics, checksums (optional)
    bank.safetensors                            latents of a pool (optional)

As in `format.py`, only safetensors and JSON are read, by this package's own readers, and sizes are checked before memory
is spent.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from ..atomic import atomic_write
from ..autoencoders import DiffusersCodec, Statistics, build_network, check_config, shipped_images
from ..jitter import Noise
from ..pool import EXACT, bank_texts, bank_to_tensors
from ..strength import gain_name, solve_gain_soon
from ..vae import Whitened, check_codec
from .format import MAX_JSON_BYTES, _read_bank, config_checksum
from .printable import shown
from .reading import read_regular
from .tensor_file import open_tensors
from .weights import Weights, WeightsError

CONFIG, MEASURED, BANK, PIPELINE = "config.json", "vae_augment.json", "bank.safetensors", "model_index.json"
STEM = "diffusion_pytorch_model"
FORMAT_VERSION = (
    3  # of vae_augment.json beside a bank of 32-bit places; 2 with metrics; else 1, which earlier versions read
)
MAX_CONFIG_BYTES = 32_000_000  # that of an AutoencoderRAE may list statistics of every value of a latent
MEASURED_KEYS = {
    "format_version",
    "size",
    "calibrated_on",
    "latent_mean",
    "latent_std",
    "gains",
    "sha256",
}  # of version 1; 2 has metrics


class Reading(NamedTuple):
    """How an autoencoder of diffusers is read; see `load`."""

    variant: str | None = None
    dtype: torch.dtype | None = None
    size: int | None = None

    def refuse(self, name: str) -> None:
        """Raise ValueError if something is asked that weights of this package do not have."""
        if asked := [key for key, value in self._asdict().items() if value is not None]:
            raise ValueError(
                f"{name!r} are weights of this package, and {', '.join(asked)} is of diffusers' autoencoders: leave it out"
            )


AS_IT_IS = Reading()


def is_diffusers(folder: Path) -> bool:
    """Whether a folder's config.json names a class, as diffusers' do; what cannot be read does not."""
    try:
        config = json.loads(read_regular(folder / CONFIG, MAX_CONFIG_BYTES))
    except (FileNotFoundError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and "_class_name" in config


def network_file(variant: str | None) -> str:
    """Name of the network's file. Raises ValueError for a variant that is no word."""
    if variant is None:
        return f"{STEM}.safetensors"
    if not isinstance(variant, str) or not re.fullmatch(r"\w[\w-]{0,30}", variant):
        raise ValueError(f"variant must be a word as 'fp16', got {variant!r:.60}")
    return f"{STEM}.{variant}.safetensors"


def load_diffusers_folder(folder: Path, how: Reading) -> Weights:
    """Load a folder whole or not at all.

    Raises:
        FileNotFoundError: a file is missing.
        ImportError: diffusers is not installed.
        WeightsError: the files are damaged, do not fit together, or are of a class that is not known.
        ValueError: a size, variant or dtype that this autoencoder does not have.
    """
    content = read_regular(folder / CONFIG, MAX_CONFIG_BYTES)
    measured = _read_measured(folder / MEASURED)
    sums = None if measured is None else measured["sha256"]
    _check_sum(folder / CONFIG, sums, hashlib.sha256(content).hexdigest())
    config = json.loads(content)
    try:
        check_config(config)
        expected = build_network(config, "meta")  # names and shapes only, before memory is spent
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{folder / CONFIG}: {error}") from None
    path = folder / network_file(how.variant)
    state, found = _read_network(path, expected)
    _check_sum(path, sums, found)
    net = build_network(config)
    net.load_state_dict(state, strict=True)
    if measured is not None:
        return _as_measured(folder, net, measured, how)
    try:
        codec = DiffusersCodec(net, how.size, dtype=how.dtype)
        check_codec(codec)
    except RuntimeError as error:  # layers that fit their tensors, and not one another
        raise WeightsError(f"{folder / CONFIG}: this network computes no images: {error}") from error
    return Weights(codec, gains=_rough_gain(codec))  # type: ignore[arg-type]


def _rough_gain(codec: DiffusersCodec) -> dict[str, float]:
    """The gain of the usual jitter on shipped images, soon; `calibrate` solves it on a user's, and others."""
    images = shipped_images(codec.channels, codec.size)
    return {gain_name(Noise()): solve_gain_soon(Whitened(codec), Noise(), images, draws=0)}


def _as_measured(folder: Path, net: Any, measured: Mapping[str, Any], how: Reading) -> Weights:
    """The network with the size, statistics and gains that were stored, and the bank if there is one."""
    path = folder / MEASURED
    if how.size not in (None, measured["size"]):
        raise ValueError(
            f"{path}: what was measured is of size {measured['size']}, got size={how.size}: leave size out, or load the folder "
            f"without {MEASURED} and calibrate again"
        )
    mean, std = (
        torch.tensor(measured[key], dtype=torch.float32)[:, None, None] for key in ("latent_mean", "latent_std")
    )
    statistics = Statistics(mean, std, measured["calibrated_on"])
    try:
        codec = DiffusersCodec(net, measured["size"], statistics=statistics, dtype=how.dtype)
        check_codec(codec)
    except (RuntimeError, ValueError) as error:
        raise WeightsError(f"{path}: {error}") from error
    sums = measured["sha256"]
    bank = _read_bank(folder / BANK, codec, sums[BANK]) if BANK in sums else None  # type: ignore[arg-type]
    gains = measured["gains"] or _rough_gain(codec)
    return Weights(codec, bank, gains, metrics=measured.get("metrics", {}))  # type: ignore[arg-type]


def save_diffusers_folder(folder: Path, weights: Weights) -> None:
    """Write a folder that `load_diffusers_folder` and diffusers itself read; tensors as they are, in float32.

    `vae_augment.json`, which holds the checksums of the others, is replaced last: interrupted, no half of a new folder loads.

    Raises:
        ValueError: values that are not finite; nothing is written.
    """
    codec: Any = weights.vae
    state = {name: value.detach().cpu().contiguous() for name, value in codec.net.state_dict().items()}
    _check_finite("nothing is written", state)
    contents = {
        network_file(None): safetensors.torch.save(state, metadata={"format": "pt"}),
        CONFIG: codec.config_json().encode(),
    }
    if weights.bank is not None:
        bank = {name: value.detach().cpu().contiguous() for name, value in bank_to_tensors(weights.bank).items()}
        contents[BANK] = safetensors.torch.save(bank, metadata=bank_texts(weights.bank) or {"format": "pt"})
    large = weights.bank is not None and len(weights.bank) > EXACT
    measured: dict[str, Any] = {
        "format_version": 3 if large else 2 if weights.metrics else 1,
        "size": codec.size,
        "calibrated_on": codec.statistics.images,
        "latent_mean": codec.latent_mean.flatten().tolist(),
        "latent_std": codec.latent_std.flatten().tolist(),
        "gains": dict(weights.gains),
        **({"metrics": dict(weights.metrics)} if large or weights.metrics else {}),
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    measured["sha256"][MEASURED] = config_checksum({**measured, "sha256": dict(measured["sha256"])})
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        atomic_write(folder / name, content)
    atomic_write(folder / MEASURED, (json.dumps(measured, indent=2) + "\n").encode())
    if weights.bank is None:  # of the weights that were here before
        (folder / BANK).unlink(missing_ok=True)


def _read_measured(path: Path) -> dict[str, Any] | None:
    """Read vae_augment.json and check it field by field; None without one."""
    try:
        content = read_regular(path, MAX_JSON_BYTES)
    except FileNotFoundError:
        return None
    try:
        measured = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not JSON: {error}") from None
    if not isinstance(measured, dict) or type(version := measured.get("format_version")) is not int:
        raise WeightsError(f"{path} was not written by vae-augment: it has no format_version")
    if version > FORMAT_VERSION:
        raise WeightsError(
            f"{path} has format_version {version}, this vae-augment reads up to {FORMAT_VERSION}: pip install -U vae-augment"
        )
    expected = MEASURED_KEYS if version < 2 else MEASURED_KEYS | {"metrics"}
    if set(measured) != expected:
        raise WeightsError(f"{path} must have the keys {', '.join(sorted(expected))}, got {shown(sorted(measured))}")
    _check_measured(path, measured)
    own = measured["sha256"].pop(MEASURED, None)
    if own != config_checksum(measured):
        raise WeightsError(f"{path} is not as it was written (its own sha256 differs): calibrate and save again")
    return measured


def _check_measured(path: Path, measured: Mapping[str, Any]) -> None:
    for key in ("size", "calibrated_on"):
        if type(measured[key]) is not int or not 0 <= measured[key] < 2**31:
            raise WeightsError(f"{path}: {key} must be an integer of at least 0, got {shown(measured[key])}")
    for key in ("gains", "sha256", "metrics"):
        if not isinstance(measured.get(key, {}), dict):
            raise WeightsError(f"{path}: {key} must be an object, got {shown(measured[key])}")
    numbers = {
        "metrics": list(measured.get("metrics", {}).values()),
        "gain": list(measured["gains"].values()),
        **{key: measured[key] for key in ("latent_mean", "latent_std")},
    }
    for key, values in numbers.items():
        if not isinstance(values, list) or not all(type(v) in (int, float) and abs(v) < 1e6 for v in values):
            raise WeightsError(f"{path}: {key} must be finite numbers, got {shown(values)}")
    if not all(gain >= 0 for gain in numbers["gain"]) or not all(std > 0 for std in measured["latent_std"]):
        raise WeightsError(f"{path}: gains must be at least 0, and latent_std above 0")
    if not all(type(value) is str for value in measured["sha256"].values()):
        raise WeightsError(f"{path}: sha256 must hold strings, got {shown(measured['sha256'])}")


def _read_network(path: Path, expected: Any) -> tuple[dict[str, Tensor], str]:
    """The network's tensors in float32, if names and shapes are those of this network and every value is finite."""
    if not path.is_file():
        raise FileNotFoundError(_no_network(path))
    wanted = {name: tuple(value.shape) for name, value in expected.state_dict().items()}
    with open_tensors(path) as file:
        infos = dict(file.header.tensors)
        names = {name: name for name in infos}
        expected._fix_state_dict_keys_on_load(names)  # of old attention blocks: new name -> name in the file
        shapes = {new: infos[old].shape for new, old in names.items() if new not in _ignored(expected, wanted)}
        if wrong := sorted(name for name in shapes.keys() | wanted.keys() if shapes.get(name) != wanted.get(name)):
            asked = {name: wanted.get(name) for name in wrong[:3]}
            got = {name: shapes.get(name) for name in wrong[:3]}
            raise WeightsError(f"{path} does not fit {CONFIG}, in {len(wrong)} tensors: it asks for {asked}, got {got}")
        tensors, found = file.read()
    state = {new: tensors[old] for new, old in names.items() if new in wanted}
    state = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    _check_finite(str(path), state)
    return state, found


def _ignored(net: Any, wanted: Mapping[str, Any]) -> set[str]:
    """Names of tensors that old files of this class hold, and diffusers passes over."""
    return set(net._keys_to_ignore_on_load_unexpected or ()) - set(wanted)


def _check_finite(where: str, state: Mapping[str, Tensor]) -> None:
    for name, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise WeightsError(f"{where}: {name} holds values that are not finite: get other weights")


def _check_sum(path: Path, sums: Mapping[str, str] | None, found: str) -> None:
    if sums is not None and sums.get(path.name) != found:
        raise WeightsError(f"{path} is not the file that {MEASURED} describes (sha256 differs): save it again")


def _no_network(path: Path) -> str:
    """What to do where the network's file is missing."""
    found = sorted(other.name for other in path.parent.glob(f"{STEM}*"))
    variants = [m[1] for name in found if (m := re.fullmatch(rf"{STEM}\.([\w-]+)\.safetensors", name))]
    if variants:
        remedy = f"there are the variants {', '.join(variants)}: variant={variants[0]!r}"
    elif any(name.endswith(".index.json") for name in found):
        remedy = "it is cut into several files, which are not read: save it with max_shard_size='100GB'"
    else:
        remedy = (
            "only safetensors are read, never pickled .bin files: ask for another variant or revision, or load it once in "
            "diffusers and save_pretrained it again"
        )
    return f"{path.parent} has no {path.name}; {remedy}"
