"""Images of one's own: folders in any layout, more than fits into memory."""

import os
import struct
import subprocess
import sys
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import PIL.Image
import PIL.ImageOps
import pytest
import torch
import yaml
from torchvision.datasets import Flowers102
from torchvision.transforms.v2 import functional as F

from benchmarks import own_images
from tests.conftest import IMAGES, LABELS
from tests.photographs import photograph, photographs
from tests.running import python_m_train
from train import data as datasets
from train.__main__ import main
from train.recipes import RECIPES, recipe_for_images
from vae_augment import VAEAugment, hub
from vae_augment.demo_data import fashion_sample
from vae_augment.engine import How
from vae_augment.images import decode, upright
from vae_augment.images import files as image_files
from vae_augment.strength import RHO


@pytest.mark.parametrize("form", ["MNIST", "CIFAR10"])
def test_a_data_set_of_torchvision_is_one_row_of_the_table(form, monkeypatch):
    grey, colour = IMAGES[:50, 0], IMAGES[:50].repeat(1, 3, 1, 1)

    class Garments:
        def __init__(self, root, train, download=False):
            pixels = grey if form == "MNIST" else colour.permute(0, 2, 3, 1).numpy()
            self.data = pixels[:40] if train else pixels[40:]
            self.targets = LABELS[40:50] if form == "MNIST" else LABELS[40:50].tolist()

    monkeypatch.setitem(datasets.TORCHVISION, "garments", Garments)
    data = datasets.load("garments", 1 if form == "MNIST" else 3, 28)
    assert torch.equal(torch.cat([data.train, data.test]), grey[:, None] if form == "MNIST" else colour)
    assert torch.equal(data.test_labels, LABELS[40:50])
    assert data.name == "Garments training images"


@pytest.fixture
def flowers102(tmp_path, monkeypatch):
    """Torchvision's files of Flowers102, of two photographs a split."""
    savemat = pytest.importorskip("scipy.io").savemat
    folder = tmp_path / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    for i in range(1, 7):
        photograph(i, (50, 40)).save(folder / "jpg" / f"image_{i:05d}.jpg")
    savemat(folder / "setid.mat", {"trnid": [[5, 6]], "valid": [[1, 2]], "tstid": [[3, 4]]})
    savemat(folder / "imagelabels.mat", {"labels": [[1, 2, 1, 2, 1, 2]]})
    monkeypatch.setattr(Flowers102, "_check_integrity", lambda self: True)
    return tmp_path


def test_flowers_are_trained_on_two_splits_of_torchvision_and_measured_on_the_third(flowers102):
    data = datasets.load("flowers", 3, 64, str(flowers102))
    assert data.name == "Flowers102 training images"
    assert (data.train.shape, data.test.shape) == ((4, 3, 64, 64), (2, 3, 64, 64))
    assert data.test_labels.tolist() == [0, 1]
    expected, _, _ = decode.read_images(
        [flowers102 / "flowers-102" / "jpg" / f"image_0000{i}.jpg" for i in (5, 6, 1, 2, 3, 4)],
        decode.open_image, 3, 64, flowers102,
    )  # fmt: skip
    assert torch.equal(torch.cat([data.train, data.test]), expected)


def test_a_library_that_reads_a_data_set_and_is_missing_is_named(flowers102, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(FileNotFoundError, match=r"Flowers102 is read with scipy.*pip install scipy"):
        datasets.load("flowers", 3, 64, str(flowers102))


@pytest.mark.parametrize("name", ["cifar10", "flowers"])
def test_a_recipe_for_photographs_is_that_of_the_bundled_weights(name):
    recipe, weights = RECIPES[name], hub.load(name)
    assert recipe.data == name
    assert recipe.vae == weights.vae.config
    assert 0.99 * recipe.bank_size < len(weights.bank) <= recipe.bank_size  # less near copies


def test_every_kind_of_image_file_is_read(tmp_path):
    colour = photograph(0, (50, 40))
    for mode in ("L", "RGB", "RGBA", "P", "CMYK", "1", "LA"):
        suffix = "tiff" if mode == "CMYK" else "png"
        colour.convert("L").convert(mode).save(tmp_path / f"{mode}.{suffix}")
    colour.save(tmp_path / "moving.gif", save_all=True, append_images=[photograph(5, (50, 40))])
    colour.save(tmp_path / "b.webp", lossless=True)
    files = image_files.find_images(tmp_path)
    assert len(files) == 9
    assert image_files.labels_and_held_out(files, tmp_path) == ([None] * 9, [])
    images, kept, broken = decode.read_images(files, PIL.Image.open, 3, 32, tmp_path)
    assert images.shape == (9, 3, 32, 32)
    assert kept == list(range(9))
    assert broken == []
    expected = F.resize(F.pil_to_tensor(colour), [32, 32], antialias=True)
    for name in ("moving.gif", "b.webp"):
        got = images[[file.name for file in files].index(name)]
        assert (got.float() - expected.float()).abs().mean() < 6  # a GIF has 256 colours


def test_a_photograph_is_turned_upright(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees to look at it
    photograph(0, (40, 40)).save(tmp_path / "a.png", exif=exif)
    (image,), _, _ = decode.read_images([tmp_path / "a.png"], PIL.Image.open, 3, 40, tmp_path)
    assert torch.equal(image, F.pil_to_tensor(photograph(0, (40, 40)).rotate(-90)))


def test_images_beside_a_training_and_a_test_folder_are_of_neither(tmp_path):
    for part in ("Train", "dev"):
        photographs(tmp_path / part, 20)
    data = datasets.load(f"folder:{tmp_path}", 3, 32)
    assert (len(data.train), len(data.test)) == (20, 20)
    photograph(0, (40, 40)).save(tmp_path / "preview.jpg")
    with pytest.raises(ValueError, match="beside them single files: move those away, or name the folder to train on"):
        datasets.load(f"folder:{tmp_path}", 3, 32)


def test_a_folder_given_as_a_name_is_told(tmp_path):
    with pytest.raises(ValueError, match="write folder:"):
        datasets.load(str(tmp_path), 3, 32)


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


def test_a_run_is_named_after_the_folder_wherever_it_is_named_from(tmp_path, monkeypatch):
    (tmp_path / "photos" / "boot").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "photos" / "boot")
    for name in ("folder:..", "folder:../", f"folder:{tmp_path}/photos", "hf:me/photos", "hf:.."):
        assert datasets.short_name(name) == "photos"
    assert datasets.short_name("folder:.") == "boot"
    assert datasets.short_name("mnist") == ""


@pytest.mark.parametrize("held_out", [False, True])
def test_broken_images_are_named_and_left_out(held_out, tmp_path):
    files = image_files.find_images(photographs(tmp_path, 200))
    file = next(file for i, file in enumerate(files) if (i in datasets._held_out_tenth(200)) is held_out)
    file.write_bytes(file.read_bytes()[:300])
    with pytest.warns(UserWarning, match=rf"1 of 200 images cannot be read: .*{file.name}.*left out"):
        data = datasets.load(f"folder:{tmp_path}", 3, 32)
    assert (len(data.train), len(data.test)) == ((180, 19) if held_out else (179, 20))


def test_a_file_whose_header_is_no_number_is_named(tmp_path):
    photographs(tmp_path, 200)
    (tmp_path / "boot" / "0.jpg").unlink()
    (tmp_path / "boot" / "bad.ppm").write_bytes(b"P6\n4x 10\n255\n")
    with pytest.warns(UserWarning, match=r"1 of 200 images cannot be read: .*bad\.ppm"):
        datasets.load(f"folder:{tmp_path}", 3, 32)


def test_strength_is_measured_on_images_of_all_classes_however_the_files_lie(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, labels = fashion_sample()
    for i, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        for copy in range(4):  # so that the first thousand are of two classes
            path = Path("garments") / str(label) / f"{i}-{copy}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            F.to_pil_image(image).save(path)
    size = ["--size", "28", "--vae.spatial", "false", "--vae.latent_dim", "16", "--vae.width", "32", "--bank_size", "0"]
    main(["--data", "folder:garments", *size, "--steps", "150", "--out", "run", "--wandb", "disabled"])
    augment = VAEAugment.from_pretrained("run")
    x = images / 255
    change = augment._engine.vary(x, augment._engine.plan(len(x), How(), None), How()).square().mean()
    assert (change / (x - x.roll(1, 0)).square().mean()).sqrt().item() == pytest.approx(RHO**0.5, rel=0.1)


def test_more_than_one_per_cent_of_broken_images_is_an_error(tmp_path):
    photographs(tmp_path, 50)
    for name in ("0", "10"):
        (tmp_path / "boot" / f"{name}.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"cannot be read: .*\.jpg.*more than 1 %"):
        datasets.load(f"folder:{tmp_path}", 3, 32)


def test_more_than_fits_into_memory_is_read_the_same(tmp_path, monkeypatch):
    photographs(tmp_path / "photos")
    inside = datasets.load(f"folder:{tmp_path / 'photos'}", 3, 32)
    monkeypatch.setenv("VAE_AUGMENT_MEMORY", "1000")
    outside = datasets.load(f"folder:{tmp_path / 'photos'}", 3, 32, str(tmp_path / "scratch"))
    assert torch.equal(inside.train, outside.train)
    assert inside.provenance() == outside.provenance()
    assert "scratch/images-" in Path("/proc/self/maps").read_text()
    assert not list((tmp_path / "scratch").iterdir())  # nothing is left behind


@pytest.mark.parametrize(("size", "patch"), [(28, 2), (32, 2), (64, 4), (96, 6), (128, 8), (224, 14), (48, 3), (50, 5)])
def test_patches_fit_the_size(size, patch):
    assert recipe_for_images("folder:x", 3, size).vae.patch == patch


def test_a_size_without_patches_names_one_that_has(tmp_path):
    photographs(tmp_path)
    with pytest.raises(SystemExit, match=r"size 61 .*take 64"):
        main(["--data", f"folder:{tmp_path}", "--size", "61"])
    with pytest.raises(SystemExit, match=r"size 2000 .*take 1024"):
        main(["--data", f"folder:{tmp_path}", "--size", "2000"])


def test_channels_are_those_of_the_images(tmp_path):
    photographs(tmp_path / "colour")
    photograph(0, (30, 30)).convert("L").save(tmp_path / "grey.png")
    assert datasets.detect_channels(f"folder:{tmp_path / 'colour'}") == 3
    assert decode.detect_channels([tmp_path / "grey.png"]) == 1


def test_one_command_trains_on_a_folder(tmp_path):
    photographs(tmp_path / "photos")
    command = [sys.executable, "-m", "train", "--data", "folder:photos", "--size", "32", "--steps", "20"]
    subprocess.run([*command, "--wandb", "disabled"], cwd=tmp_path, check=True, capture_output=True)
    augment = VAEAugment.from_pretrained(tmp_path / "runs" / "photos")
    assert augment.vae.latent_shape == (4, 16, 16)
    varied = augment(F.pil_to_tensor(photograph(3, (50, 70))))
    assert varied.shape == (3, 70, 50)


def header_of_png(side: int) -> bytes:
    """A PNG that says it has so many pixels a side, and holds none."""
    ihdr = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", ihdr), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [13_000, 20_000, 60_000])
def test_an_image_too_large_to_decode_is_named_and_left_out(side, tmp_path):
    photographs(tmp_path, 120)
    (tmp_path / "boot" / "0.jpg").unlink()
    (tmp_path / "boot" / "00.png").write_bytes(header_of_png(side))  # the first that channels are told by
    assert datasets.detect_channels(f"folder:{tmp_path}") == 3
    with pytest.warns(UserWarning, match=r"1 of 120 images cannot be read: .*00\.png \(.*pixels.*left out"):
        data = datasets.load(f"folder:{tmp_path}", 3, 32)
    assert len(data.train) + len(data.test) == 119


def test_formats_that_start_programs_are_not_read_whatever_their_name(tmp_path, monkeypatch):
    photograph(0, (40, 40)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")

    def started(*_, **__):
        raise AssertionError("Ghostscript")

    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", started)
    _, kept, (broken,) = decode.read_images([tmp_path / "a.png"], decode.open_image, 3, 32, tmp_path)
    assert kept == []
    assert "cannot identify image file" in broken


def test_a_jpeg_is_judged_at_the_size_it_is_decoded_at(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "MAX_PIXELS", 12_000)
    monkeypatch.setattr(decode, "MAX_JPEG_PIXELS", 200_000)
    large = photograph(0, (400, 400))
    large.save(tmp_path / "1.jpg")  # 100x100 at a quarter
    large.save(tmp_path / "2.jpg", progressive=True)
    large.save(tmp_path / "3.png")
    photograph(0, (500, 500)).save(tmp_path / "4.jpg")
    files = image_files.find_images(tmp_path)
    _, kept, broken = decode.read_images(files, decode.open_image, 3, 32, tmp_path)
    assert kept == [0]
    assert ["400x400 pixels are more than the 12,000 that are read: scale it down" in text for text in broken] == [
        1,
        1,
        0,
    ]
    assert "500x500 pixels are more than the 200,000" in broken[2]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "CMYK"])
def test_a_large_image_is_reduced_first_and_looks_the_same(mode, tmp_path, monkeypatch):
    file = tmp_path / "a.tiff"
    photograph(0, (401, 307)).convert("L").convert(mode).save(file)
    (whole,), _, _ = decode.read_images([file], decode.open_image, 3, 32, tmp_path)
    monkeypatch.setattr(decode, "REDUCED_PIXELS", 1000)
    (reduced,), kept, _ = decode.read_images([file], decode.open_image, 3, 32, tmp_path)
    assert kept == [0]
    assert (whole.float() - reduced.float()).abs().mean() < 4  # grey levels; it is blurred a little


def test_threads_decode_no_more_pixels_at_a_time_than_memory_has(monkeypatch):
    budget, at_once, most = decode.PixelBudget(100), [], []

    def decoded(pixels):
        with budget.taking(pixels):
            at_once.append(pixels)
            most.append(sum(at_once))
            time.sleep(0.002)
            at_once.remove(pixels)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decoded, [30, 40, 60, 1000, 90, 5] * 5))
    assert max(value for value in most if value != 1000) <= 100


def damaged_exif(file: Path) -> None:
    """Put an eXIf chunk that is no TIFF before the pixels of a PNG."""
    body = b"\0\x08\0\x02\x01\x12\0\x03"
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
    content = file.read_bytes()
    place = content.index(b"IDAT") - 4
    file.write_bytes(content[:place] + chunk + content[place:])


def test_an_image_of_damaged_metadata_is_read_as_it_lies(tmp_path):
    photograph(0, (40, 40)).save(tmp_path / "a.png")
    damaged_exif(tmp_path / "a.png")
    with pytest.raises(SyntaxError):
        PIL.Image.open(tmp_path / "a.png").getexif()
    (image,), _, _ = decode.read_images([tmp_path / "a.png"], decode.open_image, 3, 40, tmp_path)
    assert torch.equal(image, F.pil_to_tensor(photograph(0, (40, 40))))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "webp"])
def test_upright_is_what_pil_makes_of_an_orientation(orientation, suffix, tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    photograph(0, (40, 30)).save(tmp_path / f"a.{suffix}", exif=exif)
    image, same = (decode.open_image(tmp_path / f"a.{suffix}") for _ in range(2))
    assert torch.equal(F.pil_to_tensor(upright(image)), F.pil_to_tensor(PIL.ImageOps.exif_transpose(same)))


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P", "RGB", "L"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_lies_under_transparent_pixels_is_not_seen(kind, channels, tmp_path):
    noise = torch.randint(0, 255, (4, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    options = {}
    if kind in ("RGBA", "LA"):
        noise[3] = 0
        image = F.to_pil_image(noise).convert(kind)
    elif kind == "P":  # palette entries that are transparent
        image = F.to_pil_image(noise[:3]).convert("P")
        options["transparency"] = bytes(256)
    else:  # one colour that is transparent
        image = PIL.Image.new(kind, (40, 40), 77 if kind == "L" else (1, 2, 3))
        options["transparency"] = 77 if kind == "L" else (1, 2, 3)
    image.save(tmp_path / "a.png", **options)
    (image,), _, _ = decode.read_images([tmp_path / "a.png"], decode.open_image, channels, 32, tmp_path)
    assert (image == 255).all()


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


QUICK = ["--size", "32", "--steps", "6", "--bank_size", "0", "--wandb", "disabled"]


def test_a_folder_whose_name_is_not_utf8_trains_and_resumes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = os.fsdecode(b"caf\xe9")
    photographs(tmp_path / "photos", classes=("",))
    (tmp_path / "photos").rename(folder)
    main(["--data", f"folder:{folder}", *QUICK])
    (run,) = (tmp_path / "runs").iterdir()
    assert r"images of caf\xe9" in capsys.readouterr().out
    for name in ("README.md", "config.json", "training.yaml"):
        assert rb"caf\xe9" in (run / name).read_bytes().replace(rb"\\", b"\\")
    main(["--resume", str(run), "--wandb", "disabled"])
    main(["--config", str(run / "training.yaml"), "--out", os.fsdecode(b"run \xff"), "--wandb", "disabled"])
    assert rb'from_pretrained("run \\xff")' in Path(os.fsdecode(b"run \xff"), "README.md").read_bytes()


def test_a_terminal_in_ascii_trains_and_resumes_on_any_folder(tmp_path):
    photographs(tmp_path / "照片", classes=("",))
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    python_m_train("--data", "folder:照片", *QUICK, cwd=tmp_path, env=ascii_only)
    python_m_train("--resume", "runs/照片", "--wandb", "disabled", cwd=tmp_path)
    assert yaml.safe_load((tmp_path / "runs/照片/training.yaml").read_text())["data"] == "folder:照片"


def test_no_home_folder_is_needed(tmp_path, monkeypatch):
    photographs(tmp_path / "photos")

    def expanduser(path):
        if str(path).startswith("~"):
            raise RuntimeError("Could not determine home directory.")
        return path

    monkeypatch.setattr(Path, "expanduser", expanduser)
    assert len(datasets.load(f"folder:{tmp_path / 'photos'}", 3, 32).train) == 18
    with pytest.raises(ValueError, match="no home folder is known here"):
        datasets.load("folder:~/photos", 3, 32)


def test_a_run_goes_on_with_the_same_images_wherever_they_lie(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photographs(tmp_path / "one")
    main(["--data", "folder:one", *QUICK, "--out", "run"])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    main(["--resume", "../run", "--wandb", "disabled"])
    (tmp_path / "one").rename(tmp_path / "two")
    with pytest.raises(SystemExit, match="there is no folder one"):
        main(["--resume", "../run", "--wandb", "disabled"])
    main(["--resume", "../run", "--data", "folder:../two", "--wandb", "disabled"])
    monkeypatch.chdir(tmp_path)
    main(["--resume", "run", "--wandb", "disabled"])
    photographs(tmp_path / "others", classes=("glove",))
    with pytest.raises(SystemExit, match=r"other images than these .* with --data folder:PATH"):
        main(["--resume", "run", "--data", "folder:others", "--wandb", "disabled"])
