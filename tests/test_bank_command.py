"""`vae-augment bank`: the same folder, byte for byte, whoever makes it; and the same work done by other engines."""

import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torchvision.transforms.v2 import functional as F

from tests.running import TORCHRUN, needs_torchrun
from tests.written_sets import tree
from vae_augment import LatentBank, SyntheticDataset, VAEAugment, load_weights
from vae_augment.__main__ import main
from vae_augment.commands.bank import Shards
from vae_augment.demo_data import fashion_sample
from vae_augment.pool import EmbedBatch, embed_images
from vae_augment.source import open_source

COMMAND = ["bank", "sample", "--weights", "fashion-mnist", "--shard-size", "40", "--workers", "1", "--out", "bank"]
IMAGES, LABELS = fashion_sample()


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The folder as one process makes it."""
    folder = tmp_path_factory.mktemp("one")
    with contextlib.chdir(folder):
        assert main(COMMAND) == 0
    return tree(folder / "bank")


def test_the_folder_is_that_of_weights_with_the_bank_of_these_images(one, tmp_path):
    for name, content in one.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert not any("shards" in name or ".part" in name for name in one)
    bank = VAEAugment.from_pretrained(tmp_path).bank
    expected = LatentBank.from_images(load_weights("fashion-mnist").vae, IMAGES)
    assert torch.equal(bank.index, expected.index)
    assert torch.allclose(bank.latents.float(), expected.latents.float(), atol=1e-2)
    for own, other in zip(bank.views, expected.views, strict=True):
        assert float((own.neighbours == other.neighbours).float().mean()) > 0.99
    assert VAEAugment.from_pretrained(tmp_path).fit(IMAGES[:100], LABELS[:100]).sample([1]).shape == (1, 1, 28, 28)


@needs_torchrun
def test_two_ranks_of_torchrun_make_what_one_process_does(one, tmp_path):
    done = subprocess.run(
        [*TORCHRUN, "-m", "vae_augment", *COMMAND],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("bank: a bank of ") == 1, "the first process alone tells"
    assert tree(tmp_path / "bank") == one


def test_a_killed_process_is_followed_by_one_that_makes_the_rest(one, tmp_path, monkeypatch, capsys):
    # the second of two processes never comes: the first writes its part, and waits, until it is killed
    first = subprocess.Popen(
        [sys.executable, "-m", "vae_augment", *COMMAND],
        cwd=tmp_path, env=os.environ | {"RANK": "0", "WORLD_SIZE": "2"}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    shards, deadline = tmp_path / "bank" / ".vae-augment" / "shards", time.time() + 120
    while not shards.is_dir() or len(list(shards.glob("*.safetensors"))) < 7:
        assert time.time() < deadline
        assert first.poll() is None
        time.sleep(0.05)
    first.kill()
    first.wait()
    assert sorted(int(path.stem) for path in shards.glob("*.safetensors")) == list(range(0, 13, 2))
    written = {path: path.stat().st_mtime_ns for path in shards.iterdir()}
    monkeypatch.chdir(tmp_path)
    assert main([*COMMAND, "--size", "200"]) == 2
    assert "was begun by another command" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in shards.iterdir()} == written
    assert main(COMMAND) == 0
    assert tree(tmp_path / "bank") == one
    assert main(COMMAND) == 0
    assert "bank is whole: nothing was left to do" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["imagefolder", "parquet", "webdataset"])
def test_images_are_read_from_folders_parquet_and_tars(form, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    made = SyntheticDataset(open_source("sample"), 0.1, "fashion-mnist", fit=False)
    made.writer(tmp_path / "set", format=form, shard_size=20).run(workers=1)
    monkeypatch.chdir(tmp_path)
    assert main(["bank", "set", "--weights", "fashion-mnist", "--out", "bank", "--workers", "1"]) == 0
    assert len(VAEAugment.from_pretrained(tmp_path / "bank").bank) > 40


def test_images_need_no_labels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("flat").mkdir()
    for i in range(5):
        F.to_pil_image(IMAGES[i]).save(f"flat/{i}.png")
    assert main(["bank", "flat", "--weights", "mnist", "--out", "bank"]) == 0
    assert len(VAEAugment.from_pretrained("./bank").bank) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--weights", "mnist", "--out", "new"], "there is no data set 'nowhere'"),
        (["none.parquet", "--weights", "mnist", "--out", "new"], "there is no file none.parquet"),
        (["sample", "--weights", "mnist", "--out", "new", "--size", "1"], "a bank holds 2 images at least"),
        (["sample", "--weights", "mnits", "--out", "new"], "mnits"),
        (["sample", "--weights", "mnist", "--out", "."], "holds other things"),
    ],
)
def test_a_wrong_command_is_told_and_writes_nothing(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("there").touch()
    assert main(["bank", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_datasets_map_embeds_as_one_call_does():
    datasets = pytest.importorskip("datasets")
    vae = load_weights("fashion-mnist").vae
    rows = datasets.Dataset.from_dict({"image": [F.to_pil_image(image) for image in IMAGES[:60]]})
    table = rows.map(EmbedBatch(vae), batched=True, batch_size=20, num_proc=2, remove_columns=["image"])
    bank = LatentBank.from_embedded(vae, table.with_format("numpy").iter(25))
    expected = LatentBank.from_embedded(vae, [embed_images(vae, list(IMAGES[:60]))])
    assert torch.equal(bank.index, expected.index)
    assert torch.allclose(bank.latents.float(), expected.latents.float(), atol=1e-2)


def test_parts_of_another_vae_are_refused():
    with pytest.raises(ValueError, match="embedded by another VAE"):
        LatentBank.from_embedded(
            load_weights("cifar10").vae, [embed_images(load_weights("mnist").vae, list(IMAGES[:9]))]
        )
    with pytest.raises(ValueError, match="no embedded images"):
        LatentBank.from_embedded(load_weights("mnist").vae, [])


def test_a_bank_of_some_images_knows_their_places_among_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["bank", "sample", "--weights", "fashion-mnist", "--out", "bank", "--size", "120"]) == 0
    bank = VAEAugment.from_pretrained("./bank").bank
    assert torch.equal(bank.index, LatentBank.from_images(load_weights("fashion-mnist").vae, IMAGES, size=120).index)


@pytest.mark.parametrize("damage", ["cut off", "empty", "of other images"])
def test_a_damaged_shard_is_told_by_its_name(damage, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write = Shards.write

    def damaged(self, *given):
        write(self, *given)
        one, other = self.file(3).read_bytes(), self.file(4).read_bytes()
        self.file(3).write_bytes({"cut off": one[:1000], "empty": b"", "of other images": other}[damage])

    with monkeypatch.context() as patched:
        patched.setattr(Shards, "write", damaged)
        assert main(COMMAND) == 1
    err = capsys.readouterr().err
    assert re.search(
        r"^error: bank/\.vae-augment/shards/000003\.safetensors is damaged \(.*\): remove it, and repeat", err, re.M
    )
    Path("bank/.vae-augment/shards/000003.safetensors").unlink()
    assert main(COMMAND) == 0


def test_shards_that_a_killed_process_left_beside_a_whole_bank_are_removed(one, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in one.items():
        Path("bank", name).parent.mkdir(parents=True, exist_ok=True)
        Path("bank", name).write_bytes(content)
    shards = Path("bank/.vae-augment/shards")
    shards.mkdir()
    (shards / "000000.safetensors").touch()
    assert main(COMMAND) == 0
    assert tree(tmp_path / "bank") == one


def test_a_damaged_tar_is_told(tmp_path, monkeypatch, capsys):
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for content in (b"", b"no tar"):
        Path("a.tar").write_bytes(content)
        assert main(["bank", "a.tar", "--weights", "mnist", "--out", "new"]) == 2
        assert capsys.readouterr().err.startswith("error: a.tar and others are no webdataset files that can be read")
