"""Which files of a folder are images to train on, and which labels their folders give them."""

import os
import warnings
from pathlib import Path

import pytest

from benchmarks import own_images
from tests.photographs import photograph, photographs
from train import data as datasets
from vae_augment.images import decode
from vae_augment.images import files as image_files


def test_images_beside_a_training_and_a_test_folder_are_of_neither(tmp_path):
    for part in ("Train", "dev"):
        photographs(tmp_path / part, 20)
    data = datasets.load(f"folder:{tmp_path}", 3, 32)
    assert (len(data.train), len(data.test)) == (20, 20)
    photograph(0, (40, 40)).save(tmp_path / "preview.jpg")
    with pytest.raises(ValueError, match="beside them single files: move those away, or name the folder to train on"):
        datasets.load(f"folder:{tmp_path}", 3, 32)


def test_labels_are_the_names_of_the_subfolders(tmp_path):
    data = datasets.load(f"folder:{photographs(tmp_path, 40)}", 3, 32)
    assert data.test_labels is not None
    assert set(data.test_labels.tolist()) == {0, 1}
    assert (len(data.train), len(data.test)) == (36, 4)


def test_a_flat_folder_has_no_labels(tmp_path):
    photographs(tmp_path, 20, classes=("",))
    assert datasets.load(f"folder:{tmp_path}", 3, 32).test_labels is None


def test_a_test_folder_is_held_out_and_labels_are_the_folders_in_it(tmp_path):
    photographs(tmp_path / "photos" / "train", 20)
    photographs(tmp_path / "photos" / "Test", 6)
    data = datasets.load(f"folder:{tmp_path / 'photos'}", 3, 32)
    train = datasets.load(f"folder:{tmp_path / 'photos' / 'train'}", 3, 32)
    assert (len(data.train), sorted(data.test_labels.tolist())) == (20, [0, 0, 0, 1, 1, 1])
    assert data.test_labels.tolist() != [0, 0, 0, 1, 1, 1], "in a random order, for pictures show the first"
    assert data.name == "training images of photos"
    same = {image.numpy().tobytes() for image in (*train.train, *train.test)}
    assert {image.numpy().tobytes() for image in data.train} == same


def test_a_train_folder_alone_is_no_class(tmp_path):
    photographs(tmp_path / "photos" / "train", 40)
    data = datasets.load(f"folder:{tmp_path / 'photos'}", 3, 32)
    assert (len(data.train), len(data.test), set(data.test_labels.tolist())) == (36, 4, {0, 1})


def test_a_test_folder_alone_is_not_trained_on(tmp_path):
    photographs(tmp_path / "photos" / "test")
    with pytest.raises(ValueError, match=r"all images of .*photos are held out, in test: .*photos/train"):
        datasets.load(f"folder:{tmp_path / 'photos'}", 3, 32)


def test_the_benchmark_of_own_images_takes_the_folders_that_training_takes(tmp_path):
    with pytest.raises(FileNotFoundError, match="none of the folders train, training"):
        own_images.parts(tmp_path)
    (tmp_path / "Train").mkdir()
    with pytest.raises(FileNotFoundError, match="none of the folders test, testing, val"):
        own_images.parts(tmp_path)
    for name in ("val", "test"):
        (tmp_path / name).mkdir()
        assert own_images.parts(tmp_path) == (tmp_path / "Train", tmp_path / name)


def test_links_are_followed_and_what_is_hidden_or_of_a_run_is_not_read(tmp_path):
    photographs(tmp_path / "elsewhere", 4)
    photographs(tmp_path / "photos", 4)
    (tmp_path / "photos" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "boot" / "back").symlink_to(tmp_path / "photos")  # round and round
    for name in (".thumbnails/a.png", "__MACOSX/b.png", "boot/._c.jpg", "runs/photos/samples.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(0, (30, 30)).save(path)
    (tmp_path / "photos" / "runs" / "photos" / "training.yaml").write_text("data: folder:photos")
    files = image_files.find_images(tmp_path / "photos", skip_folders_with="training.yaml")
    assert [path.relative_to(tmp_path / "photos").as_posix() for path in files] == [
        *("boot/0.jpg", "boot/2.jpg"),
        *("linked/boot/0.jpg", "linked/boot/2.jpg", "linked/shirt/1.jpg", "linked/shirt/3.jpg"),
        *("shirt/1.jpg", "shirt/3.jpg"),
    ]


def test_copies_that_photo_managers_keep_are_not_read(tmp_path):
    originals = ["originals/0/a.jpg", "Masters/2020/b.jpg", "originals/resources/c.jpg"]
    copies = ["resources/derivatives/0/a.jpg", "database/d.jpg", "Thumbnails/2020/b.jpg", "private/e.jpg"]
    outside = ["resources/f.jpg", "Catalog Previews.lrdata/0/g.jpg", "Smart Previews.LRDATA/h.jpg"]
    for name in [f"Photos Library.photoslibrary/{name}" for name in (*originals, *copies)] + outside:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        photograph(0, (30, 30)).save(tmp_path / name)
    for folder in (tmp_path, tmp_path / "Photos Library.photoslibrary"):
        found = {path.relative_to(tmp_path).as_posix() for path in image_files.find_images(folder)}
        expected = {f"Photos Library.photoslibrary/{name}" for name in originals}
        assert found == (expected | {"resources/f.jpg"} if folder == tmp_path else expected)


def test_folders_that_systems_make_are_left_out(tmp_path):
    photographs(tmp_path, 4)
    for name in (
        "@eaDir/0.jpg",
        "#recycle",
        "$RECYCLE.BIN/S-1-5",
        "System Volume Information",
        "lost+found",
        "@__thumb",
    ):
        path = tmp_path / "boot" / name / "SYNOPHOTO_THUMB_M.jpg"
        path.parent.mkdir(parents=True)
        photograph(0, (30, 30)).save(path)
    assert len(image_files.find_images(tmp_path)) == 4


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes among files")
def test_what_is_left_out_is_counted_and_told(tmp_path, monkeypatch):
    photographs(tmp_path, 4)
    for i in range(10):
        (tmp_path / f"{i}.HEIC").write_bytes(b"an image")
    (tmp_path / "a.nef").write_bytes(b"an image")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    closed, scan = tmp_path / "closed", os.scandir
    closed.mkdir()

    def scandir(path):
        if Path(path) == closed:  # the superuser of a test could read it
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(image_files, "formats", lambda: decode.FORMATS)
    with pytest.warns(UserWarning, match="left out") as warned:
        assert len(image_files.find_images(tmp_path)) == 4
    (message,) = (str(warning.message) for warning in warned)
    for part in (
        r"11 files are left out, of formats that are not read (.heic, .nef): pip install pillow-heif reads .heic, convert",
        f"1 folders cannot be read ({closed}): give this user the permission",
        f"1 links lead to no file ({tmp_path / 'gone.jpg'})",
    ):
        assert part in message


def test_what_is_left_out_is_told_once(tmp_path):
    (photographs(tmp_path) / "a.nef").write_bytes(b"an image")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert datasets.look(f"folder:{tmp_path}").channels == 3
        assert datasets.detect_channels(f"folder:{tmp_path}") == 3
    with pytest.warns(UserWarning, match=r"1 files are left out, of formats that are not read \(.nef\)"):
        datasets.load(f"folder:{tmp_path}", 3, 32)


def test_only_files_of_other_formats_are_told_with_the_remedy(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"an image")
    if decode.HEIF not in decode.formats():
        with pytest.raises(FileNotFoundError, match="pip install pillow-heif"):
            image_files.find_images(tmp_path)
