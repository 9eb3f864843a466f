"""Files of images: how they are decoded, and what is told of those that cannot be."""

import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import PIL.Image
import PIL.ImageOps
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from tests.photographs import photograph, photographs
from train import data as datasets
from vae_augment.images import decode, upright
from vae_augment.images import files as image_files


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


def test_more_than_one_per_cent_of_broken_images_is_an_error(tmp_path):
    photographs(tmp_path, 50)
    for name in ("0", "10"):
        (tmp_path / "boot" / f"{name}.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"cannot be read: .*\.jpg.*more than 1 %"):
        datasets.load(f"folder:{tmp_path}", 3, 32)


def test_channels_are_those_of_the_images(tmp_path):
    photographs(tmp_path / "colour")
    photograph(0, (30, 30)).convert("L").save(tmp_path / "grey.png")
    assert datasets.detect_channels(f"folder:{tmp_path / 'colour'}") == 3
    assert decode.detect_channels([tmp_path / "grey.png"]) == 1


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
