"""`python -m train --from`: a run that starts from weights."""

import pytest
import torch
import yaml
from torchvision.transforms.v2 import functional as F

from tests.conftest import IMAGES
from tests.photographs import garments
from train.__main__ import main
from train.cli import parse
from vae_augment import VAEAugment, hub, load_weights


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    garments(tmp_path / "garments", 120)
    return tmp_path


def train(*arguments):
    main([*arguments, "--bank_size", "50", "--wandb", "disabled"])


def test_a_run_goes_on_from_bundled_weights(folder, capsys):
    started = load_weights("mnist")
    x = IMAGES[:100] / 255
    with torch.no_grad():
        before = (started.vae.decode(started.vae.encode(x)[0]) - x).square().mean()
    train("--from", "mnist", "--data", "folder:garments", "--steps", "60", "--out", "run")
    weights = load_weights("run")
    assert weights.vae.config == started.vae.config
    assert weights.provenance["started_from"] == "mnist"
    assert len(weights.bank) == 50
    assert weights.gains.keys() == started.gains.keys()
    assert weights.gains != started.gains
    assert not torch.equal(weights.vae.latent_mean, started.vae.latent_mean)
    with torch.no_grad():
        after = (weights.vae.decode(weights.vae.encode(x)[0]) - x).square().mean()
    assert after < 0.5 * before
    assert "It started from the weights mnist" in (folder / "run" / "README.md").read_text()
    assert yaml.safe_load((folder / "run" / "training.yaml").read_text())["start"] == "mnist"
    # again from the recipe, and from the folder itself
    train("--config", "run/training.yaml", "--steps", "1", "--out", "again")
    assert load_weights("again").provenance["started_from"] == "mnist"
    train("--from=run", "--data=folder:garments", "--steps", "1", "--lr", "0", "--out", "third")
    for name, value in load_weights("third").vae.named_parameters():
        assert torch.allclose(value, dict(weights.vae.named_parameters())[name], atol=1e-3)
    VAEAugment.from_pretrained("third")(IMAGES[:2])


def test_a_run_that_started_from_weights_is_resumed_without_them(folder):
    train("--from", "mnist", "--data", "folder:garments", "--steps", "4", "--out", "base")
    train("--from", "base", "--data", "folder:garments", "--steps", "4", "--checkpoint_every", "2", "--out", "run")
    (folder / "base").rename(folder / "gone")
    train("--resume", "run")
    assert load_weights("run").provenance["started_from"] == "base"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--vae.width", "96"], r"the weights mnist have width 160, not 96: .*Leave these flags out"),
        (["--size", "64"], r"the weights mnist are of 28x28 pixels, not --size 64: leave it out"),
        (["--vae.channels", "3"], r"have channels 1, not 3"),
    ],
)
def test_another_architecture_is_refused(folder, flags, said):
    with pytest.raises(SystemExit, match=said):
        train("--from", "mnist", "--data", "folder:garments", *flags)
    assert not (folder / "runs").exists()


def test_colours_are_not_lost_in_silence(folder):
    F.to_pil_image(IMAGES[0].expand(3, -1, -1)).save(folder / "garments" / "000.png")
    with pytest.raises(SystemExit, match=r"have colours, and the weights mnist are of grey.*--vae\.channels 1"):
        train("--from", "mnist", "--data", "folder:garments")
    assert parse(["--from", "mnist", "--data", "folder:garments", "--vae.channels", "1"], "").recipe.vae.channels == 1


def test_weights_that_are_not_there(folder):
    with pytest.raises(SystemExit, match=r"error: .*nowhere"):
        train("--from", "nowhere", "--data", "folder:garments")
    with pytest.raises(SystemExit, match="leave mnist out"):
        train("mnist", "--from", "mnist", "--data", "folder:garments")


def test_what_is_published_names_no_path():
    recipe = "data: folder:/home/me/ants\nstart: /home/me/runs/bees\n"
    assert "/home" not in hub.recipe_text.recipe_without_paths(recipe)
    command = "python -m train --from /home/me/runs/bees --data folder:/home/me/ants --steps 5"
    assert hub.recipe_text.command_without_paths(command) == "python -m train --from bees --data folder:ants --steps 5"
    kept = "python -m train --from you/bees --steps 5"
    assert hub.recipe_text.command_without_paths(kept) == kept
    assert hub.recipe_text.recipe_without_paths("data: mnist\nstart: you/bees\n") == "data: mnist\nstart: you/bees\n"
