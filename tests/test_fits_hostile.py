"""Fits of strangers: refused at once, before memory is spent, and none is written that could not be read again."""

import json
import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests.conftest import FEW
from tests.limits import at_once
from vae_augment import VAEAugment, WeightsError


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    """The file of a fit of each kind, by kind: its path, its header's texts and its tensors."""
    augment, found = VAEAugment.from_pretrained("fashion-mnist"), {}
    for kind, fitted in (("latents", augment.fit(FEW)), ("differences", VAEAugment(augment.vae).fit(FEW))):
        path = tmp_path_factory.mktemp("fit") / f"{kind}.safetensors"
        fitted.save_fit(path)
        with safetensors.safe_open(path, framework="pt") as file:
            found[kind] = path, file.metadata()
    return {kind: (texts, safetensors.torch.load_file(path)) for kind, (path, texts) in found.items()}


def load_refused(path: Path, message: str) -> None:
    augment = VAEAugment.from_pretrained("fashion-mnist")
    with at_once(), pytest.raises(WeightsError, match=message) as error:
        augment.load_fit(path)
    assert str(path) in str(error.value)
    assert str(error.value).isprintable()


def test_a_fit_of_a_strangers_numbers_is_refused(fits, tmp_path):
    path = tmp_path / "fit.safetensors"
    texts, tensors = fits["differences"]
    for reach in ("nan", "inf", "-inf", "1e308", "-0.1", "1.1", "", "x", "\x1b[2J", "9" * 10_000):
        path.write_bytes(safetensors.torch.save(tensors, metadata=texts | {"reach": reach}))
        load_refused(path, "no reach from 0 to 1")
    for value in (torch.nan, torch.inf, 60_000.0, -1.0):
        images = tensors["images"].clone()
        images[3, 0, 0, 0] = value
        path.write_bytes(safetensors.torch.save(tensors | {"images": images}, metadata=texts))
        load_refused(path, "images hold")
    path.write_bytes(safetensors.torch.save(tensors | {"latents": tensors["latents"].fill_(60_000)}, metadata=texts))
    load_refused(path, "latents hold")
    texts, tensors = fits["latents"]
    end, count = tensors["ends"], len(tensors["latents"])
    top = torch.iinfo(torch.int64).max
    for ends in ([top - 1, -top, *end[2:]], [0, *end[1:]], [*end[:-1], count + 1], [top, *end[1:]], [-5, *end[1:]]):
        path.write_bytes(safetensors.torch.save(tensors | {"ends": torch.tensor(ends)}, metadata=texts))
        load_refused(path, "ends must rise")
    for labels in (-1, 10, top, -top):
        path.write_bytes(safetensors.torch.save(tensors | {"labels": tensors["labels"].fill_(labels)}, metadata=texts))
        load_refused(path, "labels must be from 0 to 9")


@pytest.mark.parametrize(
    "labels",
    [
        [1, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        ["a", "a", *range(8)],
        [True, *range(9)],
        [1.0, *range(9)],
        [[], *range(9)],
        list(range(9)),
        [0],
        {},
    ],
)
def test_a_fit_of_labels_that_are_none_is_refused(fits, tmp_path, labels):
    texts, tensors = fits["latents"]
    path = tmp_path / "fit.safetensors"
    path.write_bytes(safetensors.torch.save(tensors, metadata=texts | {"labels": json.dumps(labels)}))
    load_refused(path, "label|ends")


def write_sparse(path: Path, header: dict, size: int) -> None:
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + size)


def test_a_fit_is_judged_before_it_is_read(fits, tmp_path):
    """A sparse file of 3 GB takes 4 kB of a disk."""
    path, size = tmp_path / "fit.safetensors", 3_000_000_000
    texts, _ = fits["latents"]
    huge = {"dtype": "F16", "shape": [size // 2], "data_offsets": [0, size]}
    write_sparse(path, {"__metadata__": texts, "latents": huge}, size)
    load_refused(path, "other tensors")
    count = size // (64 * 2 + 8)
    latents = {"dtype": "F16", "shape": [count, 64], "data_offsets": [0, 128 * count]}
    members = {"dtype": "I64", "shape": [count], "data_offsets": [128 * count, 136 * count]}
    small = {"ends": ([10], 80, "I64"), "labels": ([1], 8, "I64"), "labelled": ([1, 64], 128, "F16")}
    tensors, at = {"latents": latents, "members": members}, 136 * count
    for name, (shape, length, dtype) in small.items():
        tensors[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + length]}
        at += length
    write_sparse(path, {"__metadata__": texts, **tensors}, at)
    load_refused(path, "more than the 800000000")
    empty = {f"t{i}": {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)}
    write_sparse(path, {"__metadata__": texts, **empty}, 0)
    load_refused(path, "header of")
    write_sparse(path, {"__metadata__": texts, **dict(list(empty.items())[:10_000])}, 0)
    load_refused(path, "shape")
    write_sparse(path, {"__metadata__": texts | {"labels": "[" * 900_000}, "latents": huge}, size)
    load_refused(path, "labels")
    write_sparse(path, {"a": {"dtype": "F16", "shape": [2**62] * 5000, "data_offsets": [0, 0]}}, 0)
    load_refused(path, "shape")


def test_a_fit_of_labels_that_could_not_be_read_again_is_not_written(fitted, tmp_path):
    from vae_augment.hub.fit_file import save_fit

    long = ("x" * 600_000, "\N{BLACK HEART SUIT}" * 200_000, *range(8))
    fit = type(fitted._fit)(fitted._fit.jitter, long)
    with pytest.raises(ValueError, match="nothing is written: the labels"):
        save_fit(tmp_path / "fit.safetensors", fit, fitted.vae)
    assert not (tmp_path / "fit.safetensors").exists()
