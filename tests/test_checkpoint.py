"""The file of a checkpoint is loaded as it was saved, or told to be damaged."""

import pytest
import torch

from train import checkpoint


def test_a_checkpoint_with_one_changed_byte_is_damaged(tmp_path):
    values = torch.arange(1000.0)
    checkpoint.save(tmp_path, {"values": values})
    content = bytearray((tmp_path / checkpoint.FILE).read_bytes())
    content[content.index(values[400:410].numpy().tobytes())] ^= 64
    (tmp_path / checkpoint.FILE).write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        checkpoint.load(tmp_path)


def test_a_damaged_checkpoint_and_one_of_another_version_are_told(tmp_path):
    checkpoint.save(tmp_path, {"step": 3})
    assert checkpoint.load(tmp_path)["step"] == 3
    whole = (tmp_path / checkpoint.FILE).read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no checkpoint"):
        (tmp_path / checkpoint.FILE).write_bytes(damaged)
        with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged"):
            checkpoint.load(tmp_path)
    torch.save({"step": 3}, tmp_path / checkpoint.FILE)
    with pytest.raises(ValueError, match="another version of vae-augment"):
        checkpoint.load(tmp_path)
