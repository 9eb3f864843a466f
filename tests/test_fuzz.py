"""Damaged weights folders: each loads identically or is refused; none hangs, none takes much memory.

`VAE_AUGMENT_FUZZ=2000` tries as many in place of a few, here and in the other tests of fuzz.
"""

import hashlib
import json
import os
import random
import resource
import struct
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from tests.conftest import IMAGES
from vae_augment import VAE, LatentBank, VAEConfig, Weights, WeightsError, hub
from vae_augment.__main__ import main
from vae_augment.hub.card import Card
from vae_augment.hub.format import config_checksum
from vae_augment.hub.model_card import model_card
from vae_augment.prior import Mixture
from vae_augment.vae.config import _parameter_estimate

COUNT = int(os.environ.get("VAE_AUGMENT_FUZZ", "200"))
SLOWEST = 5.0  # seconds for one folder
MOST_MEMORY = 1_000_000  # kB more than before
Files = dict[str, bytes]
TENSORS = ("model.safetensors", "bank.safetensors", "prior.safetensors")
NUMBERS = [0, -1, 1, 2, 3, 7, 2**31, 2**63, 10**30, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), True, False]
VALUES = [*NUMBERS, None, "", "x", "1", "\ud800", "\0", [], {}, [[1]], {"a": 1}, "9" * 5000]


def pick(random: random.Random, folder: Files) -> str:
    return random.choice(sorted(folder))


def flip_bits(random: random.Random, folder: Files) -> None:
    name = pick(random, folder)
    content = bytearray(folder[name])
    for _ in range(random.choice([1, 1, 2, 50])):
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    folder[name] = bytes(content)


def cut(random: random.Random, folder: Files) -> None:
    name = pick(random, folder)
    folder[name] = folder[name][: random.choice([0, 1, 7, 8, 9, random.randrange(len(folder[name]))])]


def append(random: random.Random, folder: Files) -> None:
    folder[pick(random, folder)] += random.choice(
        [b"\0", b" ", b"\n", b"\r\n", b"}", random.randbytes(100), b"\0" * 100_000]
    )


def swap(random: random.Random, folder: Files) -> None:
    one, other = random.sample(sorted(folder), 2)
    folder[one], folder[other] = folder[other], folder[one]


def remove(random: random.Random, folder: Files) -> None:
    del folder[pick(random, folder)]


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a JSON object."""
    if not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


def edit(random: random.Random, value: Any) -> None:
    """Change, add or remove something, anywhere in a JSON object."""
    container, key = random.choice(places(value))
    old, action = container[key], random.random()
    if action < 0.1:
        del container[key]
    elif action < 0.2 and isinstance(container, dict):
        container[random.choice(["surprise", "", "neighbours", "vae", "__metadata__"])] = random.choice(VALUES)
    elif action < 0.3:
        container[key] = nested(random.choice([10, 300, 900, 3000]), random.choice([list, dict]))
    elif action < 0.6 and isinstance(old, int | float):
        container[key] = random.choice([old + 1, old - 1, old * 2, -old, str(old)])
    else:
        container[key] = random.choice(VALUES)


def nested(depth: int, kind: type) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


def dumped(value: Any) -> bytes:
    try:
        return json.dumps(value).encode()
    except RecursionError:
        return b"[" * 100_000


def edit_config(random: random.Random, folder: Files) -> None:
    config = json.loads(folder["config.json"])
    for _ in range(random.choice([1, 1, 1, 3])):
        edit(random, config)
    folder["config.json"] = dumped(config)


def edit_text(random: random.Random, folder: Files) -> None:
    text = folder["config.json"]
    at = random.randrange(len(text))
    inserted = random.choice(
        [b"[" * 100_000, b"1" * 5000, b"NaN", b'"', b"\xff", b",", b'"a":1,', b"1e999", b"{" * 999]
    )
    folder["config.json"] = text[:at] + inserted + text[at:]


def edit_header(random: random.Random, folder: Files) -> None:
    """Shapes, types, offsets and names in a safetensors file, its length kept right or not."""
    name = random.choice(TENSORS)
    length = struct.unpack("<Q", folder[name][:8])[0]
    header, data = json.loads(folder[name][8 : 8 + length]), folder[name][8 + length :]
    action = random.random()
    if action < 0.6:
        edit(random, header)
    else:
        tensor = header[random.choice([key for key in header if key != "__metadata__"])]
        if action < 0.8:  # a huge tensor, with offsets that fit it or not
            tensor["shape"] = random.choice([[2**40], [2**62, 4], [10**6, 10**6], [0], [], [2**63 - 1], [-1, 8]])
        elif action < 0.9:
            tensor["dtype"] = random.choice(["F64", "F32", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "C64", "x"])
        else:
            tensor["data_offsets"] = random.choice([[0, 2**40], [0, 0], [8, 4], [2**62, 2**63], [-2, 0]])
    text = dumped(header)
    declared = len(text) if random.random() < 0.8 else random.choice([0, 1, 2**31, 2**40, 2**63, 2**64 - 1])
    folder[name] = struct.pack("<Q", declared) + text + data


def edit_tensors(random: random.Random, folder: Files) -> None:
    """Another shape, type, name or value, in a file that is whole."""
    name = random.choice(TENSORS)
    tensors = safetensors.torch.load(folder[name])
    key = random.choice(sorted(tensors))
    tensor = tensors.pop(key)
    changed: list[Callable[[], torch.Tensor]] = [
        tensor.double,
        tensor.long,
        tensor.bool,
        lambda: tensor.to(torch.bfloat16),
        lambda: tensor.to(torch.float8_e4m3fn),
        lambda: tensor.float() * 1e38 * 1e38,
        lambda: tensor.float().fill_(float("nan")).to(tensor.dtype),
        lambda: torch.full_like(tensor, random.choice([-1, 0, 127])),
        tensor.flatten,
        lambda: tensor[None],
        lambda: tensor[:0],
        lambda: tensor[: len(tensor) // 2],
        lambda: torch.cat([tensor, tensor]),
        lambda: torch.zeros(20_000, *tensor.shape[1:], dtype=tensor.dtype),
        lambda: tensor.transpose(0, -1),
    ]
    if random.random() < 0.9:
        tensors[key if random.random() < 0.9 else key + "x"] = random.choice(changed)().contiguous()
    folder[name] = safetensors.torch.save(tensors)


GREEDY = {
    "channels": [1, 3, 16, 64],
    "size": [1, 28, 64, 256, 512, 1024],
    "latent_dim": [1, 8, 512, 4096],
    "spatial": [False, True],
    "patch": [1, 2, 4, 16, 64],
    "width": [1, 16, 512, 2048],
    "neck": [1, 2, 64, 1024],
}
SMALL_MODEL = 300_000  # parameters that are written into a file of their own, to be loaded


def greedy_config(random: random.Random, folder: Files) -> None:
    """An architecture that asks for memory in any of its fields; a small one with the tensors that it asks for."""
    config = json.loads(folder["config.json"])
    config["vae"] = {name: random.choice(values) for name, values in GREEDY.items()}
    folder["config.json"] = json.dumps(config).encode()
    try:
        architecture = VAEConfig(**config["vae"])
        if _parameter_estimate(architecture) > SMALL_MODEL:
            return
    except ValueError:
        return
    state = {key: value.half().contiguous() for key, value in VAE(architecture).state_dict().items()}
    folder["model.safetensors"] = safetensors.torch.save(state)
    if random.random() < 0.8:
        for name in ("bank.safetensors", "prior.safetensors"):
            folder.pop(name, None)
            config["sha256"].pop(name, None)
        folder["config.json"] = json.dumps(config).encode()


ANY = [flip_bits, cut, append, swap, remove, edit_text]
MUTATIONS = [*ANY, *[edit_config, edit_header, edit_tensors, greedy_config] * 4]


def sign(folder: Files) -> None:
    """Make the checksums right again, as an attacker would: what is behind them must hold alone."""
    try:
        config = json.loads(folder["config.json"])
        checksums = {name: hashlib.sha256(folder[name]).hexdigest() for name in config["sha256"] if name in folder}
        config["sha256"] = {key: value for key, value in checksums.items() if key != "config.json"}
        config["sha256"]["config.json"] = config_checksum(config)
        folder["config.json"] = json.dumps(config).encode()
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        pass  # too damaged to be signed


def fingerprint(weights: Weights) -> list[torch.Tensor]:
    bank = [] if weights.bank is None else [weights.bank.latents, *(view.neighbours for view in weights.bank.views)]
    prior = [] if weights.prior is None else [weights.prior.shares, weights.prior.means, weights.prior.factors]
    return [*weights.vae.state_dict().values(), *bank, *prior]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = VAE(VAEConfig(latent_dim=4, width=8, neck=2)).eval()
    folder = tmp_path_factory.mktemp("whole")
    pool = {"name": "sample", "images": 12, "sha256": "0" * 64}
    bank = LatentBank.from_images(vae, IMAGES[:12])
    prior = Mixture.of_latents(bank.whitened(vae), components=2, rank=2)
    hub.save(folder, Weights(vae, bank, {"Noise": 0.5}, pool, {"psnr": 1.0}, prior), "# card\n")
    return folder


@pytest.mark.parametrize("signed", [False, True], ids=["as found", "signed again"])
def test_damaged_folders_load_identically_or_are_refused(whole, tmp_path, signed, capsys, record_property):
    original = {name: (whole / name).read_bytes() for name in hub.FILES}
    tensors = fingerprint(hub.load(whole))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    most = 0.0
    outcomes = {"loaded": 0, "WeightsError": 0, "FileNotFoundError": 0}
    for number in range(COUNT // 2):
        chance = random.Random(f"vae-augment {signed} {number}")
        files = mutated(chance, original)
        if signed:
            sign(files)
        for name in original:
            (tmp_path / name).unlink(missing_ok=True)
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        started = time.thread_time()  # of this process alone, whatever else runs
        outcome, loaded = attempt(tmp_path)
        assert outcome in outcomes, f"folder {number}: {outcome}"
        most = max(most, time.thread_time() - started)
        assert most < SLOWEST, f"folder {number}"
        outcomes[outcome] += 1
        if loaded is not None:
            check(loaded, tensors, signed, tmp_path)
            most = max(most, time.thread_time() - started)
            assert most < SLOWEST, f"folder {number}"
            assert main(["info", str(tmp_path)]) == 0
            assert all(line.isprintable() for line in capsys.readouterr().out.split("\n"))
    assert outcomes["WeightsError"] > 0, outcomes
    if COUNT >= 2000:  # of few, none may load
        assert min(outcomes.values()) > 3, outcomes
    record_worst(record_property, outcomes, most, before)


def record_worst(
    record_property: Callable[[str, object], None], outcomes: dict[str, int], most: float, before: int
) -> None:
    """Into the report of --junitxml; and memory is checked, in kB, of all cases together."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    for name, value in {
        "outcomes": outcomes,
        "most seconds": round(most, 2),
        "most memory, MB": memory // 1000,
    }.items():
        record_property(name, value)
    assert memory < MOST_MEMORY


def mutated(chance: random.Random, original: Files) -> Files:
    files = dict(original)
    for _ in range(chance.choice([1, 1, 1, 2])):
        try:
            chance.choice(MUTATIONS)(chance, files)
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            IndexError,
            struct.error,
            safetensors.SafetensorError,
            RecursionError,
        ):
            break  # the first has left nothing that the second could edit
    return files


def attempt(folder: Path) -> tuple[str, Weights | None]:
    """Outcome of loading, and the weights if there are any."""
    try:
        return "loaded", hub.load(folder)
    except (WeightsError, FileNotFoundError) as error:
        return (type(error).__name__ if str(folder) in str(error) else f"does not name the folder: {error}"), None
    except Exception:
        return traceback.format_exc(), None


def check(loaded: Weights, tensors: list[torch.Tensor], signed: bool, folder: Path) -> None:
    """Unsigned, the very tensors; signed, other tensors that work, and can be saved again: then they are other weights."""
    if not signed:
        assert all(torch.equal(a, b) for a, b in zip(fingerprint(loaded), tensors, strict=True))
    config = loaded.vae.config
    with torch.no_grad():
        mean, std = loaded.vae.encode(torch.zeros(1, config.channels, config.size, config.size))
        assert loaded.vae.decode(mean).shape == (1, config.channels, config.size, config.size)
    assert std.shape == mean.shape
    if loaded.bank is not None:
        assert loaded.bank.whitened(loaded.vae).shape[1:] == loaded.vae.latent_shape
        for view in loaded.bank.views:
            assert loaded.bank.latents[view.neighbours.long()].shape[1] == view.neighbours.shape[1]
    json.dumps([dict(loaded.gains), dict(loaded.provenance), dict(loaded.metrics)], allow_nan=False)
    card = Card.parse(model_card(loaded, "me/name"))
    assert card.block
    assert (card.before, card.after) == ("", "")
    hub.save(folder / "again", loaded)
    again = hub.load(folder / "again")
    assert (again.vae.config, again.gains, again.provenance, again.metrics) == (
        config,
        loaded.gains,
        loaded.provenance,
        loaded.metrics,
    )
