"""Images under an unusual key, or beside other pictures: `image_key=` says which they are."""

import copy
import multiprocessing
import pickle
import warnings
from collections import OrderedDict, UserDict
from typing import NamedTuple

import numpy as np
import PIL.Image
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, default_collate
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from tests.conftest import FEW, IMAGES, LABELS, pixels
from vae_augment import LatentBank, SyntheticDataset, VAEAugment, load_weights
from vae_augment.encoders import Encoder

PICTURES = [F.to_pil_image(image) for image in IMAGES[:4]]
PHOTO, OTHER = PICTURES[0], F.to_pil_image((IMAGES[1] > 0).to(torch.uint8))


class Row(NamedTuple):
    other: PIL.Image.Image
    photo: PIL.Image.Image


def is_varied(out, image) -> bool:
    return not torch.equal(pixels(out), pixels(image))


def rows(count: int = 100) -> list[dict]:
    """Garments under a key of their own, after a smaller picture that would be taken for the image."""
    return [{"thumbnail": image[:, ::4, ::4], "photo": image, "cls": label} for image, label in FEW[:count]]


@pytest.fixture
def keyed(vae) -> VAEAugment:
    return VAEAugment(vae, image_key="photo")


@pytest.mark.parametrize(
    ("sample", "key"),
    [
        ({"other": OTHER, "photo": PHOTO, "cls": 3}, "photo"),
        (OrderedDict(image=OTHER, photo=PHOTO), "photo"),
        ({7: OTHER, 9: PHOTO}, 9),
        ((OTHER, PHOTO, 3), 1),
        ((OTHER, 3, PHOTO), -1),
        ([OTHER, PHOTO, 3], 1),
        (Row(OTHER, PHOTO), 1),
        (Row(OTHER, PHOTO), "photo"),
        ({"other": OTHER, "photo": tv_tensors.Image(IMAGES[0]), "seg": tv_tensors.Mask(IMAGES[1])}, "photo"),
        ({"other": tv_tensors.Image(IMAGES[1]), "photo": IMAGES[0]}, "photo"),
        ({"other": IMAGES[1], "photo": tv_tensors.Video(IMAGES[:3])}, "photo"),
        ({"other": {"image": OTHER, "deep": [IMAGES[2]]}, "photo": PHOTO}, "photo"),
    ],
)
def test_the_image_at_the_key_is_varied_and_nothing_else(augment, sample, key):
    augment.image_key = key
    out = augment(sample)
    assert type(out) is type(sample)
    parts, outs = (list(part.values()) if isinstance(part, dict) else list(part) for part in (sample, out))
    place = list(sample).index(key) if isinstance(sample, dict) else 1 if key == "photo" else key
    image, new = parts.pop(place), outs.pop(place)
    assert is_varied(new, image)
    assert all(a is b for a, b in zip(outs, parts, strict=True))
    if isinstance(sample, dict):
        assert list(out) == list(sample)


def test_an_image_in_a_sample_is_what_it_is_alone(keyed):
    for image in (PHOTO, IMAGES[0], tv_tensors.Image(IMAGES[0]), IMAGES[:5], tv_tensors.Video(IMAGES[:3])):
        made = []
        for call in (lambda image: keyed({"other": OTHER, "photo": image})["photo"], keyed, VAEAugment(keyed.vae)):
            torch.manual_seed(0)
            made.append(pixels(call(image)))
        assert torch.equal(made[0], made[1])
        assert torch.equal(made[0], made[2])


def test_images_alone_and_lists_of_them_need_no_key(keyed):
    for images in (PICTURES, [tv_tensors.Image(image) for image in IMAGES[:4]]):
        assert all(is_varied(out, image) for out, image in zip(keyed(images), images, strict=True))
    assert all(is_varied(out, image) for out, image in zip(keyed.vary_all(PICTURES), PICTURES, strict=True))


@pytest.mark.parametrize(
    ("make", "key"), [(lambda: {"other": OTHER, "photo": PHOTO}, "photo"), (lambda: (OTHER, PHOTO), 1)]
)
def test_each_sample_of_a_list_is_varied_on_its_own(augment, make, key):
    augment.image_key = key
    out = augment([make(), make(), make()])
    assert type(out) is list
    images = [pixels(sample[key]) for sample in out]
    assert len(torch.stack(images).flatten(1).unique(dim=0)) == 3
    assert all(sample["other" if key == "photo" else 0] is OTHER for sample in out)


def test_columns_of_a_batch(keyed):
    collated = default_collate([{"mask": IMAGES[1], "photo": IMAGES[0], "cls": 3}] * 5)
    out = keyed(collated)
    assert out["mask"] is collated["mask"]
    assert len(out["photo"].flatten(1).unique(dim=0)) == 5, "each on its own"
    for image in (PHOTO, IMAGES[0]):
        columns = {"mask": [OTHER] * 3, "photo": [image] * 3, "cls": [1, 2, 3]}
        out = keyed(columns)
        assert out["mask"] is columns["mask"]
        assert len(torch.stack([pixels(one) for one in out["photo"]]).flatten(1).unique(dim=0)) == 3
    keyed.image_key = 1
    loader = DataLoader([(IMAGES[1], IMAGES[0], 3)] * 4, batch_size=4)  # gives a list of tensors
    masks, images, labels = keyed(next(iter(loader)))
    assert (masks == IMAGES[1]).all()
    assert is_varied(images, IMAGES[:1].expand(4, -1, -1, -1))
    assert labels.tolist() == [3] * 4


def test_pipelines_hand_over_tuples(augment):
    augment.image_key = 0
    mask = tv_tensors.Mask(IMAGES[1])
    for image in (PHOTO, IMAGES[0], tv_tensors.Image(IMAGES[0])):
        out, same, label = v2.Compose([augment, v2.Identity()])(image, mask, 3)
        assert is_varied(out, image)
        assert (same is mask, label) == (True, 3)
    assert v1.Compose([augment])((PHOTO, OTHER))[1] is OTHER
    augment.image_key = 1
    assert v2.Compose([augment])(PHOTO, OTHER)[0] is PHOTO


def test_a_sample_without_the_key_is_told_with_the_keys_that_there_are(keyed):
    for call in (keyed, lambda sample: SyntheticDataset([sample], 1.0, keyed)[1]):
        with pytest.raises(TypeError, match=r"no key 'photo', only 'picture', 'cls': .*image_key= .*key or position"):
            call({"picture": PHOTO, "cls": 3})
        with pytest.raises(TypeError, match=r"no key 'photo', only 'image', 'label'"):
            call(NamedTuple("Pair", [("image", object), ("label", int)])(PHOTO, 3))
        with pytest.raises(TypeError, match=r"\(Image, int\), has no key 'photo'"):
            call((PHOTO, 3))
        with pytest.raises(TypeError, match=r"\{'photo': int, 'image': Image\}, has no image under 'photo'"):
            call({"photo": 3, "image": PHOTO})
    with pytest.raises(TypeError, match=r"\(Image, int\), has no key 'photo'"):
        keyed(PHOTO, 3)
    with pytest.raises(TypeError, match=r"no image under 'photo'"):
        keyed({"photo": (PHOTO, OTHER)})  # which may be an image and its mask
    with pytest.raises(TypeError, match=r"no image under 'photo'"):
        keyed([{"photo": PHOTO}, {"photo": None}])
    keyed.image_key = 2
    with pytest.raises(TypeError, match=r"\(Image, int\), has no key 2"):
        keyed((PHOTO, 3))


@pytest.mark.parametrize("key", [True, 0.5, ("photo",), len])
def test_what_is_no_key_is_refused_wherever_it_is_given(vae, key):
    augment = VAEAugment(vae, gain=1.0)
    for give in (
        lambda: VAEAugment(vae, image_key=key),
        lambda: setattr(augment, "image_key", key),
        lambda: VAEAugment.from_pretrained("mnist", image_key=key),
        lambda: augment.fit(FEW, image_key=key),
        lambda: augment.fit(IMAGES[:9], LABELS[:9], image_key=key),
        lambda: SyntheticDataset(FEW, 1.0, augment, image_key=key),
        lambda: LatentBank.from_images(vae, FEW, image_key=key),
    ):
        with pytest.raises(TypeError, match="image_key must be the key"):
            give()
    assert augment.image_key is None
    assert augment.classes is None


def test_it_is_shown_and_travels(keyed):
    assert repr(keyed).endswith("residual=True, image_key='photo')")
    assert "image_key" not in repr(VAEAugment(keyed.vae))
    assert VAEAugment.from_pretrained("mnist", image_key=-1).image_key == -1
    for other in (copy.copy(keyed), copy.deepcopy(keyed), pickle.loads(pickle.dumps(keyed))):
        assert other({"other": OTHER, "photo": PHOTO})["other"] is OTHER
        other.image_key = "other"
        assert keyed.image_key == "photo"


def test_geometry_beside_the_image_is_told_as_before(vae):
    augment = VAEAugment(vae, on_geometry="error", image_key="photo")
    with pytest.raises(ValueError, match="not Mask"):
        augment({"photo": PHOTO, "seg": tv_tensors.Mask(IMAGES[1])})


class Scenes(Dataset):
    """Samples of a picture, its mask and a class, the transform applied to all of a sample."""

    def __init__(self, transform) -> None:
        self.pipeline = v2.Compose([transform, v2.ToImage()])

    def __getitem__(self, index):
        return self.pipeline({"before": OTHER, "photo": PHOTO, "cls": 3})

    def __len__(self):
        return 8


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_in_workers(keyed, method):
    context = multiprocessing.get_context(method)
    loader = DataLoader(Scenes(keyed), batch_size=4, num_workers=2, multiprocessing_context=context, timeout=120)
    batches = list(loader)
    images = torch.cat([batch["photo"] for batch in batches])
    assert len(images.flatten(1).unique(dim=0)) == 8
    assert all((batch["before"] == pixels(OTHER)).all() for batch in batches)


def test_rows_of_a_hugging_face_data_set(keyed):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"mask": datasets.Image(), "photo": datasets.Image(), "cls": datasets.Value("int64")})
    data = {"mask": [OTHER] * 40, "photo": [F.to_pil_image(image) for image, _ in FEW[:40]]}
    hub = datasets.Dataset.from_dict(data | {"cls": [label for _, label in FEW[:40]]}, features=features)
    for shown in (hub.with_transform(keyed), hub.map(keyed), hub.map(keyed, batched=True, batch_size=7)):
        for row, old in ((shown[3], hub[3]), ({key: column[1] for key, column in shown[2:5].items()}, hub[3])):
            assert not is_varied(row["mask"], OTHER)
            assert is_varied(row["photo"], old["photo"])
            assert row["cls"] == old["cls"]
    fitted = VAEAugment.from_pretrained("fashion-mnist").fit(hub, "cls", image_key="photo")
    expected = VAEAugment.from_pretrained("fashion-mnist").fit(FEW[:40])
    assert torch.equal(fitted.jitter.members, expected.jitter.members)
    made = hub.remove_columns("mask").with_transform(fitted)[:3]
    assert all(is_varied(new, old) for new, old in zip(made["photo"], hub[:3]["photo"], strict=True))
    assert LatentBank.from_images(keyed.vae, hub, image_key="photo").index.tolist() == list(range(40))


def test_a_fit_reads_it_keeps_it_and_says_it_once_is_enough(tmp_path):
    expected = VAEAugment.from_pretrained("fashion-mnist").fit(FEW)
    told = VAEAugment.from_pretrained("fashion-mnist", image_key="photo").fit(rows(), "cls")
    own = VAEAugment.from_pretrained("fashion-mnist", image_key="thumbnail").fit(rows(), "cls", image_key="photo")
    beside = VAEAugment.from_pretrained("fashion-mnist").fit(rows(), [label for _, label in FEW], image_key="photo")
    own.save_fit(tmp_path / "fit")
    loaded = VAEAugment.from_pretrained("fashion-mnist").load_fit(tmp_path / "fit", "cls", image_key="photo")
    for fitted in (told, own, beside, loaded):
        assert torch.equal(fitted.jitter.members, expected.jitter.members)
        assert fitted.image_key == "photo"
    assert told.load_fit(tmp_path / "fit").image_key == "photo"
    row, other = rows()[3], rows()[4]
    for fitted in (own, loaded):
        torch.manual_seed(0)
        made = fitted(row)
        assert made["thumbnail"] is row["thumbnail"]
        torch.manual_seed(0)
        assert torch.equal(made["photo"], expected(row["photo"], row["cls"])[0])
        batch, each = fitted(default_collate([row, other])), fitted([row, other])
        assert [type(batch["photo"]), batch["photo"].shape, len(each)] == [torch.Tensor, (2, 1, 28, 28), 2]
        assert is_varied(each[1]["photo"], other["photo"])
        assert is_varied(fitted(row["photo"]), row["photo"]), "alone, of the nearest class"
    with pytest.raises(ValueError, match="another Image would not fit"):
        own({"mask": OTHER, "photo": PHOTO, "cls": 3})
    with pytest.raises(ValueError, match="no such class"):
        own({"photo": PHOTO, "cls": 77})


def test_the_key_is_what_the_warning_of_several_pictures_asks_for():
    pairs = [{"before": F.to_pil_image(image.flip(-1)), "after": F.to_pil_image(image), "label": y} for image, y in FEW]
    with pytest.warns(UserWarning, match="under 'before' is taken: .*image_key='before'"):
        VAEAugment.from_pretrained("fashion-mnist").fit(pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = VAEAugment.from_pretrained("fashion-mnist").fit(pairs, image_key="after")
    expected = VAEAugment.from_pretrained("fashion-mnist").fit(FEW)
    assert torch.equal(fitted.jitter.members, expected.jitter.members)


def test_where_no_image_is_found_the_key_is_what_the_message_asks_for(augment):
    for sample in ({"cls": 3, "name": "coat"}, UserDict(photo=PHOTO)):
        with pytest.raises(TypeError, match=r"holds no image.*image_key='key'"):
            SyntheticDataset([sample], 1.0, augment)[1]
    assert is_varied(SyntheticDataset([UserDict(photo=PHOTO)], 1.0, augment, image_key="photo")[1]["photo"], PHOTO)
    with pytest.raises(ValueError, match="image_key='key'"):
        augment({"cls": torch.arange(4), "image": IMAGES[:4]})
    augment.image_key = "image"
    assert is_varied(augment({"cls": torch.arange(4), "image": IMAGES[:4]})["image"], IMAGES[:4])


class Files(Dataset):
    """Rows with a transform of the photo alone, as data sets of torchvision have it."""

    def __init__(self, rows, transform=None) -> None:
        self.rows, self.transform = rows, transform

    def __getitem__(self, index):
        row = dict(self.rows[index])
        if self.transform is not None:
            row["photo"] = self.transform(row["photo"])
        return row

    def __len__(self):
        return len(self.rows)


def test_a_data_set_is_read_before_its_transform_of_the_image_at_the_key(augment):
    pictures = [{"before": OTHER, "photo": picture, "cls": 3} for picture in PICTURES]
    base = Files(pictures, v2.Compose([v2.Resize(40), v2.ToImage()]))
    seen = []

    def note(image):
        seen.append(image)
        return augment(image)

    for wrapped in (base, Subset(base, range(4)), ConcatDataset([base, base])):
        dataset = SyntheticDataset(wrapped, 1.0, note, image_key="photo")
        sample = dataset[len(wrapped)]
        old = pictures[dataset.source(len(wrapped)) % 4]
        assert sample["before"] is OTHER
        assert seen[-1] is old["photo"], "as it is before the transform"
        assert sample["photo"].shape == (1, 40, 40)
    assigned = SyntheticDataset(Files(pictures), 1.0, augment, image_key="photo")
    assigned.transform = v2.Resize(9)
    assert (assigned[4]["photo"].size, assigned[4]["before"]) == ((9, 9), OTHER)


def test_a_data_set_fits_a_copy_that_knows_the_key():
    dataset = SyntheticDataset(rows(), 1.0, "fashion-mnist", labels="cls", image_key="photo")
    assert dataset.augment.classes == tuple(range(10))
    row, source = dataset[150], rows()[dataset.source(150)]
    assert is_varied(row["photo"], source["photo"])
    assert torch.equal(row["thumbnail"], source["thumbnail"])
    given = VAEAugment.from_pretrained("fashion-mnist", image_key="photo")
    own = SyntheticDataset(rows(), 1.0, given, labels="cls", seed=1)
    again = SyntheticDataset(rows(), 1.0, dataset.augment, labels="cls", seed=1)
    assert own.augment.image_key == dataset.augment.image_key == "photo"
    assert given.classes is None
    assert torch.equal(own[150]["photo"], again[150]["photo"])
    assert SyntheticDataset(rows(), 1.0, image_key="photo", labels="cls").augment.source == "fashion-mnist"


def test_a_mask_beside_the_image_stays_where_samples_are_added(keyed):
    base = [{"before": OTHER, "photo": PHOTO, "cls": 3}] * 4
    made = SyntheticDataset(base, 1.0, keyed)[5]
    assert made["before"] is OTHER
    assert is_varied(made["photo"], PHOTO)


def test_pools_are_read_by_it(tmp_path):
    vae, pool = load_weights("fashion-mnist").vae, rows()
    encoder = Encoder(lambda x: x.mean((2, 3)), size=28, name="mean colours")
    expected = LatentBank.from_images(vae, IMAGES[:100], features=encoder)
    bank = LatentBank.from_images(vae, pool, features=encoder, image_key="photo")
    given = VAEAugment.from_pretrained("fashion-mnist", pool=pool, features=encoder, image_key="photo").bank
    for made in (bank, given):
        assert torch.equal(made.latents, expected.latents)
        for one, other in zip(made.views, expected.views, strict=True):
            assert torch.equal(one.features, other.features)
    assert torch.equal(encoder.embed(pool, image_key="photo"), encoder.embed(IMAGES[:100]))
    with pytest.raises(TypeError, match="has no key 'nope', only 'thumbnail', 'photo', 'cls'"):
        LatentBank.from_images(vae, pool, image_key="nope")


def test_a_pools_own_images_are_served():
    labelled, pool = rows(), [{"before": OTHER, "photo": F.to_pil_image(image)} for image in IMAGES[100:]]
    dataset = SyntheticDataset(labelled, 1.0, "fashion-mnist", labels="cls", image_key="photo", pool=pool, decode=False)
    own = {pixels(row["photo"]).numpy().tobytes() for row in pool}
    assert all(pixels(dataset[i]["photo"]).numpy().tobytes() in own for i in range(100, 110))
    reused = SyntheticDataset(labelled, 1.0, dataset.augment, labels="cls", pool=pool, decode=False, soft=True)
    assert reused[110]["cls"].shape == (10,)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as it would be if the VAE were judged by another picture
        decoded = SyntheticDataset(labelled, 1.0, dataset.augment, labels="cls", pool=pool)
    assert all(pixels(decoded[i]["photo"]).numpy().tobytes() not in own for i in range(100, 110))


def test_positions_of_numpy_are_positions(tmp_path):
    samples = [(label, "name", image) for image, label in FEW]
    expected = VAEAugment.from_pretrained("fashion-mnist").fit(FEW)
    zero, two = np.int64(0), np.int32(2)
    fitted = VAEAugment.from_pretrained("fashion-mnist").fit(samples, labels=zero, image_key=two)
    assert torch.equal(fitted.jitter.members, expected.jitter.members)
    assert (fitted.image_key, type(fitted.image_key)) == (2, int)
    fitted.save_fit(tmp_path / "fit")
    loaded = VAEAugment.from_pretrained("fashion-mnist").load_fit(tmp_path / "fit", zero, image_key=two)
    assert is_varied(loaded(samples[0])[2], FEW[0][0])
    soft = SyntheticDataset(samples, 1.0, "fashion-mnist", labels=zero, image_key=two, pool=IMAGES[100:], soft=True)
    assert [soft[i][0].shape for i in (0, 100)] == [(10,)] * 2


class Garment(NamedTuple):
    photo: torch.Tensor
    other: PIL.Image.Image | None
    cls: int


def test_labels_may_be_fields_as_images_may():
    named = [Garment(image, None, label) for image, label in FEW]
    fitted = VAEAugment.from_pretrained("fashion-mnist").fit(named, "cls", image_key="photo")
    assert fitted.classes == tuple(range(10))
    assert is_varied(fitted(named[0]).photo, named[0].photo)
    with pytest.raises(TypeError, match="sample 0 has no key 'nope', only 'photo', 'other', 'cls'"):
        VAEAugment.from_pretrained("fashion-mnist").fit(named, "nope", image_key="photo")
    pool = IMAGES[100:]
    soft = SyntheticDataset(named, 1.0, "fashion-mnist", labels="cls", image_key="photo", pool=pool, soft=True)
    assert [soft[i].cls.shape for i in (0, 100)] == [(10,)] * 2


def test_other_mappings_have_labels_too():
    mappings = [UserDict(photo=image, label=label) for image, label in FEW]
    fitted = VAEAugment.from_pretrained("fashion-mnist").fit(mappings, image_key="photo")
    assert fitted.classes == tuple(range(10))
    soft = SyntheticDataset(mappings, 1.0, "fashion-mnist", image_key="photo", pool=IMAGES[100:], soft=True)
    assert [soft[i]["label"].shape for i in (0, 100)] == [(10,)] * 2


def test_messages_say_which_sample_and_what_lies_at_the_key(keyed):
    some = [*rows(20), {"photo": None, "cls": 3}]
    encoder = Encoder(lambda x: x.mean((2, 3)), size=8)
    for read in (
        lambda: keyed.fit(some, "cls"),
        lambda: keyed.fit(some, [0, 1] * 10 + [0]),
        lambda: LatentBank.from_images(keyed.vae, some, image_key="photo"),
        lambda: encoder.embed(some, image_key="photo"),
    ):
        with pytest.raises(
            TypeError, match=r"sample 20, \{'photo': NoneType, 'cls': int\}, has no image under 'photo'"
        ):
            read()
    for photo, message in (
        (IMAGES[0, 0], r"Tensor of uint8 \(28, 28\)\}, has no image under 'photo'.* a channel, image\[None\]"),
        ([PHOTO, None], "but a list with NoneType in it"),
        ([IMAGES[0, 0]], r"but a list with Tensor of uint8 \(28, 28\) in it"),
        ([], "has no image under 'photo'"),
    ):
        with pytest.raises(TypeError, match=message):
            keyed({"photo": photo})
    with pytest.raises(TypeError, match="image_key='photo' is looked for in dicts, tuples and lists"):
        keyed.fit([Scenes(keyed)] * 2, lambda _: 3)
    for give in (
        lambda: LatentBank.from_images(keyed.vae, IMAGES[:9], image_key=True),
        lambda: encoder.embed(IMAGES[:9], image_key=True),
    ):
        with pytest.raises(TypeError, match="image_key must be the key"):
            give()


def test_a_key_that_is_none_leaves_a_fit_as_it_was(tmp_path):
    fitted = VAEAugment.from_pretrained("fashion-mnist").fit(rows(), "cls", image_key="photo")
    fitted.save_fit(tmp_path / "fit")
    with pytest.raises(TypeError, match="image_key must be the key"):
        fitted.load_fit(tmp_path / "fit", "nope", image_key=True)
    assert is_varied(fitted(rows()[3])["photo"], rows()[3]["photo"])


def test_a_dict_of_data_sets_is_told_from_a_data_set():
    parts = {"train": FEW, "test": FEW}
    for read in (VAEAugment.from_pretrained("fashion-mnist").fit, SyntheticDataset):
        with pytest.raises(
            TypeError, match=r"samples are numbered, got dict with the keys 'train', 'test': .*\['train'\]"
        ):
            read(parts)
    assert VAEAugment.from_pretrained("fashion-mnist").fit(dict(enumerate(FEW))).classes == tuple(range(10))
