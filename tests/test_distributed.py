"""Several processes under torchrun train like one, and end when one of them ends."""

import dataclasses
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from tests import distributed_program
from tests.running import TORCHRUN, TWO_PROCESSES, needs_torchrun, python_m_train, records, started, wait_for_step
from train import checkpoint
from train.loop import check_processes
from vae_augment import hub

LONG = ["sample", "--steps", "900", "--batch_size", "32", "--bank_size", "50"]
RECIPES = distributed_program.RECIPES


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Return a folder in which two processes have trained every recipe."""
    folder = tmp_path_factory.mktemp("two")
    command = [*TORCHRUN, "-m", "tests.distributed_program", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder


def same_numbers(a, b):
    """Whether two runs logged the same, to 1e-5."""
    pairs = list(zip(records(a), records(b), strict=True))
    assert any(record["step"] == 20 and "total" in record for record, _ in pairs)
    return all(one == pytest.approx(other, rel=1e-5, abs=1e-5) for one, other in pairs)


@needs_torchrun
@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_train_like_one(two, tmp_path, name):
    one = distributed_program.run(dataclasses.replace(RECIPES[name], accumulate=1), tmp_path / "one")
    assert same_numbers(two / name, tmp_path / "one")
    first, second = (torch.load(two / f"{name} {rank}.pt", weights_only=True) for rank in (0, 1))
    for key, value in one.items():
        assert torch.equal(first[key], second[key]), "the weights of the processes drift apart"
        assert torch.allclose(first[key], value, atol=1e-4), key


def test_micro_batches_train_like_the_whole_batch(tmp_path):
    name = "accumulated"
    whole = distributed_program.run(dataclasses.replace(RECIPES[name], accumulate=1), tmp_path / "whole")
    parts = distributed_program.run(RECIPES[name], tmp_path / "parts")
    assert same_numbers(tmp_path / "parts", tmp_path / "whole")
    assert all(torch.allclose(parts[key], value, atol=1e-4) for key, value in whole.items())


def test_a_batch_that_cannot_be_divided_is_refused():
    recipe = dataclasses.replace(RECIPES["gaussian"], accumulate=5)
    with pytest.raises(ValueError, match=r"32 images cannot be divided.*accumulate=5.*multiple of 5"):
        check_processes(recipe, 450)
    check_processes(recipe, 30)  # a set smaller than the batch is a batch itself
    with pytest.raises(ValueError, match="batch of 31 images"):
        check_processes(recipe, 31)


def workers(torchrun: subprocess.Popen) -> dict[str, int]:
    """Return the process id of each rank."""
    children = Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split()
    found = {}
    for child in children:
        for item in Path(f"/proc/{child}/environ").read_bytes().decode().split("\0"):
            if item.startswith("RANK="):
                found[item.removeprefix("RANK=")] = int(child)
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the processes of a run in Linux's /proc")
def test_stopped_or_broken_together_a_run_goes_on_with_any_number_of_processes(tmp_path):
    run = tmp_path / "run"

    def go(*arguments):
        return started(*arguments, cwd=tmp_path, command=TWO_PROCESSES)

    # Ctrl-C reaches torchrun, which passes it on
    process = go(*LONG, "--out", "run")
    wait_for_step(run, 100, process)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode != 0
    assert error.count("to go on: torchrun --nproc-per-node 2 -m train --resume run") == 1
    stopped = checkpoint.load(run)["step"]
    assert 100 <= stopped < 900

    # a scheduler sends SIGTERM to every process, and torchrun once more
    process = go("--resume", "run")
    wait_for_step(run, stopped + 100, process)
    for pid in [*workers(process).values(), process.pid]:
        os.kill(pid, signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode != 0
    assert error.count("to go on") == 1
    again = checkpoint.load(run)["step"]
    assert stopped + 100 <= again < 900

    # one of them dies
    began = time.perf_counter()
    process = go("--resume", "run")
    wait_for_step(run, again + 50, process)
    os.kill(workers(process)["1"], signal.SIGKILL)
    killed = time.perf_counter()
    _, error = process.communicate(timeout=60)
    assert process.returncode != 0
    assert time.perf_counter() - killed < killed - began, (
        "the other waits for the lost one: it ends later than it began"
    )
    assert checkpoint.load(run)["step"] >= again
    assert [path for path in run.iterdir() if path.name.startswith(".")] == []

    # one process finishes what two began
    python_m_train("--resume", "run", cwd=tmp_path)
    assert hub.load(run).metrics["test_psnr_db"] > 10
    steps = [record["step"] for record in records(run) if "total" in record and record["step"] % 50 == 0]
    assert steps == list(range(50, 901, 50)), "each step is logged once"
