"""Samples as the libraries around give them: lists of images, mappings, masks beside images, metadata, odd tensors."""

import re
import warnings
from collections import UserDict
from typing import NamedTuple

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from tests.conftest import FEW, IMAGES, LABELS
from vae_augment import SyntheticDataset, VAEAugment
from vae_augment.jitter import LocalNoise, Noise, PosteriorSample

PICTURES = [F.to_pil_image(image) for image in IMAGES[:4]]


def levels(image):
    return np.asarray(image).astype(int)


def test_a_batch_as_a_list_of_images_is_replaced_by_its_labels(fitted):
    """As Hugging Face data sets give it: `dataset.with_transform(fitted)[:3]`."""
    for sample in (
        {"image": PICTURES, "label": [9, 9, 1, 1]},
        (PICTURES, [9, 9, 1, 1]),
        (list(IMAGES[:4]), LABELS[:4]),
    ):
        made = fitted(sample)
        images = made["image"] if isinstance(made, dict) else made[0]
        assert [type(image) for image in images] == [
            type(image)
            for image in next(iter(dict(enumerate(sample.values() if isinstance(sample, dict) else sample)).values()))
        ]
    torch.manual_seed(0)
    images, _ = fitted(PICTURES, [9, 9, 1, 1])
    torch.manual_seed(0)
    each = fitted.vary_all(PICTURES, [9, 9, 1, 1])
    assert all(np.array_equal(a, b) for a, b in zip(images, each, strict=True))
    with pytest.raises(ValueError, match="no such class"):
        fitted(PICTURES, [0, 1, 2, 77])
    with pytest.raises(TypeError, match="comes before MixUp"):
        fitted(PICTURES, [0, 1])


@pytest.mark.parametrize("kind", ["fitted", "plain"])
def test_any_mapping_is_a_sample(fitted, kind):
    augment = fitted if kind == "fitted" else VAEAugment(fitted.vae, gain=1.0)
    out = augment(UserDict(image=PICTURES[0], label=3, name="a"))
    assert isinstance(out, dict)
    assert list(out) == ["image", "label", "name"]
    assert not np.array_equal(levels(out["image"]), levels(PICTURES[0]))


def test_rows_of_a_hugging_face_data_set(fitted):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})
    rows = datasets.Dataset.from_dict({"image": PICTURES, "label": [9, 0, 0, 3]}, features=features)
    for augment in (fitted, VAEAugment(fitted.vae, gain=1.0)):
        shown = rows.with_transform(augment)
        assert [image.size for image in shown[:3]["image"]] == [(28, 28)] * 3
        mapped = rows.map(augment)
        assert mapped[0]["label"] == 9
        assert not np.array_equal(levels(mapped[0]["image"]), levels(PICTURES[0]))


def test_a_second_picture_is_not_moved(augment):
    mask = F.to_pil_image((IMAGES[1] > 0).to(torch.uint8))

    class Pair(NamedTuple):
        image: PIL.Image.Image
        target: PIL.Image.Image

    for mode in ("L", "P", "1", "I"):
        beside = mask.convert(mode)
        for sample in ((PICTURES[0], beside), Pair(PICTURES[0], beside), {"mask": beside, "image": PICTURES[0]}):
            out = augment(sample)
            assert type(out) is type(sample)
            image, same = (out["image"], out["mask"]) if isinstance(out, dict) else out
            assert same is beside
            assert not np.array_equal(levels(image), levels(PICTURES[0]))
    assert augment(PICTURES[0], mask)[1] is mask
    assert all(out is not picture for out, picture in zip(augment(PICTURES), PICTURES, strict=True)), (
        "a list is a batch"
    )


def test_what_pil_keeps_of_an_image_is_kept(augment, fitted):
    image = PICTURES[0].convert("RGB")
    exif = image.getexif()
    exif[0x0112] = 6
    image.info |= {"icc_profile": b"profile", "exif": exif.tobytes(), "dpi": (72, 72)}
    kept = v2.functional.horizontal_flip(image).info
    for out in (augment(image), fitted(image, 3)[0], augment.vary_all([image])[0], augment(image.convert("RGBA"))):
        assert out.info == kept
        assert out.getexif()[0x0112] == 6
    assert image.info == kept


def test_images_without_pixels_come_back(augment, fitted):
    for empty in (PIL.Image.new("L", (0, 28)), PIL.Image.new("RGB", (28, 0))):
        assert augment(empty) is empty
        assert fitted(empty, 3)[0] is empty
        assert augment.vary_all([empty, PICTURES[0], empty])[2] is empty


def test_tensors_that_hold_no_pixels_as_expected_are_named(augment):
    for odd, message in (
        (torch.rand(1, 28, 28).to_sparse(), "layout torch.sparse_coo"),
        (torch.nested.nested_tensor([torch.rand(1, 28, 28)] * 2), "nested"),
        (torch.rand(1, 28, 28).to(torch.float8_e4m3fn), "float8_e4m3fn"),
    ):
        with pytest.raises(TypeError, match=message):
            augment(odd)
    closed = PICTURES[0].copy()
    closed.close()
    with pytest.raises(ValueError, match=r"cannot be read .*: open it again"):
        augment(closed)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_told_with_its_place(augment, value):
    batch = torch.rand(3, 1, 28, 28)
    batch[1, 0, 5, 7] = value
    with pytest.raises(ValueError, match=rf"got {value} at \(1, 0, 5, 7\) and 1 such"):
        augment(batch)


def test_damaged_metadata_is_no_reason_to_refuse_whole_pixels(tmp_path):
    import struct
    import zlib

    PICTURES[0].save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    body = b"\0\x08\0\x02\x01\x12\0\x03"  # no TIFF
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
    (tmp_path / "a.png").write_bytes(data[:33] + chunk + data[33:])
    broken = PIL.Image.open(tmp_path / "a.png")
    augment = VAEAugment.from_pretrained("fashion-mnist").fit([(broken, FEW[0][1]), *FEW[1:]])
    assert augment.classes == tuple(range(10))
    assert len(SyntheticDataset([(broken, FEW[0][1]), *FEW[1:]], 0.5, "fashion-mnist")) == 150


@pytest.mark.parametrize("strength", [1e38, 1e300, 10**400, 1001])
def test_a_strength_beyond_all_sense_is_refused(vae, strength):
    with pytest.raises(ValueError, match="strength must be a number from 0 to 1000"):
        VAEAugment(vae, strength=strength)
    with pytest.raises(ValueError, match="gain must be"):
        VAEAugment(vae, gain=strength)
    assert VAEAugment(vae, strength=1000)(IMAGES[:3] / 255).isfinite().all()


def test_labels_may_lie_anywhere_or_beside_the_images():
    """As data sets of the Hugging Face Hub have them, and as scikit-learn's fit(X, y) takes them."""
    images, labels = IMAGES[:100], LABELS[:100]
    expected = VAEAugment.from_pretrained("fashion-mnist").fit(FEW)
    rows = [{"img": image, "fine_label": int(label), "coarse": 0} for image, label in zip(images, labels, strict=True)]
    last = [(int(label), "a name", image) for image, label in zip(images, labels, strict=True)]
    for data, where in (
        (rows, "fine_label"),
        (rows, lambda row: row["fine_label"]),
        (last, 0),
        (images, labels),
        (images.numpy()[:, 0], labels.numpy()),
        (images[:, 0], labels.tolist()),
        (images.numpy().transpose(0, 2, 3, 1), labels.tolist()),
        ([F.to_pil_image(image) for image in images], labels.tolist()),
    ):
        fit = VAEAugment.from_pretrained("fashion-mnist").fit(data, where)
        assert torch.equal(fit.jitter.members, expected.jitter.members)
    augment = VAEAugment.from_pretrained("fashion-mnist").fit(rows, "fine_label")
    torch.manual_seed(0)
    made = augment(rows[3])
    assert (made["fine_label"], made["coarse"]) == (rows[3]["fine_label"], 0)
    torch.manual_seed(0)
    assert torch.equal(made["img"], expected(images[3], rows[3]["fine_label"])[0])
    dataset = SyntheticDataset(rows, 1.0, "fashion-mnist", labels="fine_label")
    assert dataset.augment.classes == tuple(range(10))
    assert dataset[150]["fine_label"] == rows[dataset.source(150)]["fine_label"]
    with pytest.warns(
        UserWarning, match=r"has no label: there is no integer .* under 'label' or 'labels'.* labels='key'"
    ):
        SyntheticDataset(rows, 1.0, "fashion-mnist")
    with pytest.raises(ValueError, match="100 images and 99 labels"):
        VAEAugment.from_pretrained("fashion-mnist").fit(images, labels[:99])


def test_numbers_taken_for_classes_are_told():
    ages = [(image, i // 2) for i, image in enumerate(IMAGES[:120])]
    fits = (
        lambda: VAEAugment.from_pretrained("fashion-mnist").fit(ages),
        lambda: SyntheticDataset(ages, 1.0, "fashion-mnist"),
    )
    said = r"takes 60 labels for classes, half of them with 2 images .* fit=False"
    for fit in fits:
        with pytest.warns(UserWarning, match=said) as told:
            fit()
        assert len([one for one in told if re.search(said, str(one.message))]) == 1


def test_a_key_that_no_sample_has_is_told_with_those_that_there_are():
    rows = [{"picture": image, "kind": label} for image, label in FEW]
    only = "no key 'nope', only 'picture', 'kind'"
    with pytest.raises(TypeError, match=f"sample 0 has {only}"):
        VAEAugment.from_pretrained("fashion-mnist").fit(rows, "nope")
    with pytest.warns(UserWarning, match=only):
        SyntheticDataset(rows, 1.0, "fashion-mnist", labels="nope")
    with pytest.raises(TypeError, match="no integer or string under 'picture'"):
        VAEAugment.from_pretrained("fashion-mnist").fit(rows, "picture")


def test_of_several_pictures_it_is_told_which_is_taken():
    pictures = [(PIL.Image.fromarray(image[0].numpy()), label) for image, label in FEW]
    rows = [{"before": picture, "after": picture.copy(), "label": label} for picture, label in pictures]
    with pytest.warns(UserWarning, match="under 'before', 'after', and the one under 'before' is taken"):
        VAEAugment.from_pretrained("fashion-mnist").fit(rows)
    with pytest.warns(UserWarning, match=r"another Image.*'before': Image, 'after': Image"):
        SyntheticDataset(rows, 1.0, "fashion-mnist")
    named = [{"image": picture, "mask": picture.copy(), "label": label} for picture, label in pictures]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "samples hold pictures")
        VAEAugment.from_pretrained("fashion-mnist").fit(named)


def test_colours_hidden_under_transparency_do_not_count(augment):
    """An editor leaves anything there; seen is the image over white."""
    picture = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)).convert("RGBA")
    clean = PIL.Image.new("RGBA", (28, 28), (255, 255, 255, 0))
    mask = PIL.Image.new("L", (28, 28), 0)
    mask.paste(255, (0, 0, 14, 28))
    picture.putalpha(mask)
    clean.paste(picture.crop((0, 0, 14, 28)), (0, 0))
    for call in (augment, lambda image: augment.vary_all([image])[0]):
        made = []
        for image in (picture, clean):
            torch.manual_seed(0)
            made.append(levels(call(image)))
        assert np.array_equal(made[0][:, :14], made[1][:, :14])
    assert np.array_equal(made[0][..., 3], levels(picture)[..., 3]), "alpha is kept"


def test_pictures_beside_the_image_are_not_moved_wherever_they_are(augment):
    mask = F.to_pil_image((IMAGES[1] > 0).to(torch.uint8))
    one, two = PICTURES[:2]
    for sample, image_of, masks_of in (
        ({"image": [one, two], "mask": [mask, mask]}, lambda s: s["image"][1], lambda s: s["mask"]),
        (([one, two], [mask, mask]), lambda s: s[0][1], lambda s: s[1]),
        ([(one, mask), (two, mask)], lambda s: s[1][0], lambda s: [pair[1] for pair in s]),
        (((one, mask), 3), lambda s: s[0][0], lambda s: [s[0][1]]),
        ({"image": two, "target": {"mask": mask}}, lambda s: s["image"], lambda s: [s["target"]["mask"]]),
        ({"mask": mask, "photo": two}, lambda s: s["photo"], lambda s: [s["mask"]]),
    ):
        out = augment(sample)
        assert type(out) is type(sample)
        assert all(same is mask for same in masks_of(out)), sample
        assert not np.array_equal(levels(image_of(out)), levels(image_of(sample)))
    base = [{"mask": mask, "photo": two, "label": 3}] * 2
    made = SyntheticDataset(base, 1.0, augment, fit=False)[2]
    assert made["mask"] is mask
    assert made["photo"] is not two


def test_jitters_of_a_size_that_no_float_holds_are_refused():
    for make in (
        lambda: Noise(1e300),
        lambda: Noise(10**400),
        lambda: PosteriorSample(1e38),
        lambda: LocalNoise(scale=-1e9),
    ):
        with pytest.raises(ValueError, match="must be a number from -1000 to 1000, got"):
            make()
    with pytest.raises(ValueError, match="coarse"):
        Noise(coarse=0)


def test_what_is_no_image_is_named(augment):
    with pytest.raises(TypeError, match="takes images, and no samples, got"):
        augment.vary_all([(PICTURES[0], PICTURES[1])])
    for dtype in (torch.uint8, torch.float32):
        with pytest.raises(TypeError, match="'meta'"):
            augment(torch.empty(1, 28, 28, dtype=dtype, device="meta"))


@pytest.mark.parametrize(
    "as_batch", [lambda images: images, lambda images: {"image": images}, lambda images: (images, None)]
)
@pytest.mark.parametrize("kind", ["pil", "tv", "plain"])
@pytest.mark.parametrize("is_fitted", [False, True])
def test_the_images_of_a_list_are_varied_each_on_its_own(as_batch, kind, is_fitted, fitted):
    image = {"pil": F.to_pil_image(IMAGES[0]), "tv": tv_tensors.Image(IMAGES[0]), "plain": IMAGES[0]}[kind]
    batch = as_batch([image] * 3)
    if kind == "plain" and isinstance(batch, list):
        pytest.skip("as in torchvision, the first of several plain tensors is the image")
    if is_fitted and isinstance(batch, tuple):
        pytest.skip("what lies beside images is no label")
    new = (fitted if is_fitted else VAEAugment.from_pretrained("fashion-mnist"))(batch)
    made = new if isinstance(new, list) else new["image"] if isinstance(new, dict) else new[0]
    seen = {
        F.pil_to_tensor(item).numpy().tobytes() if kind == "pil" else item.numpy().tobytes() for item in [image, *made]
    }
    assert len(seen) == 4
    assert [type(item) for item in made] == [type(image)] * 3


def test_a_mask_beside_a_list_of_images_is_left_alone():
    pictures, masks = [F.to_pil_image(image) for image in IMAGES[:2]], [F.to_pil_image(image) for image in IMAGES[2:4]]
    new = VAEAugment.from_pretrained("fashion-mnist")({"mask": masks, "image": pictures})
    assert all(one is other for one, other in zip(new["mask"], masks, strict=True))
    assert all(
        F.pil_to_tensor(one).ne(F.pil_to_tensor(other)).any() for one, other in zip(new["image"], pictures, strict=True)
    )
