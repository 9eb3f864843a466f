"""A set is the same, byte for byte, whoever writes it: one process, two of torchrun, one that follows a killed one."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.running import TORCHRUN, needs_torchrun
from tests.written_sets import tree
from vae_augment.__main__ import main

COMMAND = ["generate", "sample", "--count", "1200", "--shard-size", "100", "--workers", "1", "--out", "set"]


def started(*command, cwd, **variables):
    return subprocess.Popen(
        command, cwd=cwd, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The set as one process writes it."""
    folder = tmp_path_factory.mktemp("one")
    with contextlib.chdir(folder):
        assert main(COMMAND) == 0
    return tree(folder / "set")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks processes that are killed")
@pytest.mark.parametrize("form", ["imagefolder", "parquet"])
def test_killed_at_any_moment_the_same_call_ends_with_the_same_bytes(form, tmp_path):
    seed = str(time.time_ns() % 1000)
    done = subprocess.run(
        [sys.executable, "-m", "tests.killed_generate", form, tmp_path, seed],
        capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, f"seed {seed}: {done.stdout}{done.stderr}"
    assert done.stdout.count("killed at") == 5, f"seed {seed}: {done.stdout}"
    whole, killed = tree(tmp_path / "whole"), tree(tmp_path / "killed")
    assert killed == whole, f"seed {seed}: {sorted(killed.keys() ^ whole.keys())}"
    assert not any(".part" in name or "shards" in name for name in whole)


@needs_torchrun
def test_two_ranks_of_torchrun_write_what_one_process_does_and_a_lost_one_is_made_up_for(one, tmp_path):
    for name in ("together", "lost"):
        (tmp_path / name).mkdir()
    both = started(*TORCHRUN, "-m", "vae_augment", *COMMAND, cwd=tmp_path / "together")
    out, err = both.communicate(timeout=180)
    assert both.returncode == 0, err
    assert out.count("set: 1,200 synthetic images") == 1, "the first process alone tells"
    assert tree(tmp_path / "together" / "set") == one

    # the second of two processes never comes: the first writes its part, and waits
    first = started(sys.executable, "-m", "vae_augment", *COMMAND, cwd=tmp_path / "lost", RANK="0", WORLD_SIZE="2")
    shards = tmp_path / "lost" / "set" / ".vae-augment" / "shards"
    deadline = time.time() + 120
    while not shards.is_dir() or len(list(shards.glob("0*"))) < 6:
        assert time.time() < deadline
        assert first.poll() is None, first.communicate()
        time.sleep(0.02)
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=60)
    assert (first.returncode, err) == (130, "stopped: 6 of 12 shards are left. The same command goes on\n")
    assert sorted(int(path.name) for path in shards.glob("0*")) == [0, 2, 4, 6, 8, 10], "every second shard"
    assert not (tmp_path / "lost" / "set" / "README.md").exists()
    with contextlib.chdir(tmp_path / "lost"):
        assert main(COMMAND) == 0
    assert tree(tmp_path / "lost" / "set") == one


def test_a_rank_that_is_none_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(COMMAND) == 2
    told = "error: RANK=2 and WORLD_SIZE=2 of the environment say no process of a run: start it with torchrun, or unset both\n"
    assert capsys.readouterr().err == told
    assert list(tmp_path.iterdir()) == []
