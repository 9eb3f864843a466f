"""What a fit knows of the pool, as data."""

import copy
import dataclasses
import pickle

import pytest
import torch
from torch.utils.data import Subset, TensorDataset

from tests.conftest import FEW, IMAGES, LABELS
from vae_augment import LatentBank, VAEAugment, load_weights
from vae_augment.demo_data import FASHION_CLASSES
from vae_augment.pool_labels import distribution_of

REST = IMAGES[100:]


@pytest.fixture(scope="module")
def bank():
    return LatentBank.from_images(load_weights("fashion-mnist").vae, REST)


@pytest.fixture(scope="module")
def over_rest(bank):
    return VAEAugment.from_pretrained("fashion-mnist", bank=bank).fit(FEW)


def test_which_pool_image_got_which_label(over_rest):
    found = over_rest.pool_labels()
    assert len(found) <= len(REST)
    assert found.classes == tuple(range(10))
    assert (found.index.dtype, found.target.dtype, found.confidence.dtype) == (torch.int64, torch.int64, torch.float32)
    right = (torch.tensor(found.label) == LABELS[100:][found.index]).float()
    assert right.mean() > 0.7
    sure = found.confidence > found.confidence.median()
    assert right[sure].mean() > right[~sure].mean(), "confidence says nothing"
    assert torch.allclose(found.distribution.sum(1), torch.ones(len(found)), atol=1e-5)
    assert (found.distribution >= 0).all()
    assert (found.confidence >= found.distribution.amax(1) - 1e-3).all(), "the label is not the likeliest class"


def test_confidence_is_on_average_what_cross_validation_says(over_rest):
    truth = LABELS[100:]
    found = over_rest.pool_labels()
    right = (torch.tensor(found.label) == truth[found.index]).float().mean()
    assert abs(float(found.confidence.mean() - right)) < 0.12
    scores = torch.tensor([[0.3, 0.2, 0.1], [0.5, 0.5, -0.4], [0.0, 0.0, 0.0]])
    for accuracy in (None, 0.5, 0.7):
        rows = distribution_of(scores, accuracy).float()
        assert torch.allclose(rows.sum(1), torch.tensor([1.0, 1.0, 0.0]), atol=1e-3)
        assert rows[1, 2] == 0
    assert float(distribution_of(scores[:1], 0.8).amax()) == pytest.approx(0.8, abs=0.01)


def test_kept_are_those_that_samples_are_drawn_from(over_rest):
    found, jitter = over_rest.pool_labels(), over_rest.jitter
    kept = found.kept()
    assert set(kept.place.tolist()) == set(jitter.members.tolist())
    assert kept.is_kept.all()
    assert 0 < len(kept) < len(found)
    starts = [0, *jitter.ends.tolist()]
    for c in range(10):
        members = set(jitter.members[starts[c] : starts[c + 1]].tolist())
        assert set(kept.place[kept.target == c].tolist()) == members
    assert all(confidence > 0 for confidence in kept.confidence.tolist())


def test_an_index_leads_through_copies_that_were_left_out(bank):
    doubled = torch.cat([REST[:50], REST])  # the copies at 50 to 99 are left out
    again = LatentBank.from_images(load_weights("fashion-mnist").vae, doubled)
    found = VAEAugment.from_pretrained("fashion-mnist", bank=again).fit(FEW).pool_labels()
    assert not set(found.index.tolist()) & set(range(50, 100))
    truth = torch.cat([LABELS[100:150], LABELS[100:]])
    assert (torch.tensor(found.label) == truth[found.index]).float().mean() > 0.7


def test_labels_may_be_strings(bank):
    named = [(image, FASHION_CLASSES[label]) for image, label in FEW]
    found = VAEAugment.from_pretrained("fashion-mnist", bank=bank).fit(named).pool_labels()
    assert found.classes == tuple(sorted(FASHION_CLASSES))
    assert found.label[0] == found.classes[found.target[0]]


def test_a_bank_that_came_with_weights_knows_places_alone(fitted):
    found = fitted.pool_labels()
    assert found.place.max() < 10_000
    with pytest.raises(ValueError, match=r"does not know which images.*LatentBank\.from_images"):
        found.index  # noqa: B018
    with pytest.raises(ValueError, match="does not know which images"):
        found.kept().index  # noqa: B018


def test_there_are_none_before_a_fit_without_a_pool_and_from_a_file(over_rest, tmp_path):
    with pytest.raises(RuntimeError, match="call fit"):
        VAEAugment.from_pretrained("fashion-mnist").pool_labels()
    with pytest.raises(RuntimeError, match=r"no labels were spread.*LatentBank\.from_images"):
        VAEAugment(load_weights("fashion-mnist").vae).fit(FEW).pool_labels()
    over_rest.save_fit(tmp_path / "fit.safetensors")
    loaded = VAEAugment.from_pretrained("fashion-mnist").load_fit(tmp_path / "fit.safetensors")
    assert loaded.sample([3]).shape == (1, 1, 28, 28)
    with pytest.raises(RuntimeError, match="from a file does not hold"):
        loaded.pool_labels()


def test_a_class_that_the_pool_does_not_hold_keeps_none():
    absent = LABELS[100:] == 8  # bags, which look like nothing else
    vae = load_weights("fashion-mnist").vae
    bank = LatentBank.from_images(vae, Subset(TensorDataset(REST), (~absent).nonzero()[:, 0].tolist()))
    augment = VAEAugment(vae, bank=bank, gain=1.0)
    with pytest.warns(UserWarning, match=r"no images like those of \[8\]"):
        augment.fit(FEW)
    kept = augment.pool_labels().kept()
    assert (kept.target != 8).all()
    assert set(kept.place.tolist()) == set(augment.jitter.members[augment.jitter.members >= 0].tolist())


def test_they_travel_to_workers(over_rest):
    found = pickle.loads(pickle.dumps(copy.copy(over_rest))).pool_labels()
    assert torch.equal(found.index, over_rest.pool_labels().index)
    assert dataclasses.is_dataclass(found)
    assert "10 classes" in repr(found)
