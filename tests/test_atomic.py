"""Files that are replaced, where the system denies it for a moment, as Windows does while somebody has the file open."""

import os

import pytest

from vae_augment import atomic


@pytest.fixture
def denied(monkeypatch):
    """The system denies the next so many replacements."""
    left, real = [0], os.replace

    def replace(source, target):
        if left[0]:
            left[0] -= 1
            raise PermissionError(13, "Access is denied", str(source))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(atomic, "PAUSES", (0.001,) * 3)
    return left


def test_a_file_that_is_open_for_a_moment_is_replaced_after_it(denied, tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    denied[0] = 3
    atomic.atomic_write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_file_that_stays_open_is_left_whole_and_named(denied, tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    denied[0] = 4
    with pytest.raises(PermissionError) as error:
        atomic.atomic_write(tmp_path / "a", b"new")
    assert error.value.filename == str(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"], "no unfinished file is left"
