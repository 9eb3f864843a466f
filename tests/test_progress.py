"""Bars show on a terminal for what takes long, and nowhere else; a logger tells what was decided to those who listen."""

import logging
import os
import pty
import subprocess
import sys
import termios
import time

import pytest
import torch

from tests.conftest import FEW, IMAGES, LABELS
from vae_augment import LatentBank, SyntheticDataset, VAEAugment
from vae_augment.progress import VARIABLE, bars, is_wanted, progress

ITSELF = sys.modules[progress.__module__].__file__  # of which programs here need no torch
SLOW = f"import time, runpy; bar = runpy.run_path({ITSELF!r})['progress']\nfor _ in bar(range(30), 'work'): time.sleep(0.1)"
QUICK = SLOW.replace("0.1", "0.001")
# reads 26 images that come slowly, in each of the functions that read images
SLOW_IMAGES = """
import time
from vae_augment import LatentBank, VAEAugment
from vae_augment.demo_data import fashion_sample
images, labels = fashion_sample()
class Slow:
    def __len__(self):
        return 26
    def __getitem__(self, index):
        if index >= 26:
            raise IndexError
        time.sleep(0.1)
        return images[index], int(labels[index])
augment = VAEAugment.from_pretrained("fashion-mnist")
"""


def on_a_terminal(program, **variables):
    """What a program writes to a terminal that is its stderr."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    started = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=os.environ | variables,
    )
    os.close(theirs)
    read = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        read += part
    os.close(ours)
    assert started.wait() == 0, read
    return read.decode()


@pytest.fixture(autouse=True)
def as_usual(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def test_long_work_has_a_bar_on_a_terminal_that_goes_when_it_ends():
    seen = on_a_terminal(SLOW)
    assert "work:" in seen
    assert "/30 [" in seen
    assert seen.split("\r")[-1].strip() == "" or seen.endswith("\r")


def test_short_work_has_none():
    assert on_a_terminal(QUICK) == ""


def test_without_a_terminal_there_is_none_unless_it_is_asked_for():
    words = [sys.executable, "-c", SLOW]
    plain, asked = (
        subprocess.run(words, capture_output=True, text=True, check=True, env=os.environ | more)
        for more in ({}, {VARIABLE: "1"})
    )
    assert (plain.stdout, plain.stderr) == ("", "")
    assert "work:" in asked.stderr


def test_the_environment_turns_them_off():
    assert on_a_terminal(SLOW, **{VARIABLE: "0"}) == ""


def test_what_reads_slow_images_has_a_bar_unless_it_is_not_wanted():
    calls = ("LatentBank.from_images(augment.vae, Slow()", "augment.calibrate(Slow()", "augment.fit(Slow()")
    between = "; print('then', file=sys.stderr, flush=True); "
    shown = on_a_terminal(f"import sys{SLOW_IMAGES}" + between.join(f"{call})" for call in calls))
    assert len(shown.split("then")) == 3
    assert all("read images:" in part and "/26 [" in part for part in shown.split("then"))
    hidden = on_a_terminal(f"import sys{SLOW_IMAGES}" + between.join(f"{call}, progress=False)" for call in calls))
    assert hidden.split() == ["then", "then"]


def test_what_is_asked_for_holds_within():
    with bars(True):
        assert is_wanted()
        with bars(None):
            assert is_wanted()
        with bars(False):
            assert not is_wanted()
        assert is_wanted()
    assert not is_wanted()


def test_no_stderr_is_no_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert list(progress(range(3), "work")) == [0, 1, 2]


def test_a_bar_changes_nothing_of_a_fit_a_bank_and_a_calibration(vae, capsys):
    def all_of(shown):
        bank = LatentBank.from_images(vae, IMAGES, progress=shown)
        fitted = VAEAugment(vae, bank=bank).fit(FEW, progress=shown)
        measured = VAEAugment(vae).calibrate(IMAGES, LABELS, progress=shown)
        return bank, fitted, measured

    (bank, fitted, measured), (bank2, fitted2, measured2) = all_of(False), all_of(True)
    assert "compare by latents and HOG: 100%" in capsys.readouterr().err
    assert all(torch.equal(a.neighbours, b.neighbours) for a, b in zip(bank.views, bank2.views, strict=True))
    assert torch.equal(fitted.jitter.members, fitted2.jitter.members)
    assert (measured.gain, measured.strength) == (measured2.gain, measured2.strength)


def test_a_loop_costs_no_more_than_its_items():
    items = range(200_000)

    def spent(go_through):
        started = time.process_time()
        for _ in go_through():
            pass
        return time.process_time() - started

    bare = min(spent(lambda: (i for i in items)) for _ in range(5))
    shown = min(spent(lambda: progress(items, "work")) for _ in range(5))
    assert shown < 3 * bare  # both are a generator's step


def test_decisions_are_told_to_those_who_listen(caplog, capfd):
    with caplog.at_level(logging.INFO, logger="vae_augment"):
        SyntheticDataset([(image, label) for image, label in FEW], ratio=1)
    told = "\n".join(record.getMessage() for record in caplog.records)
    assert "weights fashion-mnist suit the images" in told
    assert "fit: 100 labelled images of 10 classes" in told
    assert "weight 0." in told
    assert capfd.readouterr() == ("", "")


def test_the_size_of_a_bank_and_gains_are_told(vae, caplog):
    with caplog.at_level(logging.INFO, logger="vae_augment"):
        LatentBank.from_images(vae, IMAGES[:50])
        VAEAugment(vae).calibrate(IMAGES[:50])
    bank, measured = (record.getMessage() for record in caplog.records)
    assert bank.startswith("bank of 50 latents, of 50 images given, compared by ")
    assert measured.startswith("calibrated: gains {'Noise': ")
