"""What a run computes is what its recipe says: its first step by hand, and which weights it ends with."""

import dataclasses
import json

import pytest
import torch

from tests.conftest import IMAGES
from train import checkpoint
from train import data as datasets
from train.__main__ import main
from train.batches import Batches
from train.data import Data
from train.log import Log
from train.loop import train
from train.loss import vae_loss
from train.recipes import Recipe
from vae_augment import VAE, VAEConfig, hub

PLAIN = Recipe(vae=VAEConfig(latent_dim=4, width=16), steps=1, batch_size=8, bf16=False, seed=3)
GARMENTS = Data("twelve images", IMAGES[:12], IMAGES[12:24])


def trained(recipe, folder):
    """The weights of a run, its checkpoint, and what it logged of its last step."""
    with Log(folder, {}, recipe.steps, "disabled") as log:
        vae = train(recipe, GARMENTS, log, folder)
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (last,) = (record for record in records if "total" in record)
    return vae, checkpoint.load(folder), last


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"beta": 0.2},
        {"beta": 3.0, "kl_warmup": 0.0},
        {"free_bits": 2.0},
        {"likelihood": "bernoulli"},
        {"seed": 4},
        {"batch_size": 6},
    ],
    ids=str,
)
def test_the_first_step_is_that_of_the_recipe(changed, tmp_path):
    recipe = dataclasses.replace(PLAIN, **changed)
    _, _, logged = trained(recipe, tmp_path)
    torch.manual_seed(recipe.seed)
    vae, batches = VAE(recipe.vae), Batches(GARMENTS.train, recipe.batch_size)
    x = batches.next().float() / 255
    eps = torch.randn(recipe.batch_size, 4)
    beta = recipe.beta  # a run of one step is at the end of its warm-up
    loss = vae_loss(vae, x, beta, recipe.likelihood, recipe.free_bits, eps)
    assert {name: logged[name] for name in loss} == pytest.approx({k: v.item() for k, v in loss.items()}, rel=1e-4)
    assert logged["beta"] == beta


def test_the_weight_of_the_kl_rises_over_the_warm_up(tmp_path, monkeypatch):
    monkeypatch.setattr("train.loop.LOG_EVERY", 1)
    recipe = dataclasses.replace(PLAIN, steps=4, beta=0.4, kl_warmup=1.0)
    with Log(tmp_path, {}, 4, "disabled") as log:
        train(recipe, GARMENTS, log, tmp_path)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if "total" in record]
    for number, step in enumerate(steps, 1):
        beta = 0.4 * (0.1 + 0.9 * number / 4)
        assert step["beta"] == pytest.approx(beta)
        assert step["total"] == pytest.approx(step["recon"] + beta * step["kl"], rel=1e-5)
    assert len(steps) == 4


@pytest.mark.parametrize(("ema", "kept"), [(0.999, 2 / 11 * 3 / 12), (0.1, 0.01)])
def test_a_run_ends_with_the_moving_average_of_its_weights(ema, kept, tmp_path):
    """Of two steps, the second of which moves nothing: so much is left of the first weights, and early less than `ema` says."""
    vae, saved, _ = trained(dataclasses.replace(PLAIN, ema=ema, steps=2), tmp_path)
    torch.manual_seed(PLAIN.seed)
    first = dict(VAE(PLAIN.vae).named_parameters())
    for name, value in vae.named_parameters():
        average = kept * first[name] + (1 - kept) * saved["vae"][name]
        assert torch.allclose(value, average, atol=1e-6), name
        assert torch.equal(value, saved["average"][name]), name
    assert (saved["vae"]["decoder.0.2.bias"] - first["decoder.0.2.bias"]).abs().max() > 1e-3


def test_the_weights_of_a_folder_are_the_moving_average(tmp_path):
    flags = ["--steps", "5", "--batch_size", "8", "--bank_size", "0", "--vae.width", "16", "--vae.latent_dim", "4"]
    main(["sample", *flags, "--out", str(tmp_path), "--wandb", "disabled"])
    average, last = (checkpoint.load(tmp_path)[name] for name in ("average", "vae"))
    for name, value in hub.load(tmp_path).vae.named_parameters():
        assert torch.equal(value, average[name].half().float()), name
    assert any(not torch.equal(average[name], last[name]) for name in last)


def test_images_held_out_of_a_folder_are_not_trained_on(tmp_path):
    from torchvision.transforms.v2.functional import to_pil_image

    for i in range(40):
        to_pil_image(IMAGES[i]).save(tmp_path / f"{i:02}.png")
    data = datasets.load(f"folder:{tmp_path}", 1, 28)
    train, test, all_of_it = (
        {image.numpy().tobytes() for image in images} for images in (data.train, data.test, IMAGES[:40])
    )
    assert (len(data.train), len(data.test)) == (36, 4)
    assert not train & test
    assert train | test == all_of_it
