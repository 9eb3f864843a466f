"""Folders and repositories of diffusers' autoencoders: what is read of them, what is refused, and the Hub."""

import json
import shutil

import pytest
import safetensors.torch
import torch

from tests.diffusers_models import NAMES, model
from tests.hub_client import client
from tests.hub_server import serve
from vae_augment import LatentBank, VAEAugment, WeightsError, load_weights
from vae_augment.autoencoders import shipped_images
from vae_augment.hub import describe

pytest.importorskip("diffusers")
NETWORK = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A folder as diffusers writes it."""
    folder = tmp_path_factory.mktemp("plain")
    model("AutoencoderTiny").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def saved(plain, tmp_path_factory):
    """The same, calibrated and with a bank."""
    folder, images = tmp_path_factory.mktemp("saved"), shipped_images(3, 32, 20)
    augment = VAEAugment.from_pretrained(plain, size=32).calibrate(images)
    augment.with_bank(LatentBank.from_images(augment.vae, images)).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def rewrite(folder, name="config.json", **changes):
    config = json.loads((folder / name).read_text()) | changes
    (folder / name).write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def bare(folder):
    """What was measured, forgotten: its checksums would refuse first."""
    (folder / "vae_augment.json").unlink()
    return folder


def test_files_are_those_of_diffusers_and_what_was_measured(saved):
    assert {path.name for path in saved.iterdir()} == {NETWORK, "config.json", "vae_augment.json", "bank.safetensors"}
    assert "/" not in (saved / "config.json").read_text()  # no path of this machine
    assert {NETWORK, "vae_augment.json"} < set(describe(saved).files)
    weights = load_weights(saved)
    assert (weights.vae.size, weights.vae.statistics.images, len(weights.bank)) == (32, 20, 20)


def test_a_bank_that_is_gone_is_removed(folder):
    augment = VAEAugment.from_pretrained(folder)
    VAEAugment(augment.vae, gain=1.0).save_pretrained(folder)
    assert VAEAugment.from_pretrained(folder).bank is None


def test_variants_and_subfolders(plain, tmp_path):
    half = model("AutoencoderTiny").half()
    half.save_pretrained(tmp_path / "vae", variant="fp16")
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"pipeline of diffusers.*subfolder='vae'"):
        load_weights(tmp_path)
    with pytest.raises(FileNotFoundError, match="variants fp16: variant='fp16'"):
        load_weights(tmp_path, subfolder="vae")
    loaded = load_weights(tmp_path, subfolder="vae", variant="fp16", size=32).vae
    for key, value in half.state_dict().items():
        assert torch.equal(loaded.net.state_dict()[key], value.float())


@pytest.mark.parametrize("subfolder", ["../vae", "/vae", "vae/../..", "", 3])
def test_a_subfolder_lies_within(plain, subfolder):
    with pytest.raises(ValueError, match="must be a folder within"):
        load_weights(plain, subfolder=subfolder)


def test_old_names_of_attention_layers_are_read(tmp_path):
    net = model("AutoencoderKL")
    net.save_pretrained(tmp_path)
    state = safetensors.torch.load_file(tmp_path / NETWORK)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for new, name in old.items():
        state = {key.replace(f"attentions.0.{new}.", f"attentions.0.{name}."): value for key, value in state.items()}
    assert set(state) != set(net.state_dict())
    safetensors.torch.save_file(state, tmp_path / NETWORK, metadata={"format": "pt"})
    loaded = load_weights(tmp_path, size=16).vae.net
    for key, value in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key


def test_a_folder_with_pickles_alone_is_refused(plain, tmp_path):
    shutil.copy(plain / "config.json", tmp_path)
    torch.save({}, tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"only safetensors are read, never pickled .bin files"):
        load_weights(tmp_path)


def test_unknown_classes_list_the_known(folder):
    rewrite(bare(folder), _class_name="AutoencoderOobleck")
    with pytest.raises(WeightsError, match="'AutoencoderOobleck' is no autoencoder") as error:
        load_weights(folder)
    assert all(name in str(error.value) for name in NAMES)


@pytest.mark.parametrize(
    "changes",
    [
        {"latent_channels": 2**40},
        {"num_decoder_blocks": [3000, 3, 3, 1]},
        {"encoder_block_out_channels": [8] * 100},
        {"act_fn": "x" * 1000},
        {"act_fn": "none such"},
        {"in_channels": {"a": 1}},
        {"encoder_block_out_channels": []},
        {"latent_channels": -1},
        {"latent_channels": 5},  # does not fit the tensors
        {"_class_name": ["AutoencoderTiny"]},
        {"_class_name": "VQModel"},
    ],
    ids=repr,
)
def test_configs_of_strangers(folder, changes):
    rewrite(bare(folder), **changes)
    with pytest.raises(WeightsError):
        load_weights(folder)


def test_positions_of_a_huge_encoder_are_not_computed(folder):
    rewrite(bare(folder), _class_name="AutoencoderRAE", encoder_input_size=60_000, encoder_patch_size=1)
    with pytest.raises(WeightsError, match="too many patches"):
        load_weights(folder)


@pytest.mark.parametrize(
    "key", ["encoder_input_size", "encoder_patch_size", "decoder_hidden_size", "encoder_hidden_size"]
)
@pytest.mark.parametrize("value", ["14", 0, -3, 1.5, True, [14]])
def test_sizes_of_an_encoder_are_whole_numbers(folder, key, value):
    rewrite(bare(folder), _class_name="AutoencoderRAE", **{key: value})
    with pytest.raises(WeightsError, match=f"{key} must be an integer of 1 or more, got"):
        load_weights(folder)


@pytest.mark.parametrize("content", [b"", b'{"_class_name": ', b"\xff\xfe", b"[1]"])
def test_a_damaged_config_is_told_as_one_whatever_is_asked_besides(folder, content):
    (bare(folder) / "config.json").write_bytes(content)
    with pytest.raises(WeightsError, match=r"config\.json"):
        VAEAugment.from_pretrained(folder, size=32)


@pytest.mark.parametrize("name", [NETWORK, "config.json", "bank.safetensors", "vae_augment.json"])
def test_changed_files_are_told(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[-3] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(WeightsError):
        load_weights(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 33},
        {"size": 10**30},
        {"latent_std": [0.0] * 4},
        {"latent_std": [1.0] * 5},
        {"latent_mean": ["a"] * 4},
        {"latent_mean": None},
        {"gains": {"Noise": float("nan")}},
        {"gains": {"Noise": -1}},
        {"calibrated_on": True},
        {"format_version": 9},
        {"sha256": []},
        {"sha256": {"config.json": 3}},
    ],
    ids=repr,
)
def test_what_was_measured_is_checked(folder, changes):
    from vae_augment.hub.format import config_checksum

    rewrite(folder, "vae_augment.json", **changes)
    measured = json.loads((folder / "vae_augment.json").read_text())
    if isinstance(measured["sha256"], dict):
        measured["sha256"].pop("vae_augment.json", None)
        rewrite(folder, "vae_augment.json", sha256=measured["sha256"] | {"vae_augment.json": config_checksum(measured)})
    with pytest.raises(WeightsError):
        load_weights(folder)


def test_values_that_are_not_finite(folder):
    state = safetensors.torch.load_file(folder / NETWORK)
    next(iter(state.values())).fill_(float("inf"))
    safetensors.torch.save_file(state, bare(folder) / NETWORK)
    with pytest.raises(WeightsError, match="not finite"):
        load_weights(folder)


def test_another_size_than_was_measured(folder):
    with pytest.raises(ValueError, match="is of size 32, got size=64"):
        load_weights(folder, size=64)


@pytest.mark.parametrize("option", [{"variant": "fp16"}, {"dtype": torch.bfloat16}, {"size": 28}])
def test_options_of_diffusers_are_not_of_other_weights(option):
    with pytest.raises(ValueError, match="are weights of this package"):
        load_weights("mnist", **option)


def test_it_is_not_pushed(folder):
    augment = VAEAugment.from_pretrained(folder)
    with pytest.raises(TypeError, match="upload_folder"):
        augment.push_to_hub("me/tiny")


LOAD = """
augment = VAEAugment.from_pretrained("me/tiny", {options})
print(augment.vae.fingerprint(), augment.revision, len(augment.bank or []))
"""


@pytest.fixture(scope="module")
def hub(plain, saved, tmp_path_factory):
    """A server with a pipeline, whose autoencoder is in a folder, and a repository that was saved with a bank."""
    variant = tmp_path_factory.mktemp("variant")
    model("AutoencoderTiny").half().save_pretrained(variant, variant="fp16")
    with serve() as server:
        pipeline = {f"vae/{path.name}": path.read_bytes() for path in [*plain.iterdir(), *variant.glob("*.fp16.*")]}
        pipeline |= {
            "model_index.json": b"{}",
            "vae/diffusion_pytorch_model.bin": b"pickled",
            "unet/config.json": b"{}",
        }
        for repo, files in (("me/tiny", {p.name: p.read_bytes() for p in saved.iterdir()}), ("me/pipe", pipeline)):
            server.commits[repo], server.refs[repo] = {"0" * 40: {}}, {"main": "0" * 40}
            server.commit(repo, "main", files)
        with client(server.url, tmp_path_factory.mktemp("home")) as process:
            yield server, process


def test_from_the_hub_as_saved(hub, saved):
    server, process = hub
    done = process.run(LOAD.format(options=""))
    commit = server.refs["me/tiny"]["main"]
    assert (done.error, done.out) == ("", f"{load_weights(saved).vae.fingerprint()} {commit} 20")
    again = process.run(LOAD.format(options=f"revision={commit!r}, local_files_only=True"))
    assert again == done


def test_of_a_pipeline_only_what_is_needed_is_fetched(hub):
    server, process = hub
    server.requests.clear()
    script = 'print(load_weights("me/pipe", subfolder="vae", variant="fp16", size=32).vae)'
    assert process.run(script).out == "DiffusersCodec(AutoencoderTiny, size=32, latents (4, 4, 4))"
    fetched = {line.rpartition("/")[2] for line in server.requests if line.startswith("GET") and "/resolve/" in line}
    assert fetched == {"config.json", "model_index.json", "diffusion_pytorch_model.fp16.safetensors"} - (
        {"model_index.json"} - fetched
    )
    assert "subfolder='vae'" in process.run('load_weights("me/pipe")').error
    assert "variant='fp16'" in process.run('load_weights("me/pipe", subfolder="vae", variant="fp8", size=32)').error
