"""A weights folder loads whole or not at all."""

import hashlib
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torchvision.transforms.v2 import functional as F

import vae_augment
from tests.conftest import FEW, IMAGES
from tests.photographs import photograph
from vae_augment import VAE, LatentBank, VAEAugment, VAEConfig, Weights, WeightsError, hub, version
from vae_augment.hub.format import config_checksum
from vae_augment.pool.latent_hog import LatentHogView
from vae_augment.pool.policy import CLUSTERED


@pytest.fixture
def folder(vae, tmp_path):
    weights = Weights(
        vae, LatentBank.from_images(vae, IMAGES), {"Noise": 0.5}, {"name": "sample", "images": 500}, {"psnr": 1.0}
    )
    hub.save(tmp_path / "weights", weights, "# card\n")
    return tmp_path / "weights"


def test_saved_loaded_equal(folder, vae):
    loaded = hub.load(folder)
    assert loaded.vae.config == vae.config
    for key, value in vae.state_dict().items():
        assert torch.equal(loaded.vae.state_dict()[key], value.half().float())
    assert (loaded.gains, loaded.provenance["images"], loaded.metrics) == ({"Noise": 0.5}, 500, {"psnr": 1.0})
    again = folder.parent / "again"
    hub.save(again, loaded, "# card\n")
    for name in ("config.json", "model.safetensors", "bank.safetensors", "README.md"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_files_are_readable_by_others_and_nothing_temporary_stays(folder):
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "bank.safetensors",
        "README.md",
    }
    umask = os.umask(0)
    os.umask(umask)
    assert all(path.stat().st_mode & 0o777 == 0o666 & ~umask for path in folder.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    from vae_augment.atomic import atomic_write

    atomic_write(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        atomic_write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_transform_from_a_folder(folder):
    augment = VAEAugment.from_pretrained(folder, strength=0.5)
    assert augment.gain == 0.5
    assert repr(augment).startswith(f"VAEAugment({str(folder)!r}, strength=0.5")
    assert augment(IMAGES[:2].clone()).shape == (2, 1, 28, 28)


def test_loading_leaves_the_global_rng_alone(folder):
    state = torch.get_rng_state()
    VAEAugment.from_pretrained(folder)
    assert torch.equal(torch.get_rng_state(), state)


def edit_config(*, sign=False, **changes):
    def damage(folder):
        config = json.loads((folder / "config.json").read_text())
        for key, value in changes.items():
            if value is None:
                del config[key]
            else:
                config[key] = value
        if sign:  # as an author of other weights would, so that the checks behind the checksum are met
            config["sha256"]["config.json"] = config_checksum(config)
        (folder / "config.json").write_text(json.dumps(config))

    return damage


def edit_vae(**changes):
    return lambda folder: edit_config(vae=json.loads((folder / "config.json").read_text())["vae"] | changes, sign=True)(
        folder
    )


def rewrite(name, tensors):
    return lambda folder: safetensors.torch.save_file(tensors(folder), folder / name)


def cut(name, keep):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:keep])


def flip(name, position):
    def damage(folder):
        content = bytearray((folder / name).read_bytes())
        content[position] ^= 0xFF
        (folder / name).write_bytes(content)

    return damage


def model(folder):
    return safetensors.torch.load_file(folder / "model.safetensors")


def bank_of(count):
    return {"latents": torch.zeros(count, 8).half(), "neighbours": torch.zeros(count, 3).short()}


DAMAGE = {
    "empty config": (lambda f: (f / "config.json").write_text(""), WeightsError, "not JSON"),
    "config of something else": (lambda f: (f / "config.json").write_text('{"a": 1}'), WeightsError, "format_version"),
    "config a list": (lambda f: (f / "config.json").write_text("[]"), WeightsError, "object"),
    "deep config": (lambda f: (f / "config.json").write_text("[" * 100_000), WeightsError, "not JSON"),
    "newer format": (edit_config(format_version=99), WeightsError, "99.*pip install -U"),
    "unknown key": (edit_config(surprise=1), WeightsError, "unknown keys: surprise"),
    "missing key": (edit_config(gains=None), WeightsError, "missing keys: gains"),
    "wrong type": (edit_config(pool=3), WeightsError, "pool must be an object"),
    "bad gain": (edit_config(gains={"Noise": "x"}), WeightsError, "gain of Noise"),
    "newer format, signed": (
        edit_config(format_version=4, sign=True),
        WeightsError,
        "format_version 4.*pip install -U",
    ),
    "format of no number": (edit_config(format_version=True, sign=True), WeightsError, "no format_version"),
    "huge gain": (edit_config(gains={"Noise": 10**400}, sign=True), WeightsError, "gain of Noise"),
    "metric that is none": (edit_config(metrics={"psnr": float("nan")}, sign=True), WeightsError, "metric psnr"),
    "nested pool": (edit_config(pool={"name": ["a"]}, sign=True), WeightsError, "name of pool"),
    "checksum that is none": (
        edit_config(sha256={"model.safetensors": 3}, sign=True),
        WeightsError,
        "must be a string",
    ),
    "unknown architecture key": (edit_vae(depth=3), WeightsError, "unknown keys of vae: depth"),
    "huge architecture": (edit_vae(patch=1, neck=1024, latent_dim=4096), WeightsError, "parameters"),
    "other architecture": (edit_vae(width=32), WeightsError, "shape"),
    "spatial architecture": (edit_vae(spatial=True), WeightsError, "tensors"),
    "no model": (lambda f: (f / "model.safetensors").unlink(), FileNotFoundError, "model.safetensors"),
    "no bank": (lambda f: (f / "bank.safetensors").unlink(), FileNotFoundError, "bank.safetensors"),
    "another gain": (edit_config(gains={"Noise": 0.51}), WeightsError, "own sha256"),
    "another metric": (edit_config(metrics={"psnr": 99.0}), WeightsError, "own sha256"),
    "no config": (lambda f: (f / "config.json").unlink(), FileNotFoundError, "config.json"),
    "empty folder": (lambda f: (shutil.rmtree(f), f.mkdir()), FileNotFoundError, "not a weights folder"),
    "cut model": (cut("model.safetensors", 5000), WeightsError, "cut off"),
    "cut to nothing": (cut("model.safetensors", 0), WeightsError, "cut off"),
    "flipped bit": (flip("model.safetensors", -1), WeightsError, "sha256"),
    "flipped bit of the bank": (flip("bank.safetensors", -1), WeightsError, "sha256|finite"),
    "pickle": (
        lambda f: (f / "model.safetensors").write_bytes(pickle.dumps({"a": 1})),
        WeightsError,
        "not a safetensors",
    ),
    "torch.save": (lambda f: torch.save({"a": 1}, f / "model.safetensors"), WeightsError, "not a safetensors"),
    "huge header": (
        lambda f: (f / "model.safetensors").write_bytes(struct.pack("<Q", 90_000_000) + b" " * 1000),
        WeightsError,
        "header of 90000000 bytes",
    ),
    "missing tensor": (
        rewrite("model.safetensors", lambda f: dict(list(model(f).items())[1:])),
        WeightsError,
        "missing tensors",
    ),
    "extra tensor": (
        rewrite("model.safetensors", lambda f: model(f) | {"a": torch.ones(1)}),
        WeightsError,
        "unknown tensors: a",
    ),
    "other weights": (
        rewrite("model.safetensors", lambda f: {k: v + 1 for k, v in model(f).items()}),
        WeightsError,
        "sha256",
    ),
    "another bank": (rewrite("bank.safetensors", lambda _: bank_of(40_000)), WeightsError, "sha256 differs"),
    "bank without graph": (
        rewrite("bank.safetensors", lambda _: {"latents": torch.zeros(9, 8).half()}),
        WeightsError,
        "missing tensors: neighbours",
    ),
}


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float64, torch.int16])
def test_tensors_of_other_types_are_refused_whoever_signed_them(folder, dtype):
    path = folder / "model.safetensors"
    safetensors.torch.save_file({key: value.to(dtype) for key, value in model(folder).items()}, path)
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    edit_config(sha256={"model.safetensors": checksum}, sign=True)(folder)
    with pytest.raises(WeightsError, match="16 or 32 bits"):
        VAEAugment.from_pretrained(folder)


@pytest.mark.parametrize("damage", DAMAGE)
def test_each_damage_is_one_clear_error(folder, damage):
    change, error, message = DAMAGE[damage]
    change(folder)
    with pytest.raises(error, match=message) as raised:
        VAEAugment.from_pretrained(folder)
    assert str(folder) in str(raised.value)


def test_a_folder_with_a_bundled_name_is_found_by_its_path(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert hub.load(Path("mnist")).vae.latent_shape == (48,)
    folder.rename("mnist")
    for name, size in (("mnist", 48), ("./mnist", 8), (Path("mnist"), 8), (hub.name_of(Path("mnist")), 8)):
        assert hub.load(name).vae.latent_shape == (size,)
    assert hub.name_of(Path("runs/mnist")) == "runs/mnist"


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(FileNotFoundError, match=r"Did you mean 'mnist'\?.*cifar10, fashion-mnist, flowers, mnist"):
        VAEAugment.from_pretrained("mnits")
    with pytest.raises(FileNotFoundError, match="neither"):
        VAEAugment.from_pretrained("/no/such/folder")


def test_an_unknown_folder_is_answered_with_those_beside_it(folder, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match=rf"nor a folder \(in '{folder.parent}' there is '{folder.name}'\)"):
        hub.load(folder.parent / "photos")
    monkeypatch.chdir(folder.parent.parent)  # a name of two words may also be one of the Hub
    with pytest.raises(ConnectionError, match=rf"nor a folder \(in '{folder.parent.name}' there is '{folder.name}'\)"):
        hub.load(f"{folder.parent.name}/photos")
    for name in "abc":
        shutil.copytree(folder, folder.parent / name)
    with pytest.raises(FileNotFoundError, match=r"there is 'a', 'b', 'c', \.\.\.\)"):
        hub.load(folder.parent / "photos")


def test_a_revision_of_weights_that_have_none_is_refused(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    load = (hub.load, hub.describe, VAEAugment.from_pretrained)
    for name, kind in (("mnist", "'mnist' comes with the package"), (folder, "is a local folder")):
        for of in load:
            with pytest.raises(ValueError, match=rf"{kind}, and only weights of the Hub .* leave revision='v1' out"):
                of(name, revision="v1")
            of(name, revision=None)


def test_a_hub_id_that_is_not_cached_fails_without_network(tmp_path):
    with pytest.raises(ConnectionError, match=r"nor a folder(?s:.*)It is not in the cache"):
        VAEAugment.from_pretrained("someone/something", local_files_only=True, cache_dir=tmp_path)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_bundled_weights_reconstruct(name):
    weights = hub.load(name)
    assert weights.vae.config.channels == 1
    assert len(weights.bank) == 10_000
    assert set(weights.gains) == {"Noise", "PosteriorSample", "Interpolate", "Extrapolate", "LocalNoise"}
    x = IMAGES / 255
    mse = (weights.vae.decode(weights.vae.encode(x).mean) - x).square().mean()
    psnr = -10 * mse.log10().item()
    # the shipped sample is Fashion-MNIST: its own weights know it, MNIST's only roughly
    assert psnr > (20 if name == "fashion-mnist" else 9)
    # a bank latent decodes to an image that encodes to about the same latent
    z = weights.bank.latents[:100].float()
    back = weights.vae.encode(weights.vae.decode(z)).mean
    assert torch.nn.functional.cosine_similarity(z, back).mean() > 0.9


@pytest.mark.parametrize("name", ["cifar10", "flowers"])
def test_bundled_weights_of_photographs_serve_one_offline(name, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("network"))
    augment, picture = VAEAugment.from_pretrained(name), photograph(3, (224, 160))
    torch.manual_seed(0)
    new = augment(picture)
    assert (new.mode, new.size) == ("RGB", (224, 160))
    change = (F.pil_to_tensor(new).float() - F.pil_to_tensor(picture)).square().mean().sqrt()
    assert 2 < change < 60  # grey levels
    assert len(augment.bank) > 790
    assert set(hub.load(name).gains) == {"Noise", "PosteriorSample", "Interpolate", "Extrapolate", "LocalNoise"}


def test_the_package_leaves_room_in_a_wheel_of_12_megabytes():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path in Path(vae_augment.__file__).parent.rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                wheel.write(path)
    assert len(packed.getvalue()) < 11_800_000  # the trainer takes 0.1 MB


def test_bundled_cards_state_quality_and_time():
    for name in hub.bundled():
        card = (hub.BUNDLED / name / "README.md").read_text()
        assert "PSNR" in card
        assert "k = 10" in card
        assert "Training time" in card
        assert sum(f.stat().st_size for f in (hub.BUNDLED / name).iterdir()) < 4_000_000


def test_import_is_light_and_touches_no_network():
    code = """
import socket, sys
def refuse(*a, **k): raise OSError("network")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
import torch, torchvision
before = set(sys.modules)
import vae_augment
assert not {"wandb", "train", "jsonargparse", "sklearn", "huggingface_hub"} & set(sys.modules), sorted(sys.modules)
assert not {"vae_augment.__main__", "vae_augment.commands", "argparse"} & set(sys.modules) - before
vae_augment.VAEAugment.from_pretrained("mnist")
assert not {"wandb", "train", "huggingface_hub"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_weights_that_could_not_be_loaded_are_not_written(vae, tmp_path):
    import copy

    for value in (float("nan"), 1e6):
        bad = copy.deepcopy(vae)
        torch.nn.init.constant_(bad.decoder[-2].weight, value)
        with pytest.raises(ValueError, match="finite"):
            hub.save(tmp_path / "bad", Weights(bad), "card")
    bad = copy.deepcopy(vae)
    bad.latent_std[0] = 1e-9
    with pytest.raises(ValueError, match="0 in float16"):
        hub.save(tmp_path / "bad", Weights(bad), "card")
    latents, neighbours = torch.full((3, 8), 1e5), torch.tensor([[1], [2], [0]], dtype=torch.int16)
    far = LatentBank(latents, (LatentHogView("latents and HOG", 2.0, latents, neighbours),), CLUSTERED)
    with pytest.raises(ValueError, match="bank holds latents that are not finite in float16"):
        hub.save(tmp_path / "bad", Weights(vae, far), "card")
    assert list((tmp_path / "bad").iterdir()) == []


def test_user_vae_can_be_saved(tmp_path):
    hub.save(tmp_path, Weights(VAE(VAEConfig(channels=3, size=32, spatial=True, latent_dim=8))), "card")
    assert VAEAugment.from_pretrained(tmp_path)(torch.rand(2, 3, 32, 32)).shape == (2, 3, 32, 32)


class Halves(torch.nn.Module):
    """A codec of another kind: its latents are the left halves of images."""

    channels, size, latent_shape = 1, 28, (1, 28, 14)
    latent_mean, latent_std = torch.zeros(1), torch.ones(1)

    def encode(self, x):
        return x[..., :14], None

    def decode(self, z):
        return torch.cat([z, z.flip(-1)], -1).clamp(0, 1)

    def fingerprint(self):
        return "halves, 1"


def test_a_network_of_another_kind_varies_images_and_is_not_saved(tmp_path):
    weights = Weights(Halves())
    assert VAEAugment(weights.vae)(IMAGES[:2] / 255).shape == (2, 1, 28, 28)
    refused = pytest.raises(TypeError, match=r"a weights folder holds a vae_augment\.VAE, .* is a Halves")
    with refused:
        hub.save(tmp_path / "a", weights)
    with refused:
        hub.save(tmp_path / "a", weights, "card")
    with refused:
        VAEAugment(weights.vae).save_pretrained(tmp_path / "a")
    with refused:
        VAEAugment(weights.vae).push_to_hub("me/halves")
    assert not (tmp_path / "a").exists()


def test_a_fit_with_a_network_of_another_kind_is_kept(tmp_path):
    path = tmp_path / "fit.safetensors"
    fitted = VAEAugment(Halves()).fit(FEW)
    fitted.save_fit(path)
    again = VAEAugment(Halves()).load_fit(path)
    torch.manual_seed(0)
    images = fitted.sample([0, 1])
    torch.manual_seed(0)
    assert torch.equal(again.sample([0, 1]), images)


def test_the_version_is_one():
    assert vae_augment.__version__ == version.__version__
    path = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["tool"]["hatch"]["version"]["path"]
    assert Path(version.__file__).samefile(Path(__file__).parents[1] / path)
