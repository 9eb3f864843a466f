"""Data sets of training: those of torchvision, folders of one's own, and runs on them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torchvision.datasets import Flowers102
from torchvision.transforms.v2 import functional as F

from tests.conftest import IMAGES, LABELS
from tests.photographs import photograph, photographs
from tests.running import python_m_train
from train import data as datasets
from train.__main__ import main
from train.recipes import RECIPES, recipe_for_images
from vae_augment import VAEAugment, hub
from vae_augment.demo_data import fashion_sample
from vae_augment.engine import How
from vae_augment.images import decode
from vae_augment.strength import RHO


@pytest.mark.parametrize("form", ["MNIST", "CIFAR10"])
def test_a_data_set_of_torchvision_is_one_row_of_the_table(form, monkeypatch):
    grey, colour = IMAGES[:50, 0], IMAGES[:50].repeat(1, 3, 1, 1)

    class Garments:
        def __init__(self, root, train, download=False):
            pixels = grey if form == "MNIST" else colour.permute(0, 2, 3, 1).numpy()
            self.data = pixels[:40] if train else pixels[40:]
            self.targets = LABELS[40:50] if form == "MNIST" else LABELS[40:50].tolist()

    monkeypatch.setitem(datasets.TORCHVISION, "garments", Garments)
    data = datasets.load("garments", 1 if form == "MNIST" else 3, 28)
    assert torch.equal(torch.cat([data.train, data.test]), grey[:, None] if form == "MNIST" else colour)
    assert torch.equal(data.test_labels, LABELS[40:50])
    assert data.name == "Garments training images"


@pytest.fixture
def flowers102(tmp_path, monkeypatch):
    """Torchvision's files of Flowers102, of two photographs a split."""
    savemat = pytest.importorskip("scipy.io").savemat
    folder = tmp_path / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    for i in range(1, 7):
        photograph(i, (50, 40)).save(folder / "jpg" / f"image_{i:05d}.jpg")
    savemat(folder / "setid.mat", {"trnid": [[5, 6]], "valid": [[1, 2]], "tstid": [[3, 4]]})
    savemat(folder / "imagelabels.mat", {"labels": [[1, 2, 1, 2, 1, 2]]})
    monkeypatch.setattr(Flowers102, "_check_integrity", lambda self: True)
    return tmp_path


def test_flowers_are_trained_on_two_splits_of_torchvision_and_measured_on_the_third(flowers102):
    data = datasets.load("flowers", 3, 64, str(flowers102))
    assert data.name == "Flowers102 training images"
    assert (data.train.shape, data.test.shape) == ((4, 3, 64, 64), (2, 3, 64, 64))
    assert data.test_labels.tolist() == [0, 1]
    expected, _, _ = decode.read_images(
        [flowers102 / "flowers-102" / "jpg" / f"image_0000{i}.jpg" for i in (5, 6, 1, 2, 3, 4)],
        decode.open_image, 3, 64, flowers102,
    )  # fmt: skip
    assert torch.equal(torch.cat([data.train, data.test]), expected)


def test_a_library_that_reads_a_data_set_and_is_missing_is_named(flowers102, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(FileNotFoundError, match=r"Flowers102 is read with scipy.*pip install scipy"):
        datasets.load("flowers", 3, 64, str(flowers102))


@pytest.mark.parametrize("name", ["cifar10", "flowers"])
def test_a_recipe_for_photographs_is_that_of_the_bundled_weights(name):
    recipe, weights = RECIPES[name], hub.load(name)
    assert recipe.data == name
    assert recipe.vae == weights.vae.config
    assert 0.99 * recipe.bank_size < len(weights.bank) <= recipe.bank_size  # less near copies


def test_a_folder_given_as_a_name_is_told(tmp_path):
    with pytest.raises(ValueError, match="write folder:"):
        datasets.load(str(tmp_path), 3, 32)


def test_a_run_is_named_after_the_folder_wherever_it_is_named_from(tmp_path, monkeypatch):
    (tmp_path / "photos" / "boot").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "photos" / "boot")
    for name in ("folder:..", "folder:../", f"folder:{tmp_path}/photos", "hf:me/photos", "hf:.."):
        assert datasets.short_name(name) == "photos"
    assert datasets.short_name("folder:.") == "boot"
    assert datasets.short_name("mnist") == ""


def test_strength_is_measured_on_images_of_all_classes_however_the_files_lie(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, labels = fashion_sample()
    for i, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        for copy in range(4):  # so that the first thousand are of two classes
            path = Path("garments") / str(label) / f"{i}-{copy}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            F.to_pil_image(image).save(path)
    size = ["--size", "28", "--vae.spatial", "false", "--vae.latent_dim", "16", "--vae.width", "32", "--bank_size", "0"]
    main(["--data", "folder:garments", *size, "--steps", "150", "--out", "run", "--wandb", "disabled"])
    augment = VAEAugment.from_pretrained("run")
    x = images / 255
    change = augment._engine.vary(x, augment._engine.plan(len(x), How(), None), How()).square().mean()
    assert (change / (x - x.roll(1, 0)).square().mean()).sqrt().item() == pytest.approx(RHO**0.5, rel=0.1)


def test_more_than_fits_into_memory_is_read_the_same(tmp_path, monkeypatch):
    photographs(tmp_path / "photos")
    inside = datasets.load(f"folder:{tmp_path / 'photos'}", 3, 32)
    monkeypatch.setenv("VAE_AUGMENT_MEMORY", "1000")
    outside = datasets.load(f"folder:{tmp_path / 'photos'}", 3, 32, str(tmp_path / "scratch"))
    assert torch.equal(inside.train, outside.train)
    assert inside.provenance() == outside.provenance()
    assert "scratch/images-" in Path("/proc/self/maps").read_text()
    assert not list((tmp_path / "scratch").iterdir())  # nothing is left behind


@pytest.mark.parametrize(("size", "patch"), [(28, 2), (32, 2), (64, 4), (96, 6), (128, 8), (224, 14), (48, 3), (50, 5)])
def test_patches_fit_the_size(size, patch):
    assert recipe_for_images("folder:x", 3, size).vae.patch == patch


def test_a_size_without_patches_names_one_that_has(tmp_path):
    photographs(tmp_path)
    with pytest.raises(SystemExit, match=r"size 61 .*take 64"):
        main(["--data", f"folder:{tmp_path}", "--size", "61"])
    with pytest.raises(SystemExit, match=r"size 2000 .*take 1024"):
        main(["--data", f"folder:{tmp_path}", "--size", "2000"])


def test_one_command_trains_on_a_folder(tmp_path):
    photographs(tmp_path / "photos")
    command = [sys.executable, "-m", "train", "--data", "folder:photos", "--size", "32", "--steps", "20"]
    subprocess.run([*command, "--wandb", "disabled"], cwd=tmp_path, check=True, capture_output=True)
    augment = VAEAugment.from_pretrained(tmp_path / "runs" / "photos")
    assert augment.vae.latent_shape == (4, 16, 16)
    varied = augment(F.pil_to_tensor(photograph(3, (50, 70))))
    assert varied.shape == (3, 70, 50)


QUICK = ["--size", "32", "--steps", "6", "--bank_size", "0", "--wandb", "disabled"]


def test_a_folder_whose_name_is_not_utf8_trains_and_resumes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = os.fsdecode(b"caf\xe9")
    photographs(tmp_path / "photos", classes=("",))
    (tmp_path / "photos").rename(folder)
    main(["--data", f"folder:{folder}", *QUICK])
    (run,) = (tmp_path / "runs").iterdir()
    assert r"images of caf\xe9" in capsys.readouterr().out
    for name in ("README.md", "config.json", "training.yaml"):
        assert rb"caf\xe9" in (run / name).read_bytes().replace(rb"\\", b"\\")
    main(["--resume", str(run), "--wandb", "disabled"])
    main(["--config", str(run / "training.yaml"), "--out", os.fsdecode(b"run \xff"), "--wandb", "disabled"])
    assert rb'from_pretrained("run \\xff")' in Path(os.fsdecode(b"run \xff"), "README.md").read_bytes()


def test_a_terminal_in_ascii_trains_and_resumes_on_any_folder(tmp_path):
    photographs(tmp_path / "照片", classes=("",))
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    python_m_train("--data", "folder:照片", *QUICK, cwd=tmp_path, env=ascii_only)
    python_m_train("--resume", "runs/照片", "--wandb", "disabled", cwd=tmp_path)
    assert yaml.safe_load((tmp_path / "runs/照片/training.yaml").read_text())["data"] == "folder:照片"


def test_no_home_folder_is_needed(tmp_path, monkeypatch):
    photographs(tmp_path / "photos")

    def expanduser(path):
        if str(path).startswith("~"):
            raise RuntimeError("Could not determine home directory.")
        return path

    monkeypatch.setattr(Path, "expanduser", expanduser)
    assert len(datasets.load(f"folder:{tmp_path / 'photos'}", 3, 32).train) == 18
    with pytest.raises(ValueError, match="no home folder is known here"):
        datasets.load("folder:~/photos", 3, 32)


def test_a_run_goes_on_with_the_same_images_wherever_they_lie(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photographs(tmp_path / "one")
    main(["--data", "folder:one", *QUICK, "--out", "run"])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    main(["--resume", "../run", "--wandb", "disabled"])
    (tmp_path / "one").rename(tmp_path / "two")
    with pytest.raises(SystemExit, match="there is no folder one"):
        main(["--resume", "../run", "--wandb", "disabled"])
    main(["--resume", "../run", "--data", "folder:../two", "--wandb", "disabled"])
    monkeypatch.chdir(tmp_path)
    main(["--resume", "run", "--wandb", "disabled"])
    photographs(tmp_path / "others", classes=("glove",))
    with pytest.raises(SystemExit, match=r"other images than these .* with --data folder:PATH"):
        main(["--resume", "run", "--data", "folder:others", "--wandb", "disabled"])
