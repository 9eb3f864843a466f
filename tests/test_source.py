"""Data sets by the name that a user types."""

import os

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms.v2 import functional as F

from vae_augment.demo_data import fashion_sample
from vae_augment.source import _image_of, open_source


@pytest.fixture
def photos(tmp_path):
    for part, class_name, grey in (("train", "cat", 10), ("train", "dog", 20), ("test", "dog", 30)):
        folder = tmp_path / "photos" / part / class_name
        folder.mkdir(parents=True)
        Image.new("RGB", (9, 7), (grey, 0, 0)).save(folder / "1.png")
    return tmp_path / "photos"


def test_a_folder_has_images_to_train_on_and_others_that_are_held_out(photos):
    train, test = open_source(str(photos)), open_source(f"folder:{photos}", test=True)
    assert (train.classes, train.targets, train.name) == (["cat", "dog"], [0, 1], "photos")
    assert [image.getpixel((0, 0)) for image, _ in (train[0], train[1], test[0])] == [
        (10, 0, 0),
        (20, 0, 0),
        (30, 0, 0),
    ]
    assert test.classes == ["dog"]


def test_an_image_of_no_class_is_an_error(photos):
    (photos / "train" / "lost.png").write_bytes((photos / "train" / "cat" / "1.png").read_bytes())
    with pytest.raises(ValueError, match="1 images have no class"):
        open_source(str(photos))


def test_the_shipped_sample(photos):
    images, labels = fashion_sample()
    source = open_source("sample")
    assert source.targets == labels.tolist()
    assert (F.pil_to_tensor(source[7][0]) == images[7]).all()
    with pytest.raises(ValueError, match="no images that are held out"):
        open_source("sample", test=True)


def test_a_folder_in_the_format_of_datasets(photos):
    pytest.importorskip("datasets")
    train, test = (open_source(f"hf:{photos}", test=test) for test in (False, True))
    assert (train.classes, train.targets) == (["cat", "dog"], [0, 1])
    assert test[0][0].getpixel((0, 0)) == (30, 0, 0)


def test_a_data_set_of_torchvision_is_not_downloaded(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"FashionMNIST is not under .*--root"):
        open_source("FashionMNIST", tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no data set 'nowhere'"):
        open_source("nowhere")


@pytest.mark.skipif("VAE_AUGMENT_DATA" not in os.environ, reason="real data sets are not here")
def test_fashion_mnist_of_torchvision():
    train = open_source("FashionMNIST")
    assert (len(train), train.classes[9], train.targets[0]) == (60_000, "Ankle boot", 9)
    assert len(open_source("FashionMNIST", test=True)) == 10_000


def test_a_picture_has_memory_of_its_own():
    pixels = np.zeros((1, 28, 28), np.uint8)
    views = [(Image.fromarray(one), 0) for one in pixels]  # as torchvision's MNIST makes them
    picture = _image_of(views, 0)
    pixels += 200
    assert views[0][0].getpixel((3, 3)) == 200
    assert picture.getpixel((3, 3)) == 0
