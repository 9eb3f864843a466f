"""The trainer as users run it: one command in a new process."""

import ast
import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields

import pytest
import torch
import yaml
from PIL import Image

from tests.conftest import IMAGES
from tests.running import python_m_train
from train import data as datasets
from train.__main__ import main
from train.cli import push
from train.log import Log
from train.loop import schedule, set_latent_statistics, update_ema, warmup
from train.recipes import RECIPES, Recipe
from vae_augment import VAE, VAEAugment, VAEConfig, hub, load_weights
from vae_augment.prior import StandardNormal
from vae_augment.source import ROOT_VARIABLE
from vae_augment.vae import Whitened

SHORT = ["--steps", "30", "--batch_size", "32", "--bank_size", "50", "--vae.latent_dim", "4", "--vae.width", "16"]
FILES = {
    "README.md",
    "bank.safetensors",
    "best.pt",
    "checkpoint.pt",
    "config.json",
    "metrics.jsonl",
    "model.safetensors",
    "samples.png",
    "training.yaml",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short run on the shipped sample."""
    cwd = tmp_path_factory.mktemp("trained")
    done = python_m_train("sample", *SHORT, "--out", "run", cwd=cwd)
    return cwd / "run", done


def test_writes_a_weights_folder_that_loads(trained):
    folder, done = trained
    assert {path.name for path in folder.iterdir()} == FILES
    weights = hub.load(folder)
    assert len(weights.bank) == 50
    assert weights.metrics["test_psnr_db"] > 5
    assert weights.metrics["train_seconds"] > 0
    assert (weights.vae.latent_std > 0).all()
    assert str(folder.name) in done.stdout
    augment = VAEAugment.from_pretrained(folder)
    assert augment(IMAGES[:3].clone()).shape == (3, 1, 28, 28)


def test_metrics_are_one_json_line_a_record(trained):
    lines = [json.loads(line) for line in (trained[0] / "metrics.jsonl").read_text().splitlines()]
    (losses,) = [line for line in lines if "total" in line]
    assert {"step", "total", "recon", "kl", "beta", "lr", "grad_norm"} <= losses.keys()
    assert "test/psnr_db" in lines[-1]
    assert "test/knn_purity" in lines[-1]


def test_card_renders_with_front_matter_recipe_and_quality(trained):
    card = (trained[0] / "README.md").read_text()
    assert "license" not in card, "which its owner may state"
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "vae-augment"
    assert "python -m train sample --steps 30" in card
    assert "latent_dim: 4" in card
    assert "dB" in card


def test_config_repeats_a_run_exactly(trained, tmp_path):
    folder, _ = trained
    python_m_train("--config", folder / "training.yaml", "--out", "again", cwd=tmp_path)
    for name in ("model.safetensors", "bank.safetensors", "training.yaml"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_help_lists_the_flags(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["mnist", "--help"])
    out = capsys.readouterr().out
    for flag in ("--steps", "--vae.latent_dim", "--wandb", "--out"):
        assert flag in out


def test_a_run_without_out_never_replaces_another(tmp_path):
    for _ in range(2):
        python_m_train("sample", *SHORT, cwd=tmp_path)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["sample", "sample-2"]
    card = (tmp_path / "runs" / "sample-2" / "README.md").read_text()
    assert 'from_pretrained("runs/sample-2"' in card


def test_a_folder_that_is_not_empty_is_left_alone(trained, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.chdir(tmp_path)
    for arguments, message in (([], "--overwrite"), (["--overwrite", "--device", "cuda:99"], "no device")):
        with pytest.raises(SystemExit) as ended:
            main(["sample", *SHORT, "--out", "run", *arguments])
        assert message in str(ended.value.code)
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    with pytest.raises(SystemExit) as ended:
        main(["--config", "run/training.yaml", "--size", "56"])
    assert "--vae.size 56" in str(ended.value.code)
    python_m_train("sample", *SHORT, "--out", "run", "--overwrite", cwd=tmp_path)
    assert load_weights(folder).vae.latent_shape == (4,)


@pytest.mark.parametrize("first", [["--lr", "2e-4"], []])
def test_flags_win_over_a_config_wherever_they_stand(first, trained, tmp_path):
    config = ["--config", trained[0] / "training.yaml"]
    done = python_m_train(*first, *config, "--seed", "7", "--print_config", cwd=tmp_path)
    printed = yaml.safe_load(done.stdout)
    assert (float(printed["lr"]), printed["seed"]) == (2e-4 if first else 1e-2, 7)


def test_a_data_set_has_its_own_recipe(tmp_path):
    printed = yaml.safe_load(python_m_train("--data", "fashion-mnist", "--print_config", cwd=tmp_path).stdout)
    assert printed["vae"]["latent_dim"] == RECIPES["fashion-mnist"].vae.latent_dim


def test_two_recipes_are_one_too_many(trained):
    with pytest.raises(SystemExit, match="leave one out"):
        main(["mnist", "--config", str(trained[0] / "training.yaml")])


def test_data_at_another_size_and_channels_is_resized():
    data = datasets.load("sample", 3, 32)
    assert data.train.shape == (450, 3, 32, 32)
    assert data.train.dtype == torch.uint8


def test_images_of_more_than_8_bits_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(torch.zeros(9, 9, dtype=torch.uint16).numpy()).save(tmp_path / "a" / "deep.png")
    with pytest.raises(ValueError, match=r"deep.png.*8 bits"):
        datasets.load(f"folder:{tmp_path}", 1, 28)


def test_print_config_lists_every_field_and_flags_win(trained, tmp_path):
    done = python_m_train("--config", trained[0] / "training.yaml", "--lr", "2e-4", "--print_config", cwd=tmp_path)
    printed = yaml.safe_load(done.stdout)
    assert float(printed["lr"]) == 2e-4
    assert printed["vae"]["latent_dim"] == 4
    assert {field.name for field in fields(Recipe)} - {"bf16"} <= printed.keys()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mnits"], "Did you mean 'mnist'?"),
        (["sample", "--batch-size", "5"], "Did you mean 'batch_size'?"),
        (["sample", "--bank_size", "1"], "0 or at least 2"),
        (["sample", "--device", "cudaa"], "cudaa"),
        (["sample", "--device", "cuda:99"], "no device cuda:99 here"),
        (["sample", "--stepz", "5"], "Did you mean 'steps'?"),
        (["sample", "--vae.widht", "5"], "Did you mean 'vae.width'?"),
        (["sample", "--width", "5"], "Did you mean 'vae.width'?"),
        (["mnist", "--data", "folder:."], "leave mnist out"),
        (["sample", "--out", __file__], "is a file: name a folder"),
        (["sample", "--steps", "many"], "many"),
        (["sample", "--steps", "0"], "steps must be at least 1"),
        (["sample", "--vae.size", "30"], "multiple of patch"),
        (["sample", "--likelihood", "gauss"], "gaussian"),
        (["--data", "folder:nowhere"], "there is no folder nowhere"),
        (["--data", "folder:"], "folder: names no images"),
        (["--data", "folder:.", "--size", "64"], "no images under ."),
        (["--data", "folder:.", "--vae.channels", "3", "--size", "0"], "size must be positive, got 0"),
        (["--data", "folder:.", "--vae.channels", "3", "--size=-8"], "size must be positive, got -8"),
        (["sample", "--grad_clip", "0"], "grad_clip must be above 0"),
        (["sample", "--kl_warmup", "5"], "at most 1, got 500.0 and 5.0"),
        (["sample", "--seed", str(2**64)], "seed must be from -2**63 to 2**64 - 1"),
        (["--data", "cifar"], "mnist, fashion-mnist, cifar10, flowers, sample, folder:PATH, array:FILE, or hf:NAME"),
        (
            ["--data", "cifar", "--size", "32"],
            "mnist, fashion-mnist, cifar10, flowers, sample, folder:PATH, array:FILE, or hf:NAME",
        ),
    ],
)
def test_mistakes_are_one_clear_error(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code != 0
    assert message in capsys.readouterr().err + str(ended.value.code)
    assert not list(tmp_path.iterdir())


def test_no_arguments_is_no_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main([])
    printed = capsys.readouterr()
    assert printed.out == ""
    for part in (
        "python -m train mnist",
        "--data folder:PATH",
        "recipes: sample, mnist, fashion-mnist, cifar10, flowers",
    ):
        assert part in printed.err
    assert not list(tmp_path.iterdir())


def test_unknown_key_in_a_config_is_an_error(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("steps: 3\nweight_decai: 1\n")
    with pytest.raises(SystemExit, match="2"):
        main(["--config", str(tmp_path / "a.yaml")])
    assert "Did you mean 'weight_decay'?" in capsys.readouterr().err


def test_a_missing_data_set_says_how_to_get_it(tmp_path):
    offline = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    done = python_m_train("mnist", "--root", tmp_path, cwd=tmp_path, env=offline, check=False)
    assert done.returncode != 0
    for part in ("MNIST", "download=True", ROOT_VARIABLE, "--root", "train sample"):
        assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_a_resumed_run_goes_on_in_the_same_wandb_run(tmp_path):
    python_m_train("sample", *SHORT, "--out", "run", "--wandb", "offline", cwd=tmp_path)
    name = (tmp_path / "run" / "wandb_run").read_text()
    python_m_train("--resume", "run", "--wandb", "offline", cwd=tmp_path)
    assert (tmp_path / "run" / "wandb_run").read_text() == name
    runs = list((tmp_path / "run" / "wandb").glob("offline-run-*"))
    assert all(run.name.endswith(name) for run in runs)


def test_wandb_offline_is_read_back(tmp_path):
    arguments = ["sample", *SHORT, "--out", "run", "--wandb", "offline"]
    python_m_train(*arguments, cwd=tmp_path, env={"WANDB_MODE": "online"})
    (run,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    wandb = os.path.join(os.path.dirname(sys.executable), "wandb")
    read = subprocess.run([wandb, "leet", "inspect", "--json", str(run)], capture_output=True, text=True, check=True)
    assert '"total"' in read.stdout
    for name in ("recon", "kl", "test/psnr_db", "originals", "reconstructions", "augmentations", "prior_samples"):
        assert name in read.stdout, name
    assert list((run / "files" / "media" / "images").glob("*.png"))


def test_training_ends_well_without_key_and_network(tmp_path):
    env = {
        "WANDB_MODE": "",
        "WANDB_BASE_URL": "http://127.0.0.1:9",
        "HOME": str(tmp_path),
        "WANDB_CONFIG_DIR": str(tmp_path),
    }
    done = python_m_train("sample", *SHORT, "--out", "run", cwd=tmp_path, env=env)
    assert "offline" in done.stderr
    assert (tmp_path / "run" / "config.json").exists()


def test_folder_of_images(tmp_path):
    from torchvision.transforms.v2 import functional as F

    for i in range(60):
        path = tmp_path / "photos" / str(i % 2)
        path.mkdir(parents=True, exist_ok=True)
        F.to_pil_image(IMAGES[i].repeat(3, 1, 1)).resize((40 + i, 30)).save(path / f"{i}.jpg")
    python_m_train("--data", "folder:photos", "--vae.channels", "3", "--vae.size", "32", *SHORT, cwd=tmp_path)
    weights = hub.load(tmp_path / "runs" / "photos")
    assert weights.vae.config.channels == 3
    assert weights.provenance["images"] == 54


def test_a_folder_named_like_bundled_weights_is_told_apart(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    main(["sample", *SHORT, "--out=~/mnist", "--wandb", "disabled"])
    assert not (tmp_path / "~").exists()
    main(["sample", *SHORT, "--out", "mnist", "--wandb", "disabled", "--overwrite"])
    assert "use it: VAEAugment.from_pretrained('./mnist')" in capsys.readouterr().out
    assert 'from_pretrained("./mnist")' in (tmp_path / "mnist" / "README.md").read_text()
    assert load_weights("./mnist").vae.latent_shape == (4,)
    main(["--resume=~/mnist", "--out", "mnist", "--wandb", "disabled"])
    assert "python -m train --config training.yaml" in (tmp_path / "mnist" / "README.md").read_text()


@pytest.mark.parametrize("count", [3, 16, 20])
def test_the_columns_of_the_picture_are_the_held_out_images(count, vae):
    from train.pictures import contact_sheet, rows

    columns = min(count, 16)
    sheet = contact_sheet(vae, IMAGES[:count], StandardNormal(vae.latent_shape), 1.0)
    side = 2 * (28 + 1)
    assert sheet.size == (columns * side + 2, len(rows(vae, IMAGES, StandardNormal(vae.latent_shape), 1.0)) * side + 2)


def test_non_finite_steps_are_skipped_counted_and_end_in_a_clear_error(tmp_path):
    from train.loop import train

    recipe = Recipe(vae=VAEConfig(latent_dim=4, width=16), steps=100, batch_size=8, lr=1e30, bf16=False)
    data = datasets.load("sample", 1, 28)
    with (
        Log(tmp_path, {}, 100, "disabled") as log,
        pytest.raises(ArithmeticError, match=r"not finite for 20 steps.*lower lr"),
    ):
        train(recipe, data, log, tmp_path)


def test_losses_of_an_epoch_are_the_means_of_its_steps(tmp_path, monkeypatch):
    import train.loop

    monkeypatch.setattr(train.loop, "LOG_EVERY", 1)
    recipe = Recipe(vae=VAEConfig(latent_dim=4, width=16), steps=14, batch_size=64, bf16=False)
    with Log(tmp_path, {}, 14, "disabled") as log:
        train.loop.train(recipe, datasets.load("sample", 1, 28), log, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    epochs = [row for row in rows if "epoch/total" in row]
    assert [row["step"] for row in epochs] == [7, 14]  # 450 images are seven batches
    for epoch in epochs:
        steps = [row["recon"] for row in rows if "recon" in row and epoch["step"] - 7 < row["step"] <= epoch["step"]]
        assert epoch["epoch/recon"] == pytest.approx(sum(steps) / 7, rel=1e-5)


def test_schedules():
    assert schedule(0.05) == pytest.approx(1, abs=0.01)
    assert schedule(1.0) == pytest.approx(0)
    assert schedule(0.025) == pytest.approx(0.5, abs=0.01)
    assert [warmup(p, 0.1) for p in (0, 0.1, 1)] == pytest.approx([0.1, 1, 1])
    assert warmup(0.0, 0.0) == 1


def test_ema_moves_toward_the_weights(vae):
    torch.manual_seed(0)
    ema = VAE(vae.config)
    before = [p.clone() for p in ema.parameters()]
    update_ema(ema, vae, 0.9)
    for old, new, target in zip(before, ema.parameters(), vae.parameters(), strict=True):
        assert torch.allclose(new, 0.9 * old + 0.1 * target, atol=1e-6)


def test_latent_statistics_whiten_the_training_images(vae):
    torch.manual_seed(0)
    vae = VAE(vae.config)
    set_latent_statistics(vae, IMAGES)
    mean, std = Whitened(vae).encode_whitened(IMAGES / 255)
    assert torch.allclose(mean.mean(0), torch.zeros(8), atol=1e-4)
    assert torch.allclose(mean.var(0, correction=0) + std.square().mean(0), torch.ones(8), atol=1e-4)


def test_held_out_images_are_not_trained_on():
    data = datasets.load("sample", 1, 28)
    train, test = ({image.numpy().tobytes() for image in part} for part in (data.train, data.test))
    assert not train & test
    assert (len(data.train), len(data.test)) == (450, 50)
    assert len(data.test_labels.unique()) > 5


def test_the_command_after_a_failed_push_pushes_the_same(trained):
    asked = [trained[0], "me/it's mine", True, "http://127.0.0.1:9/'a'", True]
    with pytest.raises(SystemExit) as ended:
        push(*asked)
    command = shlex.split(str(ended.value.code).rpartition("then: ")[2])
    (call,) = [node for node in ast.walk(ast.parse(command[2])) if isinstance(node, ast.Call)]
    assert [ast.literal_eval(value) for value in call.args] == [asked[0].as_posix(), asked[1]]
    given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    assert given == {"private": True, "endpoint": asked[3], "originals": True}
    with pytest.raises(SystemExit) as ended:
        push(trained[0], "mine", False, None, False)
    assert "'mine')" in str(ended.value.code).replace('"', "'")
