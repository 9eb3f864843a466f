"""Data sets in the Hub's own format: `--data hf:`."""

import pytest
import torch

from tests.photographs import photograph
from train import data as datasets
from vae_augment.images import hugging_face


@pytest.fixture
def saved(tmp_path):
    """A data set in the Hub's own format, with a column of something else before the images."""
    hf = pytest.importorskip("datasets", reason="the extra hf is not installed")
    labels = hf.ClassLabel(names=["boot", "shirt"])
    features = hf.Features({"caption": hf.Value("string"), "picture": hf.Image(), "kind": labels})
    rows = {
        "caption": [str(i) for i in range(20)],
        "picture": [photograph(i, (40, 30)) for i in range(20)],
        "kind": [i % 2 for i in range(20)],
    }
    hf.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def test_a_data_set_of_the_hub_is_read_with_its_image_column_found(saved, tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    for i in range(20):
        photograph(i, (40, 30)).save(files / f"{i:02}.png")
    data, same = datasets.load(f"hf:{saved}", 3, 32), datasets.load(f"folder:{files}", 3, 32)
    assert torch.equal(data.train, same.train)
    assert data.name == "images of saved", "no folders of this machine"
    assert data.test_labels is not None
    assert datasets.detect_channels(f"hf:{saved}") == 3


def test_rows_without_a_whole_image_are_named_and_left_out(tmp_path):
    hf = pytest.importorskip("datasets", reason="the extra hf is not installed")
    photograph(0, (40, 40)).save(tmp_path / "a.png")
    photograph(0, (40, 40)).save(tmp_path / "a.eps")
    whole, eps = (tmp_path / "a.png").read_bytes(), (tmp_path / "a.eps").read_bytes()
    for number, first in enumerate((None, whole[:-60], eps)):
        rows = {"picture": [first and {"bytes": first, "path": None}] + [{"bytes": whole, "path": None}] * 199}
        path = tmp_path / str(number)
        hf.Dataset.from_dict(rows, features=hf.Features({"picture": hf.Image()})).save_to_disk(path)
        assert datasets.detect_channels(f"hf:{path}") == 3
        with pytest.warns(UserWarning, match=r"1 of 200 images cannot be read: row 0 \([^<>]+\)\. They"):
            data = datasets.load(f"hf:{path}", 3, 32)
        assert len(data.train) + len(data.test) == 199


def test_a_column_of_lists_of_images_is_told(tmp_path):
    hf = pytest.importorskip("datasets", reason="the extra hf is not installed")
    features = hf.Features({"caption": hf.Value("string"), "views": hf.Sequence(hf.Image())})
    rows = {"caption": ["a"], "views": [[photograph(0, (9, 9)), photograph(1, (9, 9))]]}
    hf.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "views")
    with pytest.raises(
        ValueError, match="has lists of images in its column 'views', and no column with one image a row"
    ):
        hugging_face.open_dataset(str(tmp_path / "views"))


def test_the_home_folder_of_a_data_set_is_expanded(saved, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(datasets.load("hf:~/saved", 3, 32).train) == 18


def test_a_data_set_without_images_names_its_columns(tmp_path):
    hf = pytest.importorskip("datasets", reason="the extra hf is not installed")
    hf.Dataset.from_dict({"caption": ["a"], "length": [1]}).save_to_disk(tmp_path / "text")
    with pytest.raises(ValueError, match=r"no column of images, only caption, length"):
        hugging_face.open_dataset(str(tmp_path / "text"))


def test_a_data_set_that_is_not_there(tmp_path):
    pytest.importorskip("datasets", reason="the extra hf is not installed")
    with pytest.raises((OSError, ValueError), match="nothing"):
        hugging_face.open_dataset(str(tmp_path / "nothing"))
