"""Files of strangers: what is dangerous is refused by name, at once, before memory is spent, and nothing private is published."""

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from PIL import Image, PngImagePlugin

from tests.conftest import IMAGES
from tests.limits import at_once
from vae_augment import LatentBank, VAEConfig, Weights, WeightsError, hub
from vae_augment.hub.card import END, Card, read_card
from vae_augment.hub.format import config_checksum
from vae_augment.hub.published import ORIGINALS, published, read_documents
from vae_augment.prior import Mixture, StandardNormal

KEY = b"-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n"


@pytest.fixture
def folder(vae, tmp_path):
    bank = LatentBank.from_images(vae, IMAGES[:20])
    prior = Mixture.of_latents(bank.whitened(vae))
    hub.save(tmp_path / "weights", Weights(vae, bank, {"Noise": 0.5}, {"name": "sample"}, {"psnr": 1.0}, prior))
    return tmp_path / "weights"


def sign(folder: Path, **changes) -> None:
    """Edit config.json and the checksums as an author of such weights would."""
    config = json.loads((folder / "config.json").read_text()) | changes
    for name in set(config["sha256"]) - {"config.json"}:
        config["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    config["sha256"]["config.json"] = config_checksum(config)
    (folder / "config.json").write_text(json.dumps(config))


def refused(folder: Path) -> str:
    with pytest.raises(WeightsError) as error:
        hub.load(folder)
    assert str(folder) in str(error.value)
    return str(error.value)


# links


@pytest.mark.parametrize("name", [*hub.DOCUMENTS, *hub.FILES])
def test_a_link_is_not_published(folder, tmp_path, name):
    (tmp_path / "key").write_bytes((folder / name).read_bytes() if name in hub.FILES else KEY)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "key")
    with pytest.raises(WeightsError, match=f"{name} is a symbolic link"):
        hub.push(folder, "me/weights", endpoint="http://127.0.0.1:9")
    (folder / name).unlink()
    (folder / name).symlink_to(tmp_path / "absent")
    with pytest.raises(WeightsError, match=f"{name} is a symbolic link"):
        hub.push(folder, "me/weights", endpoint="http://127.0.0.1:9")


def test_a_linked_card_is_not_taken_into_a_new_one(folder, augment, tmp_path):
    (tmp_path / "key").write_bytes(KEY)
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(tmp_path / "key")
    for save in (lambda: augment.save_pretrained(folder), lambda: hub.save(folder, Weights(augment.vae))):
        with pytest.raises(WeightsError, match=r"README\.md is a symbolic link"):
            save()
    assert (folder / "README.md").is_symlink()
    assert (tmp_path / "key").read_bytes() == KEY


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("samples.png", KEY),
        ("samples.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        ("samples.png", b""),
        ("training.yaml", KEY),
        ("training.yaml", b"- a\n- b\n"),
        ("training.yaml", b"\xff\xfe"),
        ("training.yaml", b"a: [*b]\n"),
        ("README.md", b"---\ndate: 2020-13-45\n---\n"),
        ("README.md", b"x" * 1_000_001),
    ],
)
def test_a_document_that_is_none_is_not_published(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(WeightsError, match=name):
        hub.push(folder, "me/weights", endpoint="http://127.0.0.1:9")


@pytest.mark.parametrize("target", ["/proc/self/mem", "/proc/kmsg", "/proc/self/maps", "/dev/zero", "/dev/tty", "."])
@pytest.mark.parametrize("name", hub.FILES)
def test_files_that_are_none_are_refused_at_once(folder, name, target):
    if target != "." and not Path(target).exists():
        pytest.skip(f"this system has no {target}")
    (folder / name).unlink()
    (folder / name).symlink_to(target)
    with at_once():
        refused(folder)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not list open files")
def test_what_is_refused_is_closed(folder):
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = opened()
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    for _ in range(20):
        refused(folder)
    assert opened() == before


def test_a_pipe_is_not_waited_for(folder):
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    with at_once():
        assert "no regular file" in refused(folder)


def test_a_long_name_is_unknown(augment):
    for name in ("a" * 5000, "a/" * 3000, "~" + "b" * 300, "\0", "\ud800"):
        with pytest.raises(FileNotFoundError) as error:
            hub.load(name)
        assert len(str(error.value)) < 500
        assert str(error.value).isprintable()
        with pytest.raises((FileNotFoundError, WeightsError)):
            augment.load_fit(name)


def test_a_file_that_is_cut_off_while_it_is_used_does_not_end_the_process(folder, fitted, tmp_path):
    fitted.save_fit(tmp_path / "fit.safetensors")
    code = f"""
import os
from vae_augment import VAEAugment, hub
weights = hub.load({str(folder)!r})
fitted = VAEAugment.from_pretrained("fashion-mnist").load_fit({str(tmp_path / "fit.safetensors")!r})
for path in ({str(folder / "model.safetensors")!r}, {str(folder / "bank.safetensors")!r}, {str(tmp_path / "fit.safetensors")!r}):
    os.truncate(path, 0)
print(len(weights.bank.latents.float().sum(0)), fitted.sample([0, 1]).shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "8 torch.Size([2, 1, 28, 28])\n"


# what loads can be saved again


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("value", [1e6, 1e-9])
def test_weights_that_float16_cannot_hold_are_refused(folder, dtype, value):
    path = folder / "model.safetensors"
    tensors = {key: tensor.to(dtype) for key, tensor in safetensors.torch.load_file(path).items()}
    tensors["latent_std"][0] = value
    safetensors.torch.save_file(tensors, path)
    sign(folder)
    assert "float16" in refused(folder)


def test_a_bank_that_float16_cannot_hold_is_refused(folder):
    path = folder / "bank.safetensors"
    tensors = safetensors.torch.load_file(path)
    safetensors.torch.save_file(tensors | {"latents": tensors["latents"].float().fill_(1e6)}, path)
    sign(folder)
    assert "float16" in refused(folder)


def test_a_config_that_could_not_be_read_again_is_neither_written_nor_loaded(folder, vae):
    long = {f"\N{BLACK HEART SUIT}{i}": i for i in range(60_000)}  # longer in ASCII
    with pytest.raises(ValueError, match=r"nothing is written: config\.json would have"):
        hub.save(folder, Weights(vae, provenance=long))
    assert hub.load(folder).provenance == {"name": "sample"}
    config = json.loads((folder / "config.json").read_text()) | {"pool": long}
    config["sha256"]["config.json"] = config_checksum(config)
    (folder / "config.json").write_text(json.dumps(config, ensure_ascii=False, separators=(",", ":")), "utf-8")
    assert (folder / "config.json").stat().st_size < 1_000_000
    assert "could not be saved again" in refused(folder)


# what a terminal would obey


@pytest.mark.parametrize("text", ["\x1b[2J", "\x9b31m", "\r", "\u202e", "\ud800", "x" * 100_000])
def test_errors_show_a_strangers_text_escaped_and_short(folder, text):
    whole = (folder / "config.json").read_bytes()
    config = json.loads(whole)
    changes = [
        {text: 1},
        {"pool": {text: 1.5}},
        {"pool": {"a": [text]}},
        {"pool": [text]},
        {"gains": {text: -1}},
        {"gains": {"Noise": text}},
        {"metrics": {text: None}},
        {"sha256": config["sha256"] | {text: 1}},
        {"vae": config["vae"] | {text: 1}},
        {"vae": config["vae"] | {"size": text}},
        {"vae": config["vae"] | {"spatial": text}},
        {"vae": config["vae"] | {"width": 10**4000}},
        {"format_version": text},
    ]
    for change in changes:
        (folder / "config.json").write_text(json.dumps(config | change))
        message = refused(folder)
        assert message.isprintable()
        assert len(message) < 1000
    (folder / "config.json").write_bytes(whole)
    model = safetensors.torch.load_file(folder / "model.safetensors")
    if text.isascii():
        safetensors.torch.save_file(model | {text: torch.ones(1)}, folder / "model.safetensors")
        message = refused(folder)
        assert message.isprintable()
        assert len(message) < 1000


# configs that ask for memory

GREEDY = {
    "a table of the decoder, 900 channels": {"size": 256, "patch": 1, "neck": 900, "latent_dim": 1, "width": 1},
    "a table of the encoder, 64 channels": {"size": 1024, "patch": 4, "channels": 64},
    "a table of 309 GB": {"size": 1024, "patch": 1, "latent_dim": 4096, "width": 1, "spatial": True},
    "a hidden layer": {"size": 1024, "patch": 1, "width": 2048, "latent_dim": 1, "neck": 1},
    "the posterior": {"size": 1024, "patch": 1, "latent_dim": 40, "width": 1, "spatial": True},
    "patches of many channels": {"size": 1024, "patch": 64, "channels": 64, "width": 1, "latent_dim": 1, "neck": 1},
    "parameters": {"size": 1024, "patch": 2, "neck": 64, "latent_dim": 64, "width": 1},
}


@pytest.mark.parametrize("name", GREEDY)
def test_a_config_that_asks_for_memory_is_refused_at_once(folder, name):
    sign(folder, vae=VAEConfig().to_dict() | GREEDY[name])
    with at_once():
        assert "more than the" in refused(folder) or "shape" in refused(folder)


@pytest.mark.parametrize(
    "fields",
    [
        {"size": 64, "patch": 1, "latent_dim": 512, "width": 512, "neck": 1},  # 12.6 MB of weights
        {"size": 64, "patch": 1, "latent_dim": 256, "width": 512, "neck": 1},  # 6.3 MB
        {"size": 512, "patch": 64, "channels": 32, "latent_dim": 2048, "width": 1, "neck": 16},
        {"size": 896, "patch": 7, "channels": 1, "latent_dim": 8, "width": 2048, "neck": 3},
        {"size": 512, "patch": 1, "channels": 64, "latent_dim": 1, "width": 2, "neck": 1},
        {"size": 512, "patch": 1, "channels": 8, "latent_dim": 8, "width": 1, "neck": 1, "spatial": True},
    ],
    ids=range(6),
)
def test_a_small_model_needs_little_memory_in_the_transform(fields):
    code = f"""
import resource, torch
from vae_augment import VAE, VAEAugment, VAEConfig
torch.set_num_threads(1)
config = VAEConfig(**{fields!r})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
augment = VAEAugment(VAE(config).eval(), gain=1.0)
image = torch.zeros(config.channels, config.size, config.size)
assert augment(image).shape == image.shape
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1000)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1000, "megabytes"


# what is published


@pytest.fixture
def run_folder(folder, vae):
    """A folder as a run leaves it."""
    from train.card import run_card
    from train.pictures import contact_sheet

    contact_sheet(vae, IMAGES[:20], StandardNormal(vae.latent_shape)).save(folder / "samples.png")
    recipe = "data: folder:/home/me/secret clients/photos\nsteps: 5\n"
    command = "python -m train --data 'folder:/home/me/secret clients/photos' --out=/home/me/runs/a --root ~/data"
    (folder / "training.yaml").write_text(recipe)
    (folder / "README.md").write_text(run_card(hub.load(folder), "runs/a", folder, recipe, command))
    return folder


def test_paths_of_the_machine_are_not_published(run_folder):
    documents = read_documents(run_folder)
    others, card = published(documents, 28, originals=False)
    assert others["training.yaml"] == b"data: folder:photos\nsteps: 5\n"
    assert "/home" in (run_folder / "training.yaml").read_text(), "which the run goes on with"
    for text in (read_card(run_folder), str(card)):
        assert "python -m train --data folder:photos --out=a --root data`" in text
        assert "data: folder:photos\n" in text
        assert "home" not in text
        assert "secret" not in text
    old = read_card(run_folder).replace(
        "folder:photos", "folder:/home/me/secret/photos"
    )  # as an earlier version wrote it
    _, card = published(documents | {"README.md": old.encode()}, 28, originals=False)
    assert str(card) == read_card(run_folder).replace(f"{ORIGINALS}, ", "")


def test_held_out_originals_are_published_only_when_asked_for(run_folder, vae):
    from train.pictures import _picture, rows

    documents = read_documents(run_folder)
    others, card = published(documents, 28, originals=True)
    assert others["samples.png"] == documents["samples.png"]
    assert card.block.count(ORIGINALS) == 2
    others, card = published(documents, 28, originals=False)
    assert ORIGINALS not in card.block
    assert "Rows: reconstructions, augmentations" in card.block
    drawn = list(rows(vae, IMAGES[:20], StandardNormal(vae.latent_shape)).values())
    expected = _picture(torch.cat(drawn[1:]), 16)
    assert Image.open(io.BytesIO(others["samples.png"])).tobytes() == expected.tobytes()
    again, _ = published(others | {"README.md": str(card).encode()}, 28, originals=False)
    assert again["samples.png"] == others["samples.png"], "what was published loses no further row"
    own, _ = published(documents | {"README.md": b"Mine.\n"}, 28, originals=False)
    assert own["samples.png"] == others["samples.png"], "whatever the card says"


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
@pytest.mark.parametrize("originals", [False, True])
def test_of_a_picture_nothing_but_pixels_is_published(run_folder, mode, originals):
    picture = Image.open(run_folder / "samples.png").convert(mode)
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Author", "SECRET text")
    notes.add_text("Comment", "SECRET packed text", zip=True)
    if mode == "P":
        picture.info["transparency"] = 3
    picture.save(run_folder / "samples.png", pnginfo=notes, icc_profile=b"SECRET profile", dpi=(72, 72))
    with (run_folder / "samples.png").open("ab") as file:
        file.write(b"SECRET after the end")
    sent = published(read_documents(run_folder), 28, originals)[0]["samples.png"]
    chunks, place = [], 8
    while place < len(sent):
        chunks.append(sent[place + 4 : place + 8])
        place += 12 + int.from_bytes(sent[place : place + 4], "big")
    assert set(chunks) == {b"IHDR", b"IDAT", b"IEND"}
    assert chunks[-1] == b"IEND"
    assert place == len(sent)
    assert b"SECRET" not in sent
    with Image.open(io.BytesIO(sent)) as seen, Image.open(run_folder / "samples.png") as own:
        below = own.convert("RGBA").crop((0, own.height - seen.height, own.width, own.height))
        assert seen.convert("RGBA").tobytes() == below.tobytes()


def test_a_picture_of_ones_own_is_published_as_it_is(run_folder):
    Image.new("RGB", (100, 77)).save(run_folder / "samples.png")
    (run_folder / "README.md").write_text("Mine.\n")
    (run_folder / "training.yaml").write_text("data: sample\nsteps: 5\n")
    documents = read_documents(run_folder)
    assert published(documents, 28, originals=False)[0] == documents
    (run_folder / "README.md").write_text(read_card(hub.BUNDLED / "fashion-mnist"))
    with pytest.raises(WeightsError, match=r"held-out originals.*originals=True"):
        published(read_documents(run_folder), 28, originals=False)


def test_bundled_documents_can_be_published():
    for name in hub.bundled():
        others, card = published(read_documents(hub.BUNDLED / name), 28, originals=False)
        assert END not in card.block
        assert card.without_paths() == card
        assert Card.parse(str(card)) == card
        assert ("samples.png" in others) == (hub.BUNDLED / name / "samples.png").is_file()
