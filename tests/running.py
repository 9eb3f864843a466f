"""The trainer as users run it: one command in new processes."""

import json
import os
import subprocess
import sys
import time

import pytest

ONE_PROCESS = [sys.executable, "-m", "train"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
TWO_PROCESSES = [*TORCHRUN, "-m", "train"]
needs_torchrun = pytest.mark.skipif(
    sys.platform == "win32", reason="torchrun asks for libuv, which PyTorch for Windows lacks (pytorch/pytorch#148283)"
)


def python_m_train(*arguments, cwd, env=None, check=True):
    """Run a command line to its end."""
    clean = (
        {k: v for k, v in os.environ.items() if not k.startswith("WANDB")} | {"WANDB_MODE": "disabled"} | (env or {})
    )
    command = [*ONE_PROCESS, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, check=False, timeout=240)
    assert not check or done.returncode == 0, done.stderr
    return done


def started(*arguments, cwd, command=ONE_PROCESS):
    """Start a run, for a test that stops it or waits for it."""
    env = os.environ | {"WANDB_MODE": "disabled"}
    return subprocess.Popen(
        [*command, *arguments], cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_step(folder, step, process):
    deadline = time.time() + 120
    while not any(record["step"] >= step for record in records(folder)):
        assert time.time() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def records(folder):
    """Read the complete lines of metrics.jsonl, without the speed, which differs between equal runs."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(True) if path.exists() else []
    whole = [json.loads(line) for line in lines if line.endswith("\n")]
    return [{k: v for k, v in record.items() if k != "images_per_second"} for record in whole]
