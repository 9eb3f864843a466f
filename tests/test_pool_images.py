"""SyntheticDataset(pool=..., decode=False): samples are the pool's own images, under the labels that spread to them."""

import copy
import pickle
import warnings

import PIL.Image
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from tests.conftest import FEW, IMAGES, LABELS
from tests.test_dataset import Garments
from vae_augment import LatentBank, SyntheticDataset, VAEAugment, load_weights
from vae_augment.images import in_kind_of

POOL = IMAGES[100:]
BASE = TensorDataset(IMAGES[:100], LABELS[:100])


@pytest.fixture(scope="module")
def bank():
    return LatentBank.from_images(load_weights("fashion-mnist").vae, POOL)


@pytest.fixture
def augment(bank):
    return VAEAugment.from_pretrained("fashion-mnist", bank=bank)


def rows(images):
    return {image.numpy().tobytes() for image in images}


def synthetic(dataset):
    return [dataset[i] for i in range(len(dataset)) if dataset.is_synthetic(i)]


def test_samples_are_the_pools_own_images_of_the_class(augment):
    dataset = SyntheticDataset(BASE, ratio=2, augment=augment, pool=POOL, decode=False)
    own = synthetic(dataset)
    assert len(own) == 200
    assert rows(image for image, _ in own) <= rows(POOL)
    assert len(rows(image for image, _ in own)) > 80
    truth = {image.numpy().tobytes(): int(label) for image, label in zip(POOL, LABELS[100:], strict=True)}
    right = [truth[image.numpy().tobytes()] == label for image, label in own]
    assert sum(right) > 0.7 * len(right)
    for i in range(100):
        assert torch.equal(dataset[i][0], IMAGES[i])
    decoded = SyntheticDataset(BASE, ratio=2, augment=augment, pool=POOL, decode=True)
    assert not rows(image for image, _ in synthetic(decoded)) & rows(POOL)


def test_a_bank_of_the_pool_is_not_made_again(augment, monkeypatch):
    made = []
    make = LatentBank.from_images.__func__
    monkeypatch.setattr(
        LatentBank, "from_images", classmethod(lambda *given, **named: made.append(1) or make(*given, **named))
    )
    dataset = SyntheticDataset(BASE, augment=augment, pool=POOL, decode=False)
    assert dataset.augment.bank is augment.bank
    fitted = VAEAugment.from_pretrained("fashion-mnist", bank=augment.bank).fit(FEW)
    assert SyntheticDataset(BASE, augment=fitted, pool=POOL, decode=False).augment is fitted
    assert not made
    # the bank of other images is, and so is that of the weights
    others = SyntheticDataset(BASE, augment=augment, pool=POOL.flip(0), decode=False)
    assert rows(image for image, _ in synthetic(others)) <= rows(POOL)
    assert len(SyntheticDataset(BASE, augment="fashion-mnist", pool=POOL, decode=False).augment.bank) == len(POOL)
    assert len(made) == 2
    with pytest.raises(ValueError, match="fitted over another pool"):
        SyntheticDataset(BASE, augment=fitted, pool=POOL.flip(0), decode=False)


def test_soft_labels_are_distributions_of_real_images_too(augment):
    dataset = SyntheticDataset(BASE, ratio=1, augment=augment, pool=POOL, soft=True)
    assert torch.equal(dataset[3][1], torch.eye(10)[int(LABELS[3])])
    for image, soft in synthetic(dataset):
        assert (soft.dtype, soft.shape) == (torch.float32, (10,))
        assert soft.sum() == pytest.approx(1, abs=1e-5)
        assert image.shape == (1, 28, 28)
    likeliest = torch.tensor([int(soft.argmax()) for _, soft in synthetic(dataset)])
    sources = torch.tensor([int(LABELS[dataset.source(i)]) for i in range(100, 200)])
    assert (likeliest == sources).float().mean() > 0.98
    images, labels = next(iter(DataLoader(dataset, batch_size=64, shuffle=True)))
    assert (images.shape, labels.shape) == ((64, 1, 28, 28), (64, 10))
    torch.nn.functional.cross_entropy(torch.zeros(64, 10), labels)


def test_a_seed_and_workers_give_the_same_images(augment):
    dataset = SyntheticDataset(BASE, ratio=1, augment=augment, pool=POOL, decode=False, seed=7)
    assert torch.equal(dataset[150][0], dataset[150][0])
    alone = torch.stack([dataset[i][0] for i in range(200)])
    by_workers = torch.cat([images for images, _ in DataLoader(dataset, batch_size=50, num_workers=2)])
    assert torch.equal(alone, by_workers)
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[150][0], dataset[150][0])
    fresh = SyntheticDataset(BASE, ratio=1, augment=augment, pool=POOL, decode=False)
    torch.manual_seed(0)
    first = torch.stack([fresh[i][0] for i in range(100, 200)])
    torch.manual_seed(0)
    assert torch.equal(torch.stack([fresh[i][0] for i in range(100, 200)]), first)
    assert not torch.equal(torch.stack([fresh[i][0] for i in range(100, 200)]), first)
    fresh.augment.p = 0
    assert torch.equal(fresh[150][0], IMAGES[fresh.source(150)])


def test_balance_and_labels_elsewhere(augment):
    few = [{"image": image, "kind": label} for image, label in FEW if label in (3, 4)]
    few += [{"image": image, "kind": label} for image, label in FEW if label == 5][:2]
    dataset = SyntheticDataset(few, 1, augment, labels="kind", balance=True, pool=POOL, decode=False)
    kinds = [sample["kind"] for sample in synthetic(dataset)]
    assert kinds.count(5) > kinds.count(3)
    assert rows(sample["image"] for sample in synthetic(dataset)) <= rows(POOL)
    soft = SyntheticDataset(few, 1, augment, labels="kind", pool=POOL, soft=True)
    assert soft.augment.classes == (3, 4, 5)
    assert soft[0]["kind"].shape == soft[len(few)]["kind"].shape == (3,)


def test_bases_transform_gets_an_image_of_its_own_kind_in_the_pools_size(augment):
    seen = []

    def note(image):
        seen.append((image.mode, image.size))
        return F.to_image(F.resize(image, [20, 20]))

    base = Subset(Garments(transform=note), range(100))
    large = F.resize(POOL, [56, 42]).expand(-1, 3, -1, -1)  # RGB, and larger
    dataset = SyntheticDataset(base, ratio=0.2, augment="fashion-mnist", pool=large, decode=False)
    seen.clear()
    assert all(image.shape == (1, 20, 20) for image, _ in synthetic(dataset))
    assert set(seen) == {("L", (42, 56))}
    # with no transform to come, nothing else would bring them to one size
    plain = SyntheticDataset(FEW, ratio=0.2, augment=dataset.augment, pool=large, decode=False)
    assert {(image.shape, image.dtype) for image, _ in plain} == {((1, 28, 28), torch.uint8)}
    plain.transform = v2.Compose([v2.ToImage(), v2.Resize([9, 9])])
    assert {image.shape for image, _ in plain} == {(1, 9, 9)}


def test_the_pools_own_transform_is_left_out(augment):
    def forbidden(image):
        raise AssertionError("the pool's transform was applied")

    pool = Subset(Garments(transform=lambda image: image), range(100, 500))
    dataset = SyntheticDataset(BASE, ratio=0.1, augment=augment, pool=pool, decode=False)
    pool.dataset.transform = forbidden
    assert rows(image for image, _ in synthetic(dataset)) <= rows(POOL)


@pytest.mark.parametrize(
    "other",
    [
        PIL.Image.new("L", (9, 8)),
        PIL.Image.new("RGB", (9, 8)),
        PIL.Image.new("RGBA", (9, 8)),
        torch.zeros(1, 8, 9, dtype=torch.uint8),
        torch.zeros(3, 8, 9),
        torch.zeros(1, 3, 8, 9, dtype=torch.float16),
        tv_tensors.Image(torch.zeros(3, 8, 9, dtype=torch.uint8)),
    ],
    ids=lambda other: (
        other.mode if isinstance(other, PIL.Image.Image) else f"{type(other).__name__} {tuple(other.shape)}"
    ),
)
def test_in_kind_of(image, other):
    if isinstance(image, torch.Tensor) and (isinstance(image, tv_tensors.Video) or image.ndim > 3):
        pytest.skip("a pool has single images")
    for same_size in (False, True):
        made = in_kind_of(image, other, same_size)
        assert type(made) is type(other)
        size = (8, 9) if same_size else F.get_size(image)
        assert F.get_size(made) == list(size)
        if isinstance(other, PIL.Image.Image):
            assert made.mode == other.mode
            assert made.mode != "RGBA" or image is made or made.getchannel("A").getextrema() != (0, 0)
        else:
            assert (made.dtype, made.shape[:-2]) == (other.dtype, other.shape[:-2])
    assert in_kind_of(image, image, same_size=True) is image


def test_a_class_that_the_pool_lacks_is_redrawn_as_before(augment):
    keep = [i for i in range(len(POOL)) if LABELS[100 + i] != 8]
    with pytest.warns(UserWarning, match=r"no images like those of \[8\]"):
        dataset = SyntheticDataset(BASE, ratio=1, augment="fashion-mnist", pool=POOL[keep], decode=False)
    for image, label in synthetic(dataset):
        assert (image.numpy().tobytes() in rows(POOL)) == (label != 8)


@pytest.mark.filterwarnings("ignore:the bank holds no images like those of")  # to the digits' VAE sandals are strange
def test_the_default_is_the_pools_own_images_where_the_vae_draws_it_badly(augment, recwarn):
    def of_pool(dataset):
        return rows(image for image, label in synthetic(dataset) if label != 5) <= rows(POOL)

    assert not of_pool(SyntheticDataset(BASE, ratio=0.1, augment=augment, pool=POOL))
    assert of_pool(SyntheticDataset(BASE, ratio=0.1, augment="mnist", pool=POOL, decode=False))
    assert not of_pool(SyntheticDataset(BASE, ratio=0.1, augment="mnist", pool=POOL, decode=True))
    assert not [told for told in recwarn if "draws the pool" in str(told.message)]
    with pytest.warns(UserWarning, match=r"draws the pool's images badly: its error is \d\.\d\d of") as told:
        unknown = SyntheticDataset(BASE, ratio=0.1, augment="mnist", pool=POOL)
    assert told[-1].filename == __file__
    assert of_pool(unknown)


def test_mistakes(augment, fitted):
    with pytest.raises(ValueError, match="decode=False serves the pool's own images, and there is no pool"):
        SyntheticDataset(BASE, augment=augment, decode=False)
    with pytest.raises(ValueError, match="soft=True serves the pool's own images, and there is no pool"):
        SyntheticDataset(BASE, augment=augment, soft=True)
    with pytest.raises(ValueError, match="decode=True serves others"):
        SyntheticDataset(BASE, augment=augment, pool=POOL, decode=True, soft=True)
    with pytest.raises(ValueError, match="fit=False forbids"):
        SyntheticDataset(BASE, augment=augment, pool=POOL, fit=False)
    with pytest.raises(TypeError, match="decode must be True, False or None, got 'no'"):
        SyntheticDataset(BASE, augment=augment, pool=POOL, decode="no")
    with pytest.raises(TypeError, match="pool= takes a VAEAugment"):
        SyntheticDataset(BASE, augment=v2.RandAugment(), pool=POOL)
    with pytest.raises(ValueError, match="was given a jitter, a strength"):
        SyntheticDataset(BASE, augment=VAEAugment(augment.vae, strength=0.5), pool=POOL)
    with pytest.raises(ValueError, match="fitted over another pool"):
        SyntheticDataset(BASE, augment=fitted, pool=POOL, decode=False)
    with pytest.raises(ValueError, match="base has no labels that some images share"):
        SyntheticDataset(list(IMAGES[:20]), augment=augment, pool=POOL, decode=False)
    with pytest.raises(ValueError, match=r"ratio=0 asks for none"):
        SyntheticDataset(BASE, ratio=0, augment=augment, pool=POOL, soft=True)
    with pytest.raises(ValueError, match="give target_transform to base"):
        SyntheticDataset(BASE, augment=augment, pool=POOL, soft=True).target_transform = str
    with pytest.raises(ValueError, match="a key or a position"):
        SyntheticDataset(BASE, augment=augment, pool=POOL, soft=True, labels=lambda sample: int(sample[1]))


def test_a_fit_from_a_file_has_no_labels_of_the_pool(augment, tmp_path):
    copy.copy(augment).fit(FEW).save_fit(tmp_path / "fit.safetensors")
    augment.load_fit(tmp_path / "fit.safetensors")
    with pytest.raises(RuntimeError, match="a fit from a file does not hold the labels"):
        SyntheticDataset(BASE, augment=augment, pool=POOL, decode=False)
    assert not rows(image for image, _ in synthetic(SyntheticDataset(BASE, augment=augment, pool=POOL))) & rows(POOL)


def test_a_pool_that_does_not_know_the_images_is_not_served(augment):
    noise = torch.randint(0, 256, (200, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match="does not know images like these"):
        dataset = SyntheticDataset(BASE, ratio=0.1, augment="fashion-mnist", pool=noise, decode=False)
    assert not rows(image for image, _ in synthetic(dataset)) & rows(noise)


def test_a_base_that_is_part_of_its_pool(augment):
    whole = ConcatDataset([BASE, TensorDataset(POOL, LABELS[100:])])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = SyntheticDataset(
            Subset(whole, range(100)), ratio=1, augment="fashion-mnist", pool=whole, decode=False
        )
    assert rows(image for image, _ in synthetic(dataset)) <= rows(IMAGES)


@pytest.mark.parametrize("soft", [False, True])
def test_another_default_device_changes_no_sample(augment, soft):
    dataset = SyntheticDataset(BASE, 0.1, augment, pool=POOL, decode=False, soft=soft, seed=0)
    expected = [dataset[i] for i in (0, 105)]
    with torch.device("meta"):
        found = [dataset[i] for i in (0, 105)]
    assert all(
        torch.equal(a, b) for one, other in zip(found, expected, strict=True) for a, b in zip(one, other, strict=True)
    )
