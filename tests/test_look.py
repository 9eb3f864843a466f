"""`--data folder:` chooses its recipe by what it sees, and says so."""

import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from tests.photographs import garments
from train.__main__ import main
from train.cli import parse
from train.recipes import recipe_for_glyphs
from vae_augment import load_weights
from vae_augment.images import look_at


@pytest.fixture
def glyphs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    garments(tmp_path / "garments", 60)
    return tmp_path / "garments"


def save_noise(folder, mode, side):
    generator = torch.Generator().manual_seed(0)
    for i in range(12):
        pixels = torch.randint(0, 256, (3, side, side), dtype=torch.uint8, generator=generator)
        F.to_pil_image(pixels).convert(mode).save(folder / f"{i:02d}.png")


def test_a_look(glyphs, tmp_path):
    look = look_at(sorted(glyphs.iterdir()))
    assert (look.channels, look.side) == (1, 28)
    assert 0.4 < look.background < 0.8
    (glyphs / "00.png").write_bytes(b"broken")
    assert look_at(sorted(glyphs.iterdir())).side == 28
    Image.new("RGB", (300, 20)).save(tmp_path / "wide.png")
    assert look_at([tmp_path / "wide.png"]) == (1, 3, 300, 0)
    assert look_at([]) == (0, 1, 0, 0)


def test_small_grey_images_on_a_background_get_a_vector_latent(glyphs, capsys):
    command = parse(["--data", "folder:garments"], "")
    config = command.recipe.vae
    assert (config.spatial, config.size, config.patch, config.channels) == (False, 28, 7, 1)
    assert "grey images of about 28 pixels" in command.note
    assert "a vector latent, at 28 pixels; --vae.spatial true" in command.note
    main(["--data", "folder:garments", "--steps", "3", "--bank_size", "30", "--wandb", "disabled"])
    assert command.note in capsys.readouterr().out
    bank = load_weights("runs/garments").bank
    assert [view.name for view in bank.views] == ["latents and HOG", "patch features"]


@pytest.mark.parametrize(("mode", "side"), [("RGB", 28), ("L", 28), ("L", 64)])
def test_other_images_get_a_spatial_one(tmp_path, monkeypatch, mode, side):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "noise").mkdir()
    save_noise(tmp_path / "noise", mode, side)
    command = parse(["--data", "folder:noise"], "")
    assert (command.recipe.vae.spatial, command.recipe.vae.size) == (True, 64)
    assert "photographs, a spatial latent, at 64 pixels; --vae.spatial false" in command.note


def test_flags_choose_otherwise(glyphs, tmp_path):
    spatial = parse(["--data", "folder:garments", "--vae.spatial", "true"], "")
    assert (spatial.recipe.vae.spatial, spatial.recipe.vae.width) == (True, 96)
    assert "as --vae.spatial true asks" in spatial.note
    assert [recipe_for_glyphs("folder:x", 1, 28, count).steps for count in (60, 10_000, 60_000)] == [1000, 4687, 12_000]
    large = parse(["--data", "folder:garments", "--size=40", "--vae.latent_dim", "8"], "").recipe.vae
    assert (large.size, large.patch, large.latent_dim, large.spatial) == (40, 10, 8, False)
    (tmp_path / "noise").mkdir()
    save_noise(tmp_path / "noise", "RGB", 32)
    vector = parse(["--data", "folder:noise", "--vae.spatial=false"], "").recipe.vae
    assert (vector.spatial, vector.channels, vector.size) == (False, 3, 32)
    with pytest.raises(ValueError, match=r"size 29 cannot be cut into 2 to 8 patches a side: take 28"):
        parse(["--data", "folder:garments", "--size", "29"], "")


def test_the_note_is_not_in_a_printed_recipe(glyphs, capsys):
    with pytest.raises(SystemExit):
        main(["--data", "folder:garments", "--print_config"])
    assert "background" not in capsys.readouterr().out
