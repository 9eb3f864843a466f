"""The file of a fit: one safetensors file of class latents or differences, with the classes' labels in its header."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..atomic import atomic_write
from ..classes import ClassDifferences, ClassLatents
from ..fit import Classes, Fit, Labels
from ..vae import Codec
from .format import MAX_JSON_BYTES
from .weights import WeightsError

KINDS: dict[str, type[Classes]] = {"latents": ClassLatents, "differences": ClassDifferences}


def save_fit(path: str | os.PathLike[str], fit: Fit, vae: Codec) -> None:
    """Write the file of a fit; interrupted, it leaves the old one."""
    kind = next(name for name, cls in KINDS.items() if isinstance(fit.jitter, cls))
    header = {"kind": kind, "labels": json.dumps(fit.labels), "vae": vae.fingerprint()}
    if isinstance(fit.jitter, ClassDifferences):
        header["reach"] = repr(fit.jitter.reach)
    tensors = {name: getattr(fit.jitter, name).contiguous() for name in _tensor_names(kind)}
    atomic_write(Path(path).expanduser(), safetensors.torch.save(tensors, metadata=header))


def load_fit(path: str | os.PathLike[str], vae: Codec) -> Fit:
    """Read the file of a fit with this codec.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it is damaged, or was fitted with other weights.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: write one with VAEAugment.save_fit")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 (safe_open is no dict)
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path} is not a safetensors file, or is cut off: {error}") from None
    kind = header.get("kind", "")
    if kind not in KINDS or set(tensors) != set(_tensor_names(kind)):
        raise WeightsError(f"{path} was not written by VAEAugment.save_fit: save the fit again")
    if header.get("vae") != vae.fingerprint():
        raise WeightsError(f"{path} was fitted with other weights than these: load those, or fit again")
    labels = _read_labels(path, header.get("labels", ""))
    _check_tensors(path, tensors, len(labels), vae)
    numbers: dict[str, Any] = {"reach": _read_reach(path, header)} if kind == "differences" else {}
    return Fit(KINDS[kind](**tensors, **numbers), labels)


def _tensor_names(kind: str) -> tuple[str, ...]:
    return ("latents", "ends", "members", "labelled", "labels") if kind == "latents" else ("latents", "ends", "images")


def _read_labels(path: Path, text: str) -> Labels:
    try:
        labels = json.loads(text) if len(text) <= MAX_JSON_BYTES else None
    except (ValueError, RecursionError):
        labels = None
    if not isinstance(labels, list) or len(labels) < 2 or not all(type(label) in (int, str) for label in labels):
        raise WeightsError(f"{path} does not list its labels, integers or strings")
    return tuple(labels)


def _read_reach(path: Path, header: Mapping[str, str]) -> float:
    try:
        return float(header["reach"])
    except (KeyError, ValueError):
        raise WeightsError(f"{path} has no number as reach in its header: save the fit again") from None


def _check_tensors(path: Path, tensors: Mapping[str, Tensor], classes: int, vae: Codec) -> None:
    """Refuse tensors that would fail, or draw from another class, at the first sample."""
    ends, latents = tensors["ends"], tensors["latents"]
    image_shape = (vae.channels, vae.size, vae.size)
    for name, shape in {"latents": vae.latent_shape, "labelled": vae.latent_shape, "images": image_shape}.items():
        tensor = tensors.get(name)
        if tensor is not None and not (tensor.dtype == torch.float16 and tensor.shape[1:] == shape):
            raise WeightsError(f"{path}: {name} must be float16 (N, {shape}), got {tensor.dtype} {tuple(tensor.shape)}")
        if tensor is not None and not tensor.isfinite().all():
            raise WeightsError(f"{path}: {name} holds values that are not finite")
    integers = [tensors[name] for name in ("ends", "members", "labels") if name in tensors]
    if any(tensor.dtype != torch.int64 or tensor.ndim != 1 for tensor in integers) or len(ends) != classes:
        raise WeightsError(f"{path}: ends, members and labels must be int64 vectors, with one end for each label")
    counts = ends.diff(prepend=ends.new_zeros(1))
    if not (counts > 0).all() or int(ends[-1]) != len(latents):
        raise WeightsError(f"{path}: ends must rise to the number of latents, {len(latents)}, got {ends.tolist()}")
    if "images" in tensors and len(tensors["images"]) != len(latents):
        raise WeightsError(f"{path}: {len(tensors['images'])} images for {len(latents)} latents")
    if "labels" in tensors:
        labelled, labels = tensors["labelled"], tensors["labels"]
        in_range = len(labels) > 0 and int(labels.min()) >= 0 and int(labels.max()) < classes
        if len(labelled) != len(labels) or not in_range:
            raise WeightsError(f"{path}: labels must be from 0 to {classes - 1}, one for each labelled latent")
        if len(tensors["members"]) != len(latents):
            raise WeightsError(f"{path}: {len(tensors['members'])} members for {len(latents)} latents")
