"""Damaged runs: `--resume` goes on, or ends with one line that says what to do; none hangs, none takes much memory."""

import dataclasses
import io
import json
import os
import random
import re
import resource
import signal
import time
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from tests.test_fuzz import (
    COUNT,
    SLOWEST,
    Files,
    append,
    cut,
    dumped,
    edit,
    flip_bits,
    places,
    record_worst,
    remove,
    swap,
)
from train import checkpoint
from train import data as datasets
from train.__main__ import main
from train.cli import parse
from train.log import Log
from train.loop import train
from train.values import read_yaml
from vae_augment import hub

RUNS = COUNT if "VAE_AUGMENT_FUZZ" in os.environ else 60
STEPS, STOP = 20, 10
FLAGS = ["--steps", str(STEPS), "--batch_size", "8", "--bank_size", "0", "--vae.width", "16", "--vae.latent_dim", "4"]
RECIPE, METRICS = "training.yaml", "metrics.jsonl"
STATES = (checkpoint.FILE, checkpoint.BEST_FILE)
MOST_STEPS = 100  # a recipe that asks for more, or to be compiled, is no damage, but takes its time
TOLD_AT_THE_END = "best\\.pt|Train the network again|latent_std must be above 0"  # once all steps are done
TOLD = rf"error: [^\n]*(is damaged \([^\n]*\)|[Bb]egin a new run|is no run|of another version|{TOLD_AT_THE_END})[^\n]*"
TOLD_OF_A_RECIPE = r"error: (?!\[Errno)[^\n]*"  # which is whole, but no one's for these images
TEXTS = [
    b"[" * 100_000,
    b"1" * 5000,
    b"NaN",
    b'"',
    b"\xff",
    b",",
    b"1e999",
    b"{" * 999,
    b"\n\n",
    b"&a [*a]: ",
    b"!!int x",
    b"\t",
]


def edit_state(chance: random.Random, run: Files) -> None:
    """Another key, number or tensor, anywhere in a state that is whole as a file."""
    name = chance.choice([file for file in STATES if file in run])
    state = torch.load(io.BytesIO(run[name]), weights_only=True)
    for _ in range(chance.choice([1, 1, 1, 3])):
        container, key = chance.choice(places(state))
        if isinstance(container[key], Tensor) and chance.random() < 0.8:
            container[key] = chance.choice(TENSORS)(container[key])
        else:
            edit(chance, container)
    run[name] = saved(chance.choice([state] * 20 + [[state], {}, list(state), torch.zeros(3), "x", 1]))


def filled(value: float) -> Callable[[Tensor], Tensor]:
    return lambda tensor: torch.full_like(tensor.float(), value).to(tensor.dtype)


TENSORS: list[Callable[[Tensor], object]] = [
    Tensor.double,
    Tensor.long,
    Tensor.bool,
    Tensor.bfloat16,
    Tensor.cfloat,
    *map(filled, (float("nan"), float("inf"), -1.0, 0.0, 1e30)),
    lambda tensor: -tensor.float(),
    lambda tensor: tensor.flatten()[:1],
    lambda tensor: tensor[None],
    lambda tensor: tensor.flatten()[:0],
    lambda tensor: torch.cat([tensor.flatten()] * 2),
    lambda tensor: torch.zeros(1).expand(10**9),
    lambda tensor: torch.zeros(1).expand(2**31, 2**31),
    lambda tensor: torch.zeros(1).as_strided(tensor.shape, [0] * tensor.ndim),
    lambda tensor: tensor.to("meta"),
    lambda tensor: tensor.float().to_sparse() if tensor.ndim else tensor,
    lambda tensor: torch.nn.Parameter(tensor.float()),
    lambda tensor: tensor.flatten().tolist()[:3],
]


def saved(state: object) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def pack_again(chance: random.Random, run: Files) -> None:
    """The archive that a state is, as another program might write it."""
    name = chance.choice([file for file in STATES if file in run])
    with zipfile.ZipFile(io.BytesIO(run[name])) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    entry, kind = chance.choice(sorted(entries)), chance.random()
    content = entries.pop(entry)
    if kind < 0.2:
        entries[entry + "x"] = content
    elif kind < 0.6:
        entries[entry] = chance.choice(
            [b"", content[: len(content) // 2], content * 2, bytes(10**8), chance.randbytes(50)]
        )
    elif kind < 0.8:
        entries[entry] = content
    file = io.BytesIO()
    with zipfile.ZipFile(
        file, "w", chance.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]), compresslevel=1
    ) as archive:
        for path, data in entries.items():
            archive.writestr(path, data)
    run[name] = file.getvalue()


def edit_recipe(chance: random.Random, run: Files) -> None:
    recipe = yaml.safe_load(run[RECIPE])
    for _ in range(chance.choice([1, 1, 3])):
        edit(chance, recipe)
    run[RECIPE] = yaml.safe_dump(recipe, sort_keys=False).encode("utf-8", "surrogatepass")


def edit_metrics(chance: random.Random, run: Files) -> None:
    lines = [json.loads(line) for line in run[METRICS].splitlines()]
    edit(chance, lines)
    run[METRICS] = b"\n".join(map(dumped, lines)) + chance.choice([b"", b"\n"])


def edit_text(chance: random.Random, run: Files) -> None:
    name = chance.choice([RECIPE, METRICS])
    at = chance.randrange(len(run[name]))
    run[name] = run[name][:at] + chance.choice(TEXTS) + run[name][at + chance.choice([0, 0, 1, 50]) :]


MUTATIONS = [
    flip_bits,
    cut,
    append,
    swap,
    remove,
    *[edit_text, edit_metrics, pack_again] * 2,
    *[edit_recipe] * 4,
    *[edit_state] * 12,
]


def mutated(chance: random.Random, original: Files) -> Files:
    run = dict(original)
    for _ in range(chance.choice([1, 1, 1, 2])):
        try:
            chance.choice(MUTATIONS)(chance, run)
        except Exception:
            break  # the first has left nothing that the second could edit, or this is nothing that can be written
    return run


def takes_long(run: Files) -> bool:
    try:
        recipe = read_yaml(run[RECIPE].decode())
        return recipe["steps"] > MOST_STEPS or recipe["compile"]
    except Exception:
        return False


class Stopped(Log):
    """Ctrl-C after some steps."""

    def step(self, step, metrics):
        super().step(step, metrics)
        if step == STOP:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Files:
    """The files of a run that was stopped half-way, by name."""
    folder = tmp_path_factory.mktemp("stopped")
    recipe = parse(["sample", *FLAGS, "--out", str(folder), "--overwrite"], "").recipe
    (folder / RECIPE).write_text(yaml.safe_dump(dataclasses.asdict(recipe), sort_keys=False))
    with Stopped(folder, {}, STEPS, "disabled") as log, pytest.raises(KeyboardInterrupt):
        train(recipe, datasets.load("sample", 1, 28), log, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.skipif(
    not hasattr(torch.compiler, "is_exporting"),
    reason="torch 2.6 writes past the end of values of which a file has few",
)
def test_damaged_runs_go_on_or_are_refused(stopped, tmp_path, capsys, record_property):
    assert set(stopped) == {*STATES, RECIPE, METRICS}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes, most = {"went on": 0, "told": 0}, 0.0
    for number in range(RUNS):
        chance = random.Random(f"run {number}")
        files, keep = mutated(chance, stopped), chance.choice([[], ["--keep", "best"]])
        if takes_long(files):
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        started = time.thread_time()
        told = TOLD if files.get(RECIPE) == stopped[RECIPE] else TOLD_OF_A_RECIPE
        outcome, message = attempt(["--resume", str(folder), *keep, "--wandb", "disabled"], told)
        most = max(most, time.thread_time() - started)
        assert outcome in outcomes, f"run {number}: {message}"
        assert most < SLOWEST, f"run {number}"
        outcomes[outcome] += 1
        if outcome == "told":
            assert message.isprintable(), f"run {number}: {message!r}"
            is_at_the_end = re.search(TOLD_AT_THE_END, message)
            assert is_at_the_end or contents(folder) == files, f"run {number}: something was changed"
        else:
            assert hub.load(folder).metrics, f"run {number}"
            assert all(json.loads(line)["step"] for line in (folder / METRICS).read_text().splitlines()), (
                f"run {number}"
            )
        capsys.readouterr()
    assert min(outcomes.values()) > 0, outcomes
    record_worst(record_property, outcomes, most, before)


def attempt(arguments: list[str], told: str = TOLD) -> tuple[str, str]:
    try:
        main(arguments)
    except SystemExit as ended:
        message = str(ended.code)
        return "told" if re.fullmatch(told, message) else "another message", message
    except BaseException:
        return "another error", traceback.format_exc()
    return "went on", ""


def contents(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
