"""The figures by which a fit decides, at their bounds: what lies on either side is treated differently."""

import dataclasses
import math

import pytest
import torch

from tests.conftest import IMAGES, LABELS
from vae_augment import LatentBank, load_weights
from vae_augment.fit import check_pool
from vae_augment.pool.label_spreading import knn_graph
from vae_augment.pool.members import class_members
from vae_augment.pool.near_duplicates import drop_near_duplicates
from vae_augment.pool.outliers import outliers
from vae_augment.pool.policy import CLUSTERED, PHOTOGRAPHS
from vae_augment.pool.ridge import with_ridge_vote

ROWS = pytest.mark.parametrize("policy", [CLUSTERED, PHOTOGRAPHS], ids=["clustered", "photographs"])


def test_a_near_duplicate_differs_by_less_than_a_tenth_of_what_two_images_do():
    images = IMAGES[:60] / 255
    between = torch.cdist(images.flatten(1), images.flatten(1)).mean() * 60 / 59 / 28  # root mean square, of pixels
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    for part, count in ((0.07, 60), (0.15, 120)):
        assert len(drop_near_duplicates(torch.cat([images, images + part * between * noise]))) == count


def chains(*lengths):
    """A graph of points in rows that do not touch."""
    ends = torch.tensor(lengths).cumsum(0).tolist()
    rows = [
        [max(i - 1, end - length), min(i + 1, end - 1)]
        for length, end in zip(lengths, ends, strict=True)
        for i in range(end - length, end)
    ]
    return knn_graph(torch.tensor(rows))


def relative_scores(graph, labelled, alpha=0.9):
    """Scores of one class by the closed form of spreading, float64, as parts of what is typical of the class."""
    affinity = graph.affinity.to_dense().double()
    known = torch.zeros(len(affinity), dtype=torch.float64).index_fill(0, torch.tensor(labelled), 1)
    scores = torch.linalg.solve(torch.eye(len(affinity)) - alpha * affinity, (1 - alpha) * known)
    return scores / ((scores * scores.log()).sum() / scores.sum()).exp()


def labels_at(places, count):
    return torch.full((count,), -1).index_fill(0, torch.tensor(places), 0)


@ROWS
@pytest.mark.parametrize(("lengths", "far"), [((9,), 0), ((11,), 3), ((12,), 4), ((20,), 12), ((11, 8), 0)], ids=str)
def test_points_that_few_labels_hardly_reach_are_outliers_if_they_are_a_fifth(lengths, far, policy):
    graph, places = chains(*lengths), [0, *lengths[:-1]]
    told = outliers([graph], labels_at(places, sum(lengths)), 1, policy)
    assert told.tolist() == [False] * (lengths[0] - far) + [True] * far + [False] * sum(lengths[1:])
    hardly_reached = relative_scores(graph, places) < 0.05
    assert torch.equal(told, hardly_reached) if far else 0 <= hardly_reached.float().mean() < 0.2


@ROWS
def test_of_five_labels_a_class_on_a_tenth_of_those_held_out_sets_the_bound(policy):
    places = [0, 1, 3, 4, 6, 8, 9, 11, 14]
    graph = chains(40)
    held_out = [
        relative_scores(graph, [other for j, other in enumerate(places) if j % 5 != i % 5])[place]
        for i, place in enumerate(places)
    ]
    bound = torch.stack(held_out).log().quantile(0.1)
    expected = relative_scores(graph, places).log() < bound
    assert expected.float().mean() - 0.1 > 0.2
    assert bound > math.log(0.05)
    assert torch.equal(outliers([graph], labels_at(places, 40), 1, policy), expected)
    few = relative_scores(graph, places[:4]) < 0.05
    assert torch.equal(outliers([graph], labels_at(places[:4], 40), 1, policy), few), "of fewer none is held out"


@ROWS
@pytest.mark.parametrize(
    ("images", "typical", "size", "is_absent"),
    [(3, 0.12, 50, True), (3, 0.14, 50, False), (2, 0.12, 50, False), (3, 0.39, 14, True), (3, 0.41, 14, False)],
)
def test_a_class_is_absent_by_the_typicality_of_three_images(images, typical, size, is_absent, policy):
    scores = torch.tensor([[0.9, 0.1]]).repeat(200, 1)
    scores[:size] = torch.tensor([0.2, 0.8])
    labels = torch.tensor([0] * 3 + [1] * images)
    typicality = torch.tensor([0.5] * 3 + [typical] * images)
    first, second = class_members(scores, typicality, labels, 1.0, policy)
    assert len(first) == 200 - size
    assert len(second) == (0 if is_absent else size)


def test_a_ridge_classifier_is_punished_by_the_mean_square_of_what_teaches_it():
    """Features that are one direction each, of which many or few images teach: then each weight has a closed form."""
    direction = torch.tensor([0] * 20 + [1] * 20 + [2] * 2 + [3] * 2)
    labels, vectors = direction % 2, torch.eye(4)[direction]
    scores = torch.full((44, 2), 0.4).scatter(1, labels[:, None], 0.6)
    # the first half of each class teaches, and a labelled image of each direction: 12 and 1 of them are of each class
    scores[torch.arange(44) % 2 == 0] += 0.01
    taught = torch.cat([direction[::2], torch.arange(4)]).bincount().float()
    weights = 0.5 * taught / (taught + taught.sum() / 4)
    answers = torch.where(torch.eye(2, dtype=torch.bool)[labels], 1.0, -1.0) * weights[direction][:, None]
    both = with_ridge_vote(scores, vectors, torch.eye(4), torch.tensor([0, 1, 0, 1]))
    assert torch.allclose(both, scores / scores.std() + answers / answers.std(), atol=1e-4)


@pytest.fixture(scope="module")
def garments():
    vae = load_weights("fashion-mnist").vae
    return vae, LatentBank.from_images(vae, IMAGES)


@pytest.mark.parametrize(("labels", "is_of_use"), [(2, True), (3, False)])
def test_from_three_labels_a_class_on_they_must_spread(labels, is_of_use, garments):
    vae, bank = garments
    shown = LABELS.argsort(stable=True).view(10, 50)[:, :labels].flatten()
    wrong = LABELS[shown][torch.randperm(len(shown), generator=torch.Generator().manual_seed(0))]
    assert check_pool(bank, bank.query(vae, IMAGES[shown] / 255), wrong, 10).is_of_use is is_of_use


def test_from_ten_photographs_on_they_are_tested_against_the_pool(garments):
    vae, bank = garments
    digits = load_weights("mnist")
    images = digits.vae.decode(digits.bank.latents[:10].float()).detach()
    for count, tested in ((9, False), (10, True)):
        query = dataclasses.replace(bank.query(vae, images[:count]), policy=PHOTOGRAPHS)
        assert (query.two_sample_auc > 0.8) is tested
        assert tested or query.two_sample_auc == 0.5
        assert dataclasses.replace(query, policy=CLUSTERED).two_sample_auc == 0.5
