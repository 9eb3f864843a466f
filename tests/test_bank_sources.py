"""A bank knows which of the given images it holds, and in which files they lie; its file holds no path."""

import dataclasses

import pytest
import torch
from torch.utils.data import ConcatDataset, Subset
from torchvision.datasets import ImageFolder
from torchvision.transforms.v2 import functional as F

from tests.conftest import IMAGES
from vae_augment import LatentBank, VAEAugment, load_weights

POOL = torch.cat([IMAGES[:30], IMAGES[5:6], IMAGES[30:60]])  # the 31st is a copy


@pytest.fixture
def folder(tmp_path):
    for i, image in enumerate(IMAGES[:20]):
        (tmp_path / "secret" / str(i % 2)).mkdir(parents=True, exist_ok=True)
        F.to_pil_image(image).save(tmp_path / "secret" / str(i % 2) / f"{i:02d}.png")
    return ImageFolder(str(tmp_path / "secret"))


def test_the_index_follows_what_size_and_copies_left_out(vae):
    bank = LatentBank.from_images(vae, POOL)
    assert bank.index.dtype == torch.int32
    assert bank.index.tolist() == [i for i in range(len(POOL)) if i != 30]
    assert bank.sources is None
    with torch.no_grad():
        again = vae.encode(POOL[bank.index] / 255)[0].half()
    assert torch.allclose(again.float(), bank.latents.float(), atol=1e-2)
    small = LatentBank.from_images(vae, list(POOL), size=10)
    assert (small.index * 10 // len(POOL)).tolist() == list(range(10))  # one of each tenth
    assert len(LatentBank.from_images(vae, POOL, size=32_768)) == len(POOL) - 1
    with pytest.raises(TypeError, match=r"size of a bank must be an integer of at least 2, got 2\.5"):
        LatentBank.from_images(vae, POOL, size=2.5)
    with pytest.raises(ValueError, match="2 images at least, got size=1"):
        LatentBank.from_images(vae, POOL, size=1)


def test_a_bank_meets_all_kinds_of_images_that_take_turns(vae):
    """Black and white ones in turn, of which each second one shows one kind alone, as in MNIST's training set."""
    torch.manual_seed(0)
    images = torch.rand(400, 1, 28, 28) / 4 + 0.75 * (torch.arange(400) % 2)[:, None, None, None]
    bright = (images[LatentBank.from_images(vae, images, size=200).index.long()].mean((1, 2, 3)) > 0.5).float().mean()
    assert 0.4 < bright < 0.6


def test_files_are_named_through_subsets_and_concatenations(vae, folder):
    paths = [path for path, _ in folder.samples]
    bank = LatentBank.from_images(vae, folder)
    assert bank.sources == tuple(paths[i] for i in bank.index.tolist())
    both = ConcatDataset([Subset(folder, [3, 1, 7]), Subset(folder, [12, 4])])
    assert LatentBank.from_images(vae, both).sources == tuple(paths[i] for i in (3, 1, 7, 12, 4))
    # a part whose files are not known: none is named, rather than some
    mixed = ConcatDataset([Subset(folder, [3, 1]), [(F.to_pil_image(image), 0) for image in IMAGES[30:33]]])
    assert LatentBank.from_images(vae, mixed).sources is None


def test_a_file_holds_the_index_and_no_path(vae, folder, tmp_path):
    bank = LatentBank.from_images(vae, Subset(folder, range(3, 20)))
    VAEAugment(vae, bank=bank).save_pretrained(tmp_path / "weights")
    assert all(b"secret" not in file.read_bytes() for file in (tmp_path / "weights").iterdir())
    loaded = load_weights(tmp_path / "weights").bank
    assert torch.equal(loaded.index, bank.index)
    assert loaded.sources is None


def test_banks_of_earlier_versions_know_no_index():
    assert load_weights("mnist").bank.index is None


@pytest.mark.parametrize("index", [[0, 1], [1, 0, 2], [0, 0, 1], [-1, 0, 1]])
def test_an_index_that_is_none_is_refused(vae, index):
    from vae_augment.pool import bank_from_tensors, bank_to_tensors

    tensors = bank_to_tensors(LatentBank.from_images(vae, IMAGES[:3]))
    assert torch.equal(bank_from_tensors(tensors, vae, {}).index, torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="index must be"):
        bank_from_tensors(tensors | {"index": torch.tensor(index, dtype=torch.int32)}, vae, {})
    with pytest.raises(ValueError, match="index must be int32"):
        bank_from_tensors(tensors | {"index": torch.tensor([0, 1, 2])}, vae, {})


def test_one_index_for_each_latent(vae):
    bank = LatentBank.from_images(vae, IMAGES[:5])
    with pytest.raises(ValueError, match="4 index for 5 latents"):
        dataclasses.replace(bank, index=bank.index[:4])
