"""The file of a fit: one safetensors file of class latents or differences, with the classes' labels in its header.

A fit by differences holds the labelled images themselves: such a file is as private as they are.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ..atomic import atomic_write
from ..classes import ClassDifferences, ClassLatents
from ..fit import Classes, Fit, Labels
from ..vae import Codec
from .printable import shown
from .tensor_file import MAX_HEADER_BYTES, Header, open_tensors
from .weights import WeightsError

KINDS: dict[str, type[Classes]] = {"latents": ClassLatents, "differences": ClassDifferences}
MAX_FIT_BYTES = 800_000_000
IMAGE_RANGE = (-0.25, 1.25)  # images in [0, 1] that were interpolated overshoot
LARGEST_LATENT = 2.0**15 - 16  # half of the largest float16: differences are finite, too

Shapes = Mapping[
    str, tuple[torch.dtype, tuple[int | str, ...]]
]  # of tensors, by name; a letter: any length, but the same


def save_fit(path: str | os.PathLike[str], fit: Fit, vae: Codec) -> None:
    """Write the file of a fit; interrupted, it leaves the old one.

    Raises:
        ValueError: it would be larger than what is read again; nothing is written.
    """
    kind = next(name for name, cls in KINDS.items() if isinstance(fit.jitter, cls))
    texts = {"kind": kind, "labels": json.dumps(fit.labels), "vae": vae.fingerprint()}
    if isinstance(fit.jitter, ClassDifferences):
        texts["reach"] = repr(fit.jitter.reach)
    names = _expected_shapes(kind, len(fit.labels), vae)
    tensors = {name: getattr(fit.jitter, name).contiguous() for name in names}
    content = safetensors.torch.save(tensors, metadata=texts)
    if int.from_bytes(content[:8], "little") > MAX_HEADER_BYTES:
        raise ValueError(
            f"nothing is written: the labels take more than {MAX_HEADER_BYTES} bytes. Use shorter or fewer ones"
        )
    if len(content) > MAX_FIT_BYTES:
        raise ValueError(
            f"nothing is written: the fit has {len(content)} bytes, and no more than {MAX_FIT_BYTES} are read. Fit fewer images"
        )
    atomic_write(Path(os.path.expanduser(path)), content)


def load_fit(path: str | os.PathLike[str], vae: Codec) -> Fit:
    """Read the file of a fit with this codec; its header is judged before tensors are read.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it is damaged, or was fitted with other weights.
    """
    path = Path(os.path.expanduser(path))
    try:
        with open_tensors(path) as file:
            texts = file.header.texts
            kind = texts.get("kind", "")
            if kind not in KINDS:
                raise WeightsError(f"{path} was not written by VAEAugment.save_fit: save the fit again")
            if texts.get("vae") != vae.fingerprint():
                raise WeightsError(f"{path} was fitted with other weights than these: load those, or fit again")
            labels = _read_labels(path, texts.get("labels", ""))
            fields: dict[str, Any] = {"reach": _read_reach(path, texts)} if kind == "differences" else {}
            _check_header(path, file.header, _expected_shapes(kind, len(labels), vae))
            tensors, _ = file.read()
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}: write one with VAEAugment.save_fit") from None
    _check_values(path, tensors, len(labels))
    return Fit(KINDS[kind](**fields | tensors), labels)


def _expected_shapes(kind: str, classes: int, vae: Codec) -> Shapes:
    half, integer = torch.float16, torch.int64
    shapes: Shapes = {"latents": (half, ("M", *vae.latent_shape)), "ends": (integer, (classes,))}
    if kind == "differences":
        return {**shapes, "images": (half, ("M", vae.channels, vae.size, vae.size))}
    own: Shapes = {"labelled": (half, ("N", *vae.latent_shape)), "labels": (integer, ("N",))}
    return {**shapes, "members": (integer, ("M",)), **own}


def _read_labels(path: Path, text: str) -> Labels:
    try:
        labels = json.loads(text)
    except (ValueError, RecursionError):
        labels = None
    if not isinstance(labels, list) or len(labels) < 2 or not all(type(label) in (int, str) for label in labels):
        raise WeightsError(f"{path} does not list its labels, integers or strings: save the fit again")
    if len(set(labels)) < len(labels):
        raise WeightsError(f"{path} lists a label twice: save the fit again")
    return tuple(labels)


def _read_reach(path: Path, texts: Mapping[str, str]) -> float:
    """The largest part of a difference that is added."""
    try:
        reach = float(texts["reach"])
    except (KeyError, ValueError):
        reach = math.nan
    if not 0 <= reach <= 1:
        raise WeightsError(f"{path} has no reach from 0 to 1, got {shown(texts.get('reach'))}: save the fit again")
    return reach


def _check_header(path: Path, header: Header, expected: Shapes) -> None:
    """Refuse a file before its tensors are read: other names, types or shapes, or more bytes than a fit has."""
    infos, lengths = header.tensors, dict[str, int]()
    if set(infos) != set(expected):
        raise WeightsError(f"{path} holds other tensors than VAEAugment.save_fit writes: save the fit again")
    for name, (dtype, shape) in expected.items():
        info = infos[name]
        lengths |= {w: s for w, s in zip(shape, info.shape, strict=False) if isinstance(w, str) and w not in lengths}
        wanted = tuple(lengths.get(w, w) if isinstance(w, str) else w for w in shape)
        if info.dtype != dtype or info.shape != wanted:
            raise WeightsError(f"{path}: {name} must be {dtype} of shape {wanted}, got {info.dtype} {info.shape}")
    if (size := max(info.end for info in infos.values())) > MAX_FIT_BYTES:
        raise WeightsError(
            f"{path} holds {size} bytes, more than the {MAX_FIT_BYTES} that a fit may: fit again to fewer images"
        )


def _check_values(path: Path, tensors: Mapping[str, Tensor], classes: int) -> None:
    """Refuse values that would fail, or draw from another class, at the first sample."""
    for name in {"latents", "labelled", "images"} & tensors.keys():
        low, high = tensors[name].aminmax()  # NaN if there is one
        if not (low.isfinite() and high.isfinite()):
            raise WeightsError(f"{path}: {name} holds values that are not finite: save the fit again")
        if name == "images" and not IMAGE_RANGE[0] <= float(low) <= float(high) <= IMAGE_RANGE[1]:
            raise WeightsError(f"{path}: images hold values from {float(low):g} to {float(high):g}, not in [0, 1]")
        if name == "latents" and not -LARGEST_LATENT <= float(low) <= float(high) <= LARGEST_LATENT:
            raise WeightsError(
                f"{path}: latents hold values from {float(low):g} to {float(high):g}: save the fit again"
            )
    ends, count = tensors["ends"], len(tensors["latents"])
    # compared, not subtracted: a difference of int64 may wrap
    if not (int(ends[0]) > 0 and bool((ends[1:] > ends[:-1]).all()) and int(ends[-1]) == count):
        raise WeightsError(f"{path}: ends must rise to the number of latents, {count}, got {shown(ends.tolist())}")
    if "labels" in tensors:
        labels, members = tensors["labels"], tensors["members"]
        if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise WeightsError(f"{path}: labels must be from 0 to {classes - 1}, got {shown(labels.tolist())}")
        if int(members.min()) < -1:
            raise WeightsError(f"{path}: members must be places in a bank, or -1, got {int(members.min())}")
