"""Data sets of files: what torchvision's loaders do to pictures is told."""

import warnings
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import default_loader
from torchvision.transforms.v2 import functional as F

from tests.conftest import FEW, IMAGES, LABELS
from vae_augment import LatentBank, SyntheticDataset, VAEAugment, load_weights


def test_pictures_that_lie_on_their_side_are_told(fitted, tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    for i, (image, label) in enumerate(FEW):
        (tmp_path / str(label)).mkdir(exist_ok=True)
        F.to_pil_image(image).save(tmp_path / str(label) / f"{i}.jpg", exif=turned)
    few, augment = ImageFolder(tmp_path), VAEAugment(fitted.vae, bank=fitted.bank)
    for read in (
        lambda: augment.fit(few),
        lambda: SyntheticDataset(few, augment=VAEAugment(fitted.vae, bank=fitted.bank)),
        lambda: LatentBank.from_images(fitted.vae, few),
    ):
        with pytest.warns(UserWarning, match=r"EXIF orientation.*exif_transpose"):
            read()
    upright = ImageFolder(tmp_path, loader=lambda file: ImageOps.exif_transpose(Image.open(file)).convert("RGB"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LatentBank.from_images(fitted.vae, upright)


def test_images_of_16_bits_that_torchvision_makes_white_are_told(tmp_path):
    for label in range(2):
        (tmp_path / str(label)).mkdir()
        for i in range(5):
            deep = IMAGES[label == LABELS][i, 0].numpy().astype(np.uint16) * 257
            Image.fromarray(deep).save(tmp_path / str(label) / f"{i}.png")
    weights = load_weights("fashion-mnist")

    def uses(base):
        VAEAugment(weights.vae, bank=weights.bank).fit(base)
        SyntheticDataset(base, augment=VAEAugment(weights.vae, bank=weights.bank))
        LatentBank.from_images(weights.vae, base)

    with pytest.warns(UserWarning, match="white of all values above 255") as told:
        uses(ImageFolder(tmp_path))
    white = [str(warning.message) for warning in told if "white of all values above 255" in str(warning.message)]
    assert len(white) == 3
    assert str(tmp_path) in white[0]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="white of all values above 255"):
            LatentBank.from_images(weights.vae, ImageFolder(tmp_path))

    def loader(file):
        return Image.fromarray((np.asarray(Image.open(file)) * (255 / 65535)).astype("uint8"))

    seen, _ = ImageFolder(tmp_path, loader=loader)[0]
    assert torch.equal(F.pil_to_tensor(seen), IMAGES[LABELS == 0][0])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        uses(ImageFolder(tmp_path, loader=loader))
    assert not any("white" in str(warning.message) for warning in told)


def test_files_that_a_data_set_only_names_end_no_fit(tmp_path):
    class Elsewhere(list):
        loader = staticmethod(default_loader)
        samples: ClassVar = [("a\0b", 0), ("\ud800x", 1), (str(tmp_path / "gone.png"), 0), (str(tmp_path), 1)] * 5

    augment = VAEAugment.from_pretrained("fashion-mnist")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        augment.fit(Elsewhere(FEW[:20]))
    assert not any("white" in str(warning.message) for warning in told)
