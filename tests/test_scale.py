"""Large pools: neighbours by an index of faiss are those of an exact search, and banks of more than 32,768 images are whole."""

import json
import sys

import pytest
import torch

from benchmarks.deformed import deformed
from vae_augment import LatentBank, VAEAugment, load_weights
from vae_augment.demo_data import fashion_sample
from vae_augment.numerics import float32_on_cpu
from vae_augment.pool import EXACT, Search, label_spreading
from vae_augment.pool.label_spreading import LARGE, Graph, inverse, knn_graph, propagate, propagated, seed_scores
from vae_augment.pool.near_duplicates import drop_near_duplicates

IMAGES, LABELS = fashion_sample()
BY_INDEX = Search(exact=400)


def overlap(one, other):
    return float((one[:, :10, None].long() == other[:, None, :10].long()).any(2).float().mean())


@pytest.fixture(scope="module")
def vae():
    return load_weights("fashion-mnist").vae


@pytest.fixture(scope="module")
def pool():
    return torch.cat([images for images, _ in deformed(IMAGES, 1500)])


@pytest.fixture(scope="module")
def banks(vae, pool):
    """The same pool, compared all with all and by an index."""
    return LatentBank.from_images(vae, pool), LatentBank.from_images(vae, pool, search=BY_INDEX)


def test_neighbours_of_an_index_are_those_of_an_exact_search(banks):
    exact, found = banks
    assert torch.equal(exact.index, found.index)
    assert torch.allclose(exact.latents.float(), found.latents.float(), atol=1e-2)
    for one, other in zip(exact.views, found.views, strict=True):
        assert one.recall == 1
        assert other.recall >= 0.95
        assert other.neighbours.dtype == torch.int16, "a small bank is stored as ever"
    assert overlap(exact.views[0].neighbours, found.views[0].neighbours) > 0.9  # of which units are those of candidates
    assert float((found.views[0].neighbours == torch.arange(len(found))[:, None]).sum()) == 0, (
        "no image is its own neighbour"
    )


def test_an_index_finds_the_same_neighbours_of_the_same_features_wherever_it_is_asked_to_do_better(banks):
    features = banks[0].views[1].features
    extractor = banks[0].views[1].extractor
    view = type(banks[0].views[1])
    exact = view.of_pool("by all", 1.0, extractor, features, 13)
    with float32_on_cpu():
        found = view.of_pool("by an index", 1.0, extractor, features, 13, Search(exact=400, least_recall=0.999))
    assert overlap(exact.neighbours, found.neighbours) > 0.99
    wide = torch.cat([features, features.flip(0)], 1)  # 128 features, of which an index sees 64 components
    exact, found = (view.of_pool("wide", 1.0, extractor, wide, 13, how) for how in (Search(), BY_INDEX))
    assert overlap(exact.neighbours, found.neighbours) > 0.95
    flat = torch.randn(len(features), 128, generator=torch.Generator().manual_seed(0))  # 64 components hold half of it
    exact, found = (view.of_pool("flat", 1.0, extractor, flat, 13, how) for how in (Search(), BY_INDEX))
    assert found.recall > 0.98
    assert overlap(exact.neighbours, found.neighbours) > 0.95


def test_a_bank_is_the_same_on_one_thread_and_on_two(vae, pool, banks):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        other = LatentBank.from_images(vae, pool, search=BY_INDEX)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(other.latents, banks[1].latents)
    for one, again in zip(banks[1].views, other.views, strict=True):
        assert torch.equal(one.neighbours, again.neighbours)
        assert torch.equal(one.features, again.features)


def test_labels_spread_as_truly_over_neighbours_of_an_index(banks):
    truth = LABELS.repeat(3)
    right = []
    for bank in banks:
        found = VAEAugment.from_pretrained("fashion-mnist", bank=bank).fit(IMAGES[:100], LABELS[:100]).pool_labels()
        right.append(float((torch.tensor(found.label) == truth[found.index]).float().mean()))
    assert right[1] > right[0] - 0.02


def test_near_duplicates_are_found_by_an_index_too():
    noise = torch.randn(len(IMAGES), 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 4
    noisy = (IMAGES + noise).round().clamp(0, 255).byte()
    images = torch.cat([IMAGES, noisy, *[IMAGES[:1]] * 40])  # one with more copies than are looked at
    exact, found = drop_near_duplicates(images), drop_near_duplicates(images, BY_INDEX)
    assert len(exact) < 520
    assert len(set(exact.tolist()) ^ set(found.tolist())) <= 5


def test_a_walk_through_a_large_bank_finds_the_nearest(vae, banks):
    view = banks[1].views[0]
    asked = torch.cat([part for part, _ in deformed(IMAGES, 2000)])[-100:].float() / 255
    with float32_on_cpu():
        exact, found = view.nearest(vae, asked, view.embed(vae, asked)), view._walked(vae, asked)
    assert overlap(exact, found) > 0.95


@pytest.fixture(scope="module")
def large(banks):
    """A bank of more than 32,768 latents: the small one many times, its graphs side by side."""
    small = banks[0]
    times = EXACT // len(small) + 1
    shift = (torch.arange(times) * len(small)).repeat_interleave(len(small))[:, None]
    views = []
    for view in small.views:
        many = {"neighbours": (view.neighbours.repeat(times, 1) + shift).int()}
        many[("latents", "features")[view is small.views[1]]] = (
            view.features if view is small.views[1] else view.latents
        ).repeat(times, 1)
        views.append(type(view)(**{**vars(view), **many}))
    return LatentBank(small.latents.repeat(times, 1), tuple(views), small.policy, small.of_vae)


def test_a_bank_with_places_of_32_bits_is_saved_loaded_and_fitted(large, tmp_path):
    VAEAugment(load_weights("fashion-mnist").vae, bank=large).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["format_version"] == 3
    augment = VAEAugment.from_pretrained(tmp_path)
    assert len(augment.bank) == len(large) > EXACT
    for one, other in zip(augment.bank.views, large.views, strict=True):
        assert one.neighbours.dtype == torch.int32
        assert torch.equal(one.neighbours, other.neighbours)
    augment.fit(IMAGES[:100], LABELS[:100])
    assert augment.sample([0, 3]).shape == (2, 1, 28, 28)
    assert augment.fit_report.accuracy > 0.6


def test_scores_over_a_large_graph_are_those_of_all_columns_at_once(large):
    neighbours = large.views[1].neighbours.long()
    twice = torch.cat([neighbours, neighbours + len(neighbours)])
    graph = knn_graph(twice)
    assert len(twice) > LARGE
    labels = torch.full((len(twice),), -1)
    labels[::1000] = torch.arange(len(labels[::1000])) % 30
    others = labels.masked_fill(labels == 3, -1)
    known = torch.cat([seed_scores(labels, 30), seed_scores(others, 30)], 1)
    points = (labels >= 0).nonzero()[:, 0]
    expected = propagate(graph, known, 0.9)[points]
    assert torch.allclose(propagated(graph, [labels, others], 30, 0.9, points), expected, atol=1e-6)
    assert expected.count_nonzero() > len(points)


def test_the_order_of_a_large_graph_changes_no_score_and_brings_neighbours_together(large, monkeypatch):
    neighbours = large.views[1].neighbours.long()
    twice = torch.cat([neighbours, neighbours + len(neighbours)])
    shuffled = torch.randperm(len(twice), generator=torch.Generator().manual_seed(0))  # as images of a folder lie
    twice = inverse(shuffled)[twice[shuffled]]
    ordered = knn_graph(twice)
    monkeypatch.setattr(label_spreading, "LARGE", len(twice))
    plain = knn_graph(twice)
    assert plain.order is None
    known = torch.zeros(len(twice), 3)
    known[torch.arange(0, len(twice), 999), torch.arange(0, len(twice), 999) % 3] = 1
    assert torch.allclose(propagate(ordered, known, 0.9), propagate(plain, known, 0.9), atol=1e-6)
    assert median_step(ordered) < median_step(plain) / 100


def median_step(graph: Graph) -> float:
    """From a point to one that it is joined to, in places in memory."""
    matrix = graph.affinity.to_sparse_coo()
    return float((matrix.indices()[0] - matrix.indices()[1]).abs().float().median())


def test_without_faiss_a_large_bank_is_refused_before_anything_is_computed(vae, pool, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ValueError, match=r"pip install 'vae-augment\[scale\]', or ask for fewer images, size="):
        LatentBank.from_images(vae, pool, search=BY_INDEX)
    assert len(LatentBank.from_images(vae, pool[:50], search=BY_INDEX)) == 50, "a small one needs it not"


def test_a_search_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="least_recall in"):
        Search(least_recall=0)


def test_an_index_of_a_pool_that_is_compared_at_once_is_refused():
    with pytest.raises(ValueError, match="exact >= 100"):
        Search(exact=10)


def test_a_large_pool_of_two_images_keeps_both():
    two = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(2, 1, 8, 8)
    assert drop_near_duplicates(two.repeat_interleave(300, 0), BY_INDEX).tolist() == [0, 300]
