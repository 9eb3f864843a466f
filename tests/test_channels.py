"""Images of other channels than grey and colour, as of satellites and microscopes: tensors of 1 to 64, end to end."""

import copy
import re

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch.utils.data import TensorDataset

from tests.conftest import IMAGES, LABELS
from train import arrays
from train import data as datasets
from train.__main__ import main
from vae_augment import VAE, LatentBank, SyntheticDataset, VAEAugment, VAEConfig, Weights, hub
from vae_augment.images import pair_up

MANY = [4, 13]


def bands(channels: int, count: int = 60) -> torch.Tensor:
    """Garments seen in so many bands, uint8 `(N, C, 28, 28)`: each a little darker and shifted."""
    images = IMAGES[:count]
    return torch.cat([(images * (1 - 0.5 * i / channels)).byte().roll(i % 3, -1) for i in range(channels)], 1)


@pytest.fixture(scope="module", params=MANY)
def trained(request, tmp_path_factory):
    """A short run on an array of images."""
    folder = tmp_path_factory.mktemp("run")
    np.save(folder / "bands.npy", bands(request.param).numpy())
    data, out = f"array:{folder / 'bands.npy'}", str(folder / "run")
    short = ["--size", "28", "--steps", "20", "--batch_size", "16", "--bank_size", "40", "--wandb", "disabled"]
    main(["--data", data, *short, "--out", out])
    return folder / "run", request.param


def test_a_run_on_an_array_makes_weights_of_its_channels(trained):
    folder, channels = trained
    weights = hub.load(folder)
    assert weights.vae.config.channels == channels
    assert len(weights.bank) == 40
    assert weights.provenance["name"] == "images of bands"
    assert yaml.safe_load((folder / "training.yaml").read_text())["data"].startswith("array:")
    card = (folder / "README.md").read_text()
    assert "--data array:bands.npy" in card
    assert str(folder.parent) not in card.replace("from_pretrained", "").partition("## Recipe")[2]
    with Image.open(folder / "samples.png") as picture:
        assert picture.mode == "RGB"


def test_images_of_many_channels_are_varied_in_their_own_kind_and_size(trained):
    folder, channels = trained
    augment, images = VAEAugment.from_pretrained(folder), bands(channels, 6)
    larger = torch.nn.functional.interpolate(images / 255, size=(50, 37))
    for image in (images[0], images, images / 255, larger, larger[0], images.view(2, 3, channels, 28, 28)):
        torch.manual_seed(0)
        new = augment(image)
        assert (new.shape, new.dtype) == (image.shape, image.dtype)
        assert not torch.equal(new, image)
    lone = [new.clone() for new in augment.vary_all(list(images))]
    assert all(new.shape == images[0].shape for new in lone)
    augment.strength = 0
    assert torch.equal(augment(images), images)


def test_a_fit_and_its_data_set_make_images_of_many_channels(trained, tmp_path):
    folder, channels = trained
    few = TensorDataset(bands(channels, 50), LABELS[:50])
    augment = VAEAugment.from_pretrained(folder).fit(few)
    assert augment.sample([0, 1]).shape == (2, channels, 28, 28)
    augment.save_fit(tmp_path / "fit.safetensors")
    again = VAEAugment.from_pretrained(folder).load_fit(tmp_path / "fit.safetensors")
    torch.manual_seed(0)
    first = augment.sample([3])
    torch.manual_seed(0)
    assert torch.equal(again.sample([3]), first)
    dataset = SyntheticDataset(few, 0.5, augment)
    image, label = dataset[len(dataset) - 1]
    assert image.shape == (channels, 28, 28)
    assert image.dtype == torch.uint8
    assert int(label) in range(10)


@pytest.mark.parametrize(("channels", "spatial"), [(4, False), (4, True), (13, False), (13, True), (64, True)])
def test_a_bank_and_weights_of_many_channels_are_saved_whole(channels, spatial, tmp_path):
    torch.manual_seed(0)
    vae = VAE(VAEConfig(channels=channels, size=28, latent_dim=4, spatial=spatial, patch=7, width=16, neck=4))
    bank = LatentBank.from_images(vae, bands(channels, 30))
    hub.save(tmp_path / "a", Weights(vae, bank))
    loaded = hub.load(tmp_path / "a")
    assert loaded.vae.fingerprint() == vae.fingerprint()
    assert all(torch.equal(a.neighbours, b.neighbours) for a, b in zip(loaded.bank.views, bank.views, strict=True))


def test_more_than_64_channels_and_others_than_the_weights_are_refused(trained, tmp_path):
    folder, channels = trained
    with pytest.raises(ValueError, match=r"VAEConfig.channels must be from 1 to 64, got 65"):
        VAEConfig(channels=65)
    augment = VAEAugment.from_pretrained(folder)
    for wrong in (torch.rand(channels + 1, 28, 28), torch.rand(3, 28, 28), Image.new("RGB", (28, 28))):
        with pytest.raises(ValueError, match=rf"trained on {channels}-channel images, got \d+ channels"):
            augment(wrong)
    with pytest.raises(ValueError, match=r"put them first: image\.movedim"):
        augment(torch.rand(28, 28, channels))
    with pytest.raises(ValueError, match="channels"):
        VAEAugment.from_pretrained(folder).fit(TensorDataset(bands(3, 20), LABELS[:20]))
    with pytest.raises(ValueError, match=r"no bundled weights fit images of shape \(\d+, 28, 28\)"):
        SyntheticDataset(TensorDataset(bands(channels, 20), LABELS[:20]), 1.0)
    with pytest.raises(ValueError, match=f"an encoder sees images of 1 or 3 channels, got {channels}"):
        LatentBank.from_images(augment.vae, bands(channels, 20), features=lambda x: x.mean((2, 3)))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((9, 65, 80, 80), np.uint8), "channels must be from 1 to 64, got 65"),
        (np.zeros((9, 16, 16, 5), np.uint8), "channels came last"),
        (np.zeros((9, 4, 16, 16), np.uint16), "uint16: images are uint8 in 0..255 or floats"),
        (np.zeros((9, 4), np.uint8), r"has shape \(9, 4\)"),
        (np.full((9, 4, 16, 16), 7.0), "in \\[0, 1\\]"),
        (np.full(9, None), "no array of numbers"),
    ],
)
def test_arrays_that_are_no_images_are_one_clear_error(array, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", array)
    with pytest.raises(SystemExit) as ended:
        main(["--data", "array:a.npy", "--size", "16", "--out", "run", "--wandb", "disabled"])
    assert re.search(message, str(ended.value.code) + capsys.readouterr().err)


def test_an_array_is_read_as_its_images_are(tmp_path):
    images = bands(5, 20)
    stored = {"bytes": images.numpy(), "floats": (images / 255).numpy(), "big": (images / 255).numpy().astype(">f4")}
    for name, array in stored.items():
        np.save(tmp_path / f"{name}.npy", array)
        data = datasets.load(f"array:{tmp_path / name}.npy", 5, 28)
        assert len(data.train) == 18
        assert set(map(bytes, torch.cat([data.train, data.test]).numpy())) == set(map(bytes, images.numpy()))
    np.save(tmp_path / "grey.npy", images[:, 0].numpy())
    look = datasets.look(f"array:{tmp_path / 'grey.npy'}")
    assert (look.images, look.channels, look.side) == (20, 1, 28)
    assert look.background > 0.4
    with pytest.raises(ValueError, match=r"have 5 channels, and the model 3"):
        arrays.read_array(tmp_path / "bytes.npy", 3, 28, tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        datasets.look(f"array:{tmp_path / 'nowhere.npy'}")


@pytest.mark.parametrize("channels", MANY)
def test_arrays_beside_labels_have_their_channels_at_the_end_that_is_less(channels):
    images = bands(channels, 5)
    for array in (images.numpy(), images.movedim(1, -1).numpy()):
        pairs, *_ = pair_up(array, [0, 1, 0, 1, 0])
        assert all(torch.equal(pairs[i][0], images[i]) for i in range(5))


def test_a_copy_of_a_transform_keeps_its_channels(trained):
    folder, channels = trained
    assert copy.deepcopy(VAEAugment.from_pretrained(folder))(bands(channels, 2)).shape == (2, channels, 28, 28)
