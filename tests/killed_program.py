"""The program that test_stop.py starts: a run that is killed ten times at random moments and resumed, and one that is not.

torch is imported once, and every part of a run is a fork, which starts fast. One kill comes at once, one when the folder has
been created, the others when the run has come to random steps, plus a random part of a second; every third step is saved.
"""

import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path

from train import checkpoint
from train.__main__ import main

RECIPE = ["--steps", "300", "--batch_size", "32", "--bank_size", "50", "--vae.width", "16", "--vae.latent_dim", "4"]


def begin(*arguments: str) -> int:
    """Start a process of a run, and return its id."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        main(list(arguments))
        code = 0
    finally:
        os._exit(code)


def ended_well(pid: int) -> bool:
    return os.waitpid(pid, 0)[1] == 0


def saved_step() -> int:
    with contextlib.suppress(FileNotFoundError):
        return int(checkpoint.load(Path("run"))["step"])
    return 0


def begin_or_resume() -> int:
    if saved_step():
        return begin("--resume", "run")
    return begin("sample", *RECIPE, "--out", "run", "--overwrite", "--checkpoint_every", "3")


def has_come_to(step: int) -> bool:
    """Whether the checkpoint of a step is there; at step 0, the folder, in which only --overwrite begins a new run."""
    return saved_step() >= step and (step > 0 or (Path("run") / "training.yaml").exists())


if __name__ == "__main__":
    random.seed(int(sys.argv[1]))
    assert ended_well(begin("sample", *RECIPE, "--out", "whole"))
    for step in [None, 0, *sorted(random.sample(range(1, 250), 8))]:
        process = begin_or_resume()
        while step is not None and not has_come_to(step):
            assert os.waitpid(process, os.WNOHANG) == (0, 0), f"it ended before it came to step {step}"
            time.sleep(0.01)
        time.sleep(0.1 * random.random())
        os.kill(process, signal.SIGKILL)
        assert not ended_well(process), f"it ended before it was killed at step {step}"
        print("killed, the checkpoint is of step", saved_step(), flush=True)
    assert ended_well(begin_or_resume())
