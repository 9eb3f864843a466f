"""Banks that compare images by a pretrained network, too: how they are made, stored, and asked again."""

import copy
import dataclasses
import json
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch.utils.data import IterableDataset, TensorDataset
from torchvision.transforms.v2 import functional as F

from tests.conftest import FEW, IMAGES, LABELS
from tests.test_encoders import mean_colours, needs_lite0, small_net
from vae_augment import LatentBank, SyntheticDataset, VAEAugment, WeightsError, hub, load_weights
from vae_augment.encoders import Encoder
from vae_augment.encoders.load import LITE0
from vae_augment.hub.format import config_checksum

ENCODER = Encoder(small_net(), size=40, name="a small net")
OTHER = Encoder(small_net(seed=1), size=40, name="a small net")


@pytest.fixture(scope="module")
def vae():
    return load_weights("fashion-mnist").vae


@pytest.fixture(scope="module")
def bank(vae):
    return LatentBank.from_images(vae, IMAGES, features=ENCODER)


@pytest.fixture
def folder(vae, bank, tmp_path):
    VAEAugment(vae, bank=bank, gain=1.0).save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


def members(augment):
    return augment.fit(FEW).jitter.members


def test_an_encoder_adds_a_view_and_leaves_the_others_as_they_were(bank, vae):
    plain = LatentBank.from_images(vae, IMAGES)
    assert [view.name for view in bank.views] == [*(view.name for view in plain.views), "a small net"]
    assert (bank.encoder, plain.encoder) == ("a small net", None)
    assert torch.equal(bank.latents, plain.latents)
    for view, own in zip(bank.views[:2], plain.views, strict=True):
        assert torch.equal(view.neighbours, own.neighbours)
        assert torch.equal(view.features, own.features)
    view = bank.views[2]
    assert view.neighbours.shape == (500, 20)
    assert (view.neighbours != torch.arange(500)[:, None]).all()
    assert view.features.dtype == torch.float16
    assert view.features.isfinite().all()


def test_the_network_sees_the_images_at_their_own_size(vae):
    shapes = []

    def sharpness(x):  # what a VAE's small version of an image does not have
        shapes.append(tuple(x.shape))
        is_striped = (x[..., 1:] - x[..., :-1]).abs().mean((1, 2, 3)) > 0.4 * x.mean((1, 2, 3))
        return torch.stack([is_striped, ~is_striped], 1).float() + 0.1 * x.mean((2, 3))[:, :2]

    pool = F.resize(IMAGES[:60], [112, 112])  # near-duplicates to whoever sees 28 pixels would be left out
    pool[:30, :, :, ::2] //= 2
    encoder = Encoder(sharpness, size=112, mean=(0,) * 3, std=(1,) * 3, batch_size=16)
    bank = LatentBank.from_images(vae, pool, features=encoder)
    assert set(shapes[1:]) <= {(16, 3, 112, 112), (12, 3, 112, 112)}, "never more than a batch"
    neighbours = bank.views[2].neighbours.long()
    assert (neighbours[:, :5] // 30 == torch.arange(60)[:, None] // 30).all()
    shapes.clear()
    VAEAugment(vae, bank=bank).fit([(image, i // 30) for i, image in enumerate(pool)])
    assert {shape[1:] for shape in shapes} == {(3, 112, 112)}


def test_images_in_any_form_and_precomputed_features_make_the_same_bank(bank, vae):
    twice = IMAGES.repeat_interleave(2, 0)  # near-duplicates are left out, and their rows with them
    embedded = ENCODER.embed(twice)
    of_array = LatentBank.from_images(vae, twice, features=embedded.numpy())
    assert of_array.encoder == "precomputed features"
    of_pictures = LatentBank.from_images(vae, [(F.to_pil_image(image), 3) for image in twice], features=ENCODER)
    of_data_set = LatentBank.from_images(vae, TensorDataset(IMAGES, LABELS), features=ENCODER)
    for other in (of_array, of_pictures, of_data_set):
        assert torch.equal(other.latents, bank.latents)
        assert torch.allclose(other.views[2].features.float(), bank.views[2].features.float(), atol=1e-2)
        assert (other.views[2].neighbours == bank.views[2].neighbours).float().mean() > 0.98
    with pytest.raises(ValueError, match="there are 500 images and 1000 rows of features"):
        LatentBank.from_images(vae, IMAGES, features=embedded)
    with pytest.raises(ValueError, match="each of another name"):
        LatentBank.from_images(vae, IMAGES[:50], features=dataclasses.replace(ENCODER, name="patch features"))


def test_a_network_that_fails_does_so_before_the_bank_is_made(vae):
    def broken(x):
        raise RuntimeError("of the user's own")

    class NoImages:
        def __len__(self):
            return 100

        def __getitem__(self, index):
            raise AssertionError("read before")

    with pytest.raises(RuntimeError, match="of the user's own"):
        LatentBank.from_images(vae, NoImages(), features=broken)


def test_progress_is_shown_when_asked_for_and_a_cache_is_kept(vae, tmp_path, capsys):
    calls = []
    counted = Encoder(lambda x: (calls.append(len(x)), mean_colours(x))[1], size=8, name="colours")
    LatentBank.from_images(vae, IMAGES[:50], features=counted, cache=tmp_path / "cache")
    assert capsys.readouterr().err == ""
    assert sum(calls) == 51, "and the probe"
    LatentBank.from_images(vae, IMAGES[:50], features=counted, progress=True, cache=tmp_path / "cache")
    assert sum(calls) == 52
    LatentBank.from_images(vae, IMAGES[:50], features=counted, progress=True)
    assert "features of colours: 100%" in capsys.readouterr().err


def test_a_fit_asks_the_network_for_the_labelled_images(bank, vae):
    with_encoder, without = VAEAugment(vae, bank=bank), VAEAugment(vae, bank=LatentBank.from_images(vae, IMAGES))
    first = members(with_encoder)
    assert not torch.equal(first, members(without))
    embedded = torch.cat([ENCODER.embed(image[None]) for image, _ in FEW])
    images, labels = torch.stack([image for image, _ in FEW]), [label for _, label in FEW]
    precomputed = LatentBank.from_images(vae, IMAGES, features=ENCODER.embed(IMAGES))
    by_rows = VAEAugment(vae, bank=precomputed).fit(images, labels, features=embedded).jitter.members
    assert len(by_rows) == len(first)
    assert (by_rows == first).float().mean() > 0.98
    again = torch.cat([images, images[:1]]), [*labels, labels[0]]  # a copy counts once, and so does its row
    by_more = VAEAugment(vae, bank=precomputed).fit(*again, features=torch.cat([embedded, embedded[:1]])).jitter.members
    assert torch.equal(by_more, by_rows)
    with pytest.raises(ValueError, match="there are 100 labelled images and 99 rows of features"):
        VAEAugment(vae, bank=precomputed).fit(images, labels, features=embedded[1:])
    with pytest.raises(ValueError, match=r"compares images by 48 features of 'precomputed features', got 2"):
        VAEAugment(vae, bank=precomputed).fit(images, labels, features=embedded[:, :2])
    with pytest.raises(ValueError, match=r"fit\(images, labels, features=array\)"):
        VAEAugment(vae, bank=precomputed).fit(images, labels)
    with pytest.raises(ValueError, match="no bank that compares images by such"):
        without.fit(images, labels, features=embedded)


def test_an_iterable_data_set_is_refused_as_it_is_without_an_encoder(bank, vae):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(FEW)

    for augment in (VAEAugment(vae), VAEAugment(vae, bank=bank)):
        with pytest.raises(TypeError, match="expected a map-style data set or a list"):
            augment.fit(Stream())


@pytest.mark.parametrize("name", ["photos", Path("photos")])
def test_the_name_of_a_data_set_is_answered_with_how_to_open_it(name, vae):
    wanted = r"got the name 'photos': open it first, a folder with torchvision\.datasets\.ImageFolder"
    for use in (
        lambda: SyntheticDataset(FEW, augment=VAEAugment(vae), pool=name),
        lambda: SyntheticDataset(name, augment=VAEAugment(vae)),
        lambda: LatentBank.from_images(vae, name),
    ):
        with pytest.raises(TypeError, match=wanted):
            use()


def test_a_stored_bank_knows_its_encoder_by_name_and_probe(folder, bank, vae):
    assert json.loads((folder / "config.json").read_text())["format_version"] == 2
    stored = hub.load(folder).bank
    assert stored.encoder == "a small net"
    assert stored.policy == bank.policy
    for view, own in zip(stored.views, bank.views, strict=True):
        assert (view.name, view.weight) == (own.name, own.weight)
        assert torch.equal(view.neighbours, own.neighbours)
        assert torch.equal(view.features, own.features)
    with pytest.raises(ValueError, match=r"the encoder 'a small net', which is not stored in it.*bank\.with_encoder"):
        VAEAugment.from_pretrained(folder).fit(FEW)
    expected = members(VAEAugment(vae, bank=bank))
    given = VAEAugment.from_pretrained(folder, features=ENCODER)
    assert torch.equal(members(given), expected)
    assert torch.equal(members(VAEAugment.from_pretrained(folder, bank=stored.with_encoder(ENCODER))), expected)
    by_fit = VAEAugment.from_pretrained(folder).fit(FEW, features=ENCODER)
    assert torch.equal(by_fit.jitter.members, expected)
    for other in (OTHER, Encoder(mean_colours, size=40)):
        with pytest.raises(ValueError, match="computes others"):
            stored.with_encoder(other)
    again = folder.parent / "again"
    given.save_pretrained(again)
    assert (again / "bank.safetensors").read_bytes() == (folder / "bank.safetensors").read_bytes()
    assert "a small net" in (again / "README.md").read_text()
    assert "a small net" in hub.describe(again).bank.compared_by


def test_banks_without_an_encoder_are_files_of_the_first_format(vae, tmp_path):
    VAEAugment(vae, bank=LatentBank.from_images(vae, IMAGES[:50]), gain=1.0).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["format_version"] == 1
    assert safetensors.safe_open(tmp_path / "bank.safetensors", "pt").metadata() == {"format": "pt"}
    with pytest.raises(ValueError, match="no features of an encoder"):
        hub.load(tmp_path).bank.with_encoder(ENCODER)
    with pytest.raises(ValueError, match="no features of an encoder"):
        VAEAugment.from_pretrained(tmp_path, features=ENCODER)


def rewritten(folder, change, name="a small net"):
    """Change the tensors and the encoder's name in a stored bank, checksums mended."""
    import hashlib

    tensors = safetensors.torch.load_file(folder / "bank.safetensors")
    change(tensors)
    texts = {"format": "pt"} if name is None else {"encoder": name}
    content = safetensors.torch.save(tensors, metadata=texts)
    (folder / "bank.safetensors").write_bytes(content)
    config = json.loads((folder / "config.json").read_text())
    config["sha256"]["bank.safetensors"] = hashlib.sha256(content).hexdigest()
    config["sha256"]["config.json"] = config_checksum(config)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("encoder_features"),
        lambda tensors: tensors.pop("encoder_neighbours"),
        lambda tensors: tensors.update(encoder_features=tensors["encoder_features"][1:].contiguous()),
        lambda tensors: tensors.update(encoder_probe=tensors["encoder_probe"][1:].contiguous()),
        lambda tensors: tensors.update(encoder_centre=tensors["encoder_centre"][1:].contiguous()),
        lambda tensors: tensors.update(encoder_projection=torch.zeros(48, 300).half()),
        lambda tensors: tensors["encoder_neighbours"].fill_(500),
        lambda tensors: tensors["encoder_features"].fill_(torch.inf),
    ],
)
def test_a_view_of_an_encoder_that_does_not_fit_is_refused(change, folder):
    with pytest.raises(WeightsError):
        hub.load(rewritten(folder, change))


@pytest.mark.parametrize("name", [None, "", "\x1b[31mred", "a | b", "x" * 200, "<img src=x>"])
def test_a_name_that_is_none_is_refused(name, folder):
    with pytest.raises(WeightsError, match="an encoder's name"):
        hub.load(rewritten(folder, lambda tensors: None, name))


def test_an_encoder_does_not_travel_to_other_processes(bank, vae):
    augment = VAEAugment(vae, bank=bank)
    sent = pickle.loads(pickle.dumps(augment))
    assert sent.bank.encoder == "a small net"
    with pytest.raises(ValueError, match="not stored in it"):
        sent.fit(FEW)
    assert torch.equal(members(copy.deepcopy(augment)), members(augment))
    assert not any("encoder" in name for name, _ in augment.named_modules())
    of_lambda = LatentBank.from_images(vae, IMAGES[:50], features=Encoder(lambda x: x.mean((2, 3)), size=8))
    pickle.dumps(VAEAugment(vae, bank=of_lambda))


def test_a_bank_is_made_where_weights_are_loaded(bank, vae):
    augment = VAEAugment.from_pretrained("fashion-mnist", p=0.5, pool=IMAGES, features=ENCODER)
    assert augment.p == 0.5
    assert torch.equal(augment.bank.views[2].neighbours, bank.views[2].neighbours)
    assert VAEAugment.from_pretrained("fashion-mnist", pool=IMAGES[:50]).bank.encoder is None
    with pytest.raises(TypeError, match="pool, images to make a bank of, or bank, not both"):
        VAEAugment.from_pretrained("fashion-mnist", pool=IMAGES, bank=bank)
    with pytest.raises(ValueError, match="no features of an encoder"):
        VAEAugment.from_pretrained("fashion-mnist", features=ENCODER)


def test_a_data_set_is_fitted_with_its_images_at_their_own_size(vae):
    seen = set()

    def watched(x):
        seen.add(x.std().item() > 0.5)
        return small(x)

    small = small_net()
    large = F.resize(IMAGES, [112, 112], interpolation=F.InterpolationMode.NEAREST)
    large[..., ::2] = 0  # stripes that are gone at 28 pixels
    pictures = [(F.to_pil_image(image), label) for image, label in zip(large, LABELS.tolist(), strict=True)]
    encoder = Encoder(watched, size=112, name="watched")
    augment = VAEAugment(vae, bank=LatentBank.from_images(vae, pictures, features=encoder))
    data = SyntheticDataset(pictures[:100], ratio=0.5, augment=augment)
    expected = copy.copy(augment).fit([pictures[i] for i in data._order.tolist()])
    assert sorted(data.augment.jitter.members.tolist()) == sorted(expected.jitter.members.tolist())
    assert data[120][0].size == (112, 112)


@needs_lite0
def test_lite0_is_loaded_again_by_itself(vae, tmp_path):
    bank = LatentBank.from_images(vae, IMAGES[:120], features=LITE0)
    augment = VAEAugment(vae, bank=bank, gain=1.0)
    augment.save_pretrained(tmp_path)
    loaded = VAEAugment.from_pretrained(tmp_path)
    assert loaded.bank.encoder == LITE0
    few = FEW[:60]
    assert torch.equal(loaded.fit(few).jitter.members, augment.fit(few).jitter.members)
