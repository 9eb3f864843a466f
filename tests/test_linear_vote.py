"""The linear vote of an encoder's features: as heavy as labelled images find it right."""

import math

import pytest
import torch
from torch.nn.functional import normalize, one_hot

from tests.conftest import IMAGES, LABELS
from vae_augment import LatentBank, load_weights
from vae_augment.pool.label_spreading import HeldOut
from vae_augment.pool.ridge import ridge_accuracy
from vae_augment.pool.weighing import linear_vote

SHOWN = LABELS.argsort(stable=True).view(10, 50)[:, :8].flatten()


@pytest.fixture(scope="module")
def garments():
    vae = load_weights("fashion-mnist").vae
    return vae, LatentBank.from_images(vae, IMAGES)


def asked(garments, features):
    """The shown images, compared with a bank of garments that has these features besides, and the plain bank's query."""
    vae, bank = garments
    bank = bank.with_features(features)
    given = bank.encoder_features.projected(features[SHOWN])
    return bank.query(vae, IMAGES[SHOWN] / 255, given).weighed(LABELS[SHOWN], 10)


def right(scores):
    return float((scores.argmax(1) == LABELS).float().mean())


def noisy(features, level):
    return features + level * torch.randn(features.shape, generator=torch.Generator().manual_seed(0))


def test_it_weighs_less_by_as_many_labels_as_it_tells_less():
    own = torch.arange(20) % 2
    said = one_hot(torch.where(torch.arange(20) < 16, own, 1 - own), 2).float()  # 16 of 20
    held = HeldOut(own, (said,))
    assert linear_vote(held, [1.0], 0.8, 10) == pytest.approx(1)
    assert linear_vote(held, [1.0], 0.95, 10) == 1
    assert linear_vote(held, [1.0], 0.75, 10) == pytest.approx(math.exp(-0.2))
    assert linear_vote(held, [1.0], 0.4, 10) == pytest.approx(math.exp(-0.2 * 8))


def test_it_has_none_unless_it_is_right_beyond_chance():
    own = torch.arange(6) % 2
    held = HeldOut(own, (one_hot(own, 2).float(),))
    assert linear_vote(held, [1.0], 5 / 6, 2) == 0, "three labels of each of two classes"
    own = torch.arange(20) % 2
    held = HeldOut(own, (one_hot(own, 2).float(),))
    assert linear_vote(held, [1.0], 0.8, 2) == 0
    assert linear_vote(held, [1.0], 0.95, 2) == pytest.approx(math.exp(-0.2))


def test_its_accuracy_is_that_of_labelled_images_which_do_not_teach_it_themselves():
    direction = torch.tensor([0] * 20 + [1] * 20)
    pool, scores = torch.eye(2)[direction], one_hot(direction, 2).float() + 0.1
    known, labels = torch.eye(2)[[0, 0, 0, 1]], torch.tensor([0, 0, 1, 1])  # the third is unlike its class
    assert ridge_accuracy(scores, pool, known, labels) == pytest.approx((1 + 0.5) / 2)


def test_features_that_tell_classes_linearly_label_garments_better_than_a_graph_of_them(garments):
    features = noisy(torch.cat([one_hot(LABELS, 10).float(), torch.zeros(500, 32)], 1), 0.3)
    query = asked(garments, features)
    assert "precomputed features" in query.voters
    assert right(query.scores(LABELS[SHOWN], 10)) > right(query.spread(LABELS[SHOWN], 10)) + 0.03


def test_features_that_a_line_cannot_read_do_not_vote_so(garments):
    """Each class is two clusters on opposite sides: neighbours tell it, and its mean says nothing."""
    side = (torch.arange(500) // 10 % 2 * 2 - 1)[:, None]
    features = noisy(one_hot(LABELS, 10).float() * side, 0.05)
    query = asked(garments, features)
    assert query.voters[0] == "precomputed features"
    seen = normalize(query.views[0].features.float()), normalize(query.features[0])
    scores = query.spread(LABELS[SHOWN], 10)
    assert ridge_accuracy(scores, *seen, LABELS[SHOWN]) < 0.7
    assert right(query.scores(LABELS[SHOWN], 10)) >= right(scores) - 0.005


@pytest.mark.parametrize("width", [4, 16])
@pytest.mark.parametrize("labels", [3, 8])
def test_features_that_are_noise_cost_few_classes_of_few_labels_nothing(garments, labels, width):
    vae, _ = garments
    is_of_two = (LABELS == 0) | (LABELS == 9)
    images, of_class = IMAGES[is_of_two], LABELS[is_of_two] // 9
    shown = of_class.argsort(stable=True).view(2, -1)[:, :labels].flatten()
    pool = LatentBank.from_images(vae, images)
    for seed in range(5):
        noise = torch.randn(len(images), width, generator=torch.Generator().manual_seed(seed))
        with_noise = pool.with_features(noise)
        given = with_noise.encoder_features.projected(noise[shown])
        query = with_noise.query(vae, images[shown] / 255, given).weighed(of_class[shown], 2)
        without, with_vote = (
            float((scores.argmax(1) == of_class).float().mean())
            for scores in (query.spread(of_class[shown], 2), query.scores(of_class[shown], 2))
        )
        assert with_vote >= without - 0.011, "one image of a hundred"


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4])
def test_features_that_are_the_same_for_all_images_are_refused(garments, value):
    _, bank = garments
    with pytest.raises(ValueError, match=r"the same for all images of the pool.* leave features out"):
        bank.with_features(torch.full((500, 16), value))
    assert bank.with_features(torch.randn(500, 16) + value).encoder == "precomputed features"


def test_whether_garments_are_of_the_pool_is_told_by_latents_whichever_view_is_best(garments):
    vae, bank = garments
    query = asked(garments, noisy(one_hot(LABELS, 10).float(), 0.01))
    assert query.voters[0] == "precomputed features"
    assert torch.equal(query.typicality, bank.query(vae, IMAGES[SHOWN] / 255).typicality)
