"""Damaged files of fits: each is refused, or draws images as any fit does and can be saved again; none hangs or takes memory."""

import json
import random
import resource
import struct
import time
import traceback
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

from tests.conftest import IMAGES
from tests.test_fuzz import COUNT, SLOWEST, VALUES, dumped, edit, record_worst
from vae_augment import VAEAugment, WeightsError

NUMBERS = [0, 1, -1, 10, 2**31, 2**63 - 1, -(2**63), 2**62, -2]
REACHES = [
    "nan",
    "inf",
    "-inf",
    "1e308",
    "0",
    "1",
    "-0.0",
    "1e-400",
    "0.25",
    "1_0",
    "",
    "x",
    "\x1b[2J",
    "9" * 5000,
    "٣",
]
LABELS = [
    *("[0, 1]", "[0, 0]", "[]", "[" * 900, '["a", "b"]', '["\\ud800", 1]', "[1e999, 2]", "{}", "x", "[true, 1]"),
    "[" + "9" * 5000 + ", 1]",
]


def parts(content: bytes) -> tuple[dict, bytes]:
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def whole(header: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def damage_bytes(chance: random.Random, content: bytes) -> bytes:
    at, kind = chance.randrange(len(content)), chance.random()
    if kind < 0.4:
        return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]
    if kind < 0.7:
        return content[: chance.choice([0, 1, 7, 8, 9, at])]
    return content + chance.choice([b"\0", b" " * 100, b"\0" * 100_000])


def damage_header(chance: random.Random, content: bytes) -> bytes:
    header, data = parts(content)
    kind = chance.random()
    tensor = header[chance.choice([key for key in header if key != "__metadata__"])]
    if kind < 0.4:
        edit(chance, header)
    elif kind < 0.6:
        tensor["shape"] = chance.choice(
            [[2**40], [2**62, 4], [0], [], [2**63 - 1], [-1, 8], [2**62] * 1000, [1] * 50_000]
        )
    elif kind < 0.7:
        tensor["dtype"] = chance.choice(["F64", "F32", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "F4", "x"])
    elif kind < 0.8:
        tensor["data_offsets"] = chance.choice([[0, 2**40], [0, 0], [8, 4], [2**62, 2**63], [-2, 0], [0]])
    elif kind < 0.9:
        header |= {
            f"t{i}": {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]}
            for i in range(chance.choice([1, 9000, 100_000]))
        }
    else:  # a tensor of any number of bytes that are there, as zeros
        size = chance.choice([10, 10**6, 10**8])
        header[f"t{size}"] = {"dtype": "F16", "shape": [size // 2], "data_offsets": [len(data), len(data) + size]}
        data += bytes(size)
    return whole(dumped(header), data)


def damage_texts(chance: random.Random, content: bytes) -> bytes:
    header, data = parts(content)
    name = chance.choice(["reach", "labels", "labels", "kind", "vae"])
    header["__metadata__"][name] = chance.choice(
        {"reach": REACHES, "labels": LABELS}.get(name, ["latents", "differences", "", "\x1b"])
    )
    if chance.random() < 0.1:
        header["__metadata__"] = chance.choice(VALUES)
    return whole(dumped(header), data)


def damage_tensors(chance: random.Random, content: bytes) -> bytes:
    texts, tensors = parts(content)[0]["__metadata__"], safetensors.torch.load(content)
    key = chance.choice(sorted(tensors))
    tensor = tensors[key].clone()
    flat = tensor.view(-1)
    kind = chance.random()
    if kind < 0.5:
        values = NUMBERS if tensor.dtype == torch.int64 else [0.0, -1.0, 6e4, 1e-7, float("nan"), float("inf")]
        flat[chance.choice([0, -1, chance.randrange(len(flat)), slice(None)])] = chance.choice(values)
    elif kind < 0.7:
        tensor = chance.choice(
            [tensor[1:], tensor[:1], torch.cat([tensor, tensor]), tensor.flip(0), tensor[None], tensor[:0]]
        )
    elif kind < 0.8:
        tensor = tensor.to(chance.choice([torch.float32, torch.int64, torch.int16, torch.float64]))
    elif kind < 0.9:
        for name in tensors:  # all of one length, but not the length of the labels
            tensors[name] = tensors[name][: chance.choice([1, 5])]
        tensor = tensors[key]
    else:
        del tensors[key]
        return safetensors.torch.save(tensors, metadata=texts)
    return safetensors.torch.save(tensors | {key: tensor.contiguous()}, metadata=texts)


@pytest.fixture(scope="module")
def augment() -> VAEAugment:
    return VAEAugment(VAEAugment.from_pretrained("fashion-mnist").vae, gain=1.0)


@pytest.mark.parametrize("kind", ["latents", "differences"])
def test_damaged_fits_draw_images_or_are_refused(kind, augment, fitted, tmp_path, record_property):
    path, again = tmp_path / "fit.safetensors", tmp_path / "again.safetensors"
    pairs = [(image, int(i % 2)) for i, image in enumerate(IMAGES[:20].clone())]
    source = fitted if kind == "latents" else VAEAugment(augment.vae, gain=1.0).fit(pairs)
    source.save_fit(path)
    original, before = path.read_bytes(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes, most = {"loaded": 0, "refused": 0}, 0.0
    for number in range(COUNT // 2):
        chance = random.Random(f"fit {kind} {number}")
        content = original
        for _ in range(chance.choice([1, 1, 2])):
            try:
                content = chance.choice([damage_bytes, damage_header, damage_texts, damage_tensors])(chance, content)
            except Exception:
                break  # the first has left nothing that the second could edit
        path.write_bytes(content)
        started = time.thread_time()
        outcome, message = attempt(augment, path)
        assert outcome in outcomes, f"fit {number}: {message}"
        if outcome == "refused":
            assert str(path) in message
            assert message.isprintable()
        outcomes[outcome] += 1
        if outcome == "loaded":
            check(augment, again)
        most = max(most, time.thread_time() - started)
        assert most < SLOWEST, f"fit {number}"
    assert min(outcomes.values()) > 0, outcomes
    record_worst(record_property, outcomes, most, before)


def attempt(augment: VAEAugment, path: Path) -> tuple[str, str]:
    """Outcome of loading, and the error's message."""
    try:
        augment.load_fit(path)
    except WeightsError as error:
        return "refused", str(error)
    except Exception:
        return "another error", traceback.format_exc()
    return "loaded", ""


def check(loaded: VAEAugment, again: Path) -> None:
    """It draws finite images in [0, 1] of each class, and what is saved again loads."""
    for images in (loaded.sample(list(loaded.classes)), loaded(IMAGES[:3] / 255)):
        assert images.isfinite().all()
        assert 0 <= images.min() <= images.max() <= 1
    loaded.save_fit(again)
    assert loaded.load_fit(again).classes
