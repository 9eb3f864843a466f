"""How a run ends early: signals, kills at any moment, a full disk, a reader of its output that goes."""

import contextlib
import resource
import signal
import subprocess
import sys

import pytest
from torchvision.transforms.v2.functional import to_pil_image

from tests.conftest import IMAGES
from tests.running import python_m_train, records, started, wait_for_step
from tests.test_resume import LONG, SMALL, TINY, leftovers, same_weights
from train import checkpoint, processes
from train import data as datasets
from train.log import Log
from train.loop import train
from train.stop import StopRequest
from vae_augment import hub

TRAIN = f"{sys.executable} -m train sample {' '.join(TINY)} --out run"


def test_a_stopped_run_goes_on_and_ends_like_an_unbroken_one_bit_for_bit(tmp_path):
    # on a busy machine some hundred steps pass until it is seen that a step is reached
    long, steps = [*LONG, "--steps", "1500"], 1500
    whole = started(*long, "--out", "whole", cwd=tmp_path)
    arguments, step = [*long, "--out", "broken"], 100
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        broken = started(*arguments, cwd=tmp_path)
        wait_for_step(tmp_path / "broken", step, broken)
        broken.send_signal(number)
        _, error = broken.communicate(timeout=60)
        assert broken.returncode == 1
        assert "Traceback" not in error
        assert "python -m train --resume broken" in error
        assert step <= checkpoint.load(tmp_path / "broken")["step"] < steps
        assert not (tmp_path / "broken" / "config.json").exists(), "half a weights folder"
        assert leftovers(tmp_path / "broken") == []
        arguments, step = ["--resume", "broken"], checkpoint.load(tmp_path / "broken")["step"] + 50
    python_m_train(*arguments, cwd=tmp_path)
    assert whole.wait(timeout=300) == 0
    assert same_weights(tmp_path / "broken", tmp_path / "whole")
    assert records(tmp_path / "broken") == records(tmp_path / "whole")
    assert (
        hub.load(tmp_path / "broken").metrics["train_seconds"]
        > 0.3 * hub.load(tmp_path / "whole").metrics["train_seconds"]
    )


def test_killed_at_ten_random_moments_a_run_ends_like_an_unbroken_one_bit_for_bit(tmp_path):
    command = [sys.executable, "-m", "tests.killed_program", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("killed") == 10
    assert same_weights(tmp_path / "run", tmp_path / "whole")
    assert records(tmp_path / "run") == records(tmp_path / "whole")
    assert leftovers(tmp_path / "run") == []


@pytest.mark.parametrize(
    "shell",
    [
        f"{TRAIN} 2>&1 | true; exit ${{PIPESTATUS[0]}}",  # the reader of both has gone before the first line
        f"{TRAIN} >&- 2>&- <&-",
        f"{TRAIN} >/dev/full 2>/dev/full",
    ],
)
def test_a_run_outlives_what_reads_its_output(shell, tmp_path):
    done = subprocess.run(["bash", "-c", shell], cwd=tmp_path, check=False, timeout=120)
    assert done.returncode == 0
    assert records(tmp_path / "run")[-1]["step"] == 20
    assert hub.load(tmp_path / "run").metrics["test_psnr_db"] > 0


def test_what_a_terminal_cannot_show_is_replaced(tmp_path):
    folder = tmp_path / "照片"
    folder.mkdir()
    for i in range(12):
        to_pil_image(IMAGES[i]).save(folder / f"{i}.png")
    own = ["--data", "folder:照片", "--size", "28"]
    for encoding in ("cp1252", "ascii"):
        done = python_m_train(*own, *TINY, "--out", encoding, cwd=tmp_path, env={"PYTHONIOENCODING": encoding})
        assert "images of \\u7167\\u7247" in done.stdout


@contextlib.contextmanager
def small_disk(folder):
    """Mount a disk of 2 MB at the folder, and yield whether that worked: mounting needs a privilege."""
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    with contextlib.suppress(OSError):
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            try:
                yield True
            finally:
                subprocess.run(["umount", "-l", str(folder)], check=True)
            return
    yield False


def fill(disk):
    with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux's prlimit where no disk can be mounted")
def test_on_a_full_disk_a_run_ends_with_a_remedy_and_goes_on_from_its_last_checkpoint(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk) as mounted:
        out = ["--checkpoint_every", "20", "--vae.width", "16", "--vae.latent_dim", "4", "--out", "disk/run"]
        process = started(*LONG, *out, cwd=tmp_path)
        wait_for_step(disk / "run", 50, process)
        if mounted:
            fill(disk)
        else:  # no file may grow over 1 kB
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1024, 1024))
        _, error = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "Traceback" not in error
        assert f"error: no space left to write {disk / 'run'}" in error
        assert "free some; to go on: python -m train --resume disk/run" in error
        assert leftovers(disk / "run") == []
        assert 40 <= checkpoint.load(disk / "run")["step"] < 500
        (disk / "filler").unlink(missing_ok=True)
        python_m_train("--resume", "disk/run", cwd=tmp_path)
        assert hub.load(disk / "run").bank is not None


def test_a_signal_that_arrives_while_processes_ask_one_another_is_not_lost(tmp_path, monkeypatch):
    asked, ask = [], processes.any_process

    def interrupted(stop):
        answer = ask(stop)
        asked.append(answer)
        if len(asked) == 13:  # its handler runs before the answer is looked at
            signal.raise_signal(signal.SIGINT)
        return answer

    monkeypatch.setattr(processes, "any_process", interrupted)
    data = datasets.load("sample", 1, 28)
    with Log(tmp_path, {}, 40, "disabled") as log, pytest.raises(KeyboardInterrupt):
        train(SMALL, data, log, tmp_path)
    assert checkpoint.load(tmp_path)["step"] == 14


@pytest.mark.parametrize("ignored", [signal.SIGHUP, signal.SIGINT])  # nohup; & in a script
def test_a_signal_that_is_ignored_stays_so(ignored):
    before = signal.signal(ignored, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(ignored)
        assert not stop.asked
        assert signal.getsignal(ignored) == signal.SIG_IGN
    finally:
        signal.signal(ignored, before)


def test_a_hangup_repeated_saves():
    before = signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGHUP)  # the shell's, then the system's
        signal.raise_signal(signal.SIGHUP)
        assert stop.asked
    finally:
        signal.signal(signal.SIGHUP, before)
