"""A bank may compare images in any number of ways: what a new one takes, and what becomes of it."""

import dataclasses

import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d

from tests.conftest import FEW, IMAGES, LABELS
from vae_augment import LatentBank, VAEAugment, Weights, hub, load_weights
from vae_augment.images import as_floats
from vae_augment.pool import FeatureView, table
from vae_augment.pool.policy import CLUSTERED, PHOTOGRAPHS

SHOWN = LABELS.argsort(stable=True).view(10, 50)[:, :5].flatten()


class Thumbnails:
    """An extractor: all that a new view needs is `embed`; the rest is for banks that are stored."""

    dimensions = 49

    def embed(self, images):
        return adaptive_avg_pool2d(as_floats(images), 7).flatten(1)

    @staticmethod
    def shapes(channels):
        return {}

    def tensors(self):
        return {}

    @classmethod
    def from_tensors(cls, tensors):
        return cls()


def thumbnail_view(kind, pool):
    extractor = Thumbnails()
    return FeatureView.of_pool(kind.name, kind.weight, extractor, extractor.embed(pool.images), k=13)


ROW = table.ViewKind(
    name="thumbnails",
    weight=1.0,
    policy=PHOTOGRAPHS,
    of_vectors=thumbnail_view,
    of_maps=None,
    tensors=table.FeatureTensors(Thumbnails, "thumbnails"),
    graph="thumbnail_neighbours",
)


@pytest.fixture(scope="module")
def vae():
    return load_weights("fashion-mnist").vae


@pytest.fixture(scope="module")
def bank(vae):
    return LatentBank.from_images(vae, IMAGES)


@pytest.fixture(scope="module")
def three(bank):
    """The bank with a third view, made by hand."""
    view = FeatureView.of_pool("thumbnails", 1.0, Thumbnails(), Thumbnails().embed(IMAGES), k=13)
    return dataclasses.replace(bank, views=(*bank.views, view))


def right(bank, vae):
    """Part of the pool's unlabelled images that five labels a class label rightly."""
    scores = bank.query(vae, IMAGES[SHOWN] / 255).spread(LABELS[SHOWN], 10)
    is_unknown = torch.ones(500, dtype=torch.bool).index_fill(0, SHOWN, False)
    return float((scores.argmax(1) == LABELS)[is_unknown].float().mean())


def test_three_views_spread_labels_each_by_its_weight(three, vae):
    query = three.query(vae, IMAGES[SHOWN] / 255)
    assert [nearest[:, 0].tolist() for nearest in query.nearest] == [SHOWN.tolist()] * 3
    scores = query.spread(LABELS[SHOWN], 10)
    alone = [
        dataclasses.replace(three, views=(view,)).query(vae, IMAGES[SHOWN] / 255).spread(LABELS[SHOWN], 10)
        for view in three.views
    ]
    assert torch.allclose(scores, (2 * alone[0] + alone[1] + alone[2]) / 4, atol=1e-6)
    assert right(three, vae) > 0.6
    assert query.cross_validated_accuracy(LABELS[SHOWN], 10) > 0.6
    assert type(VAEAugment(vae, bank=three).fit(FEW).jitter).__name__ == "ClassLatents"


def test_a_query_computes_each_view_once(three, vae):
    calls = []

    class Counted(Thumbnails):
        def embed(self, images):
            calls.append(len(images))
            return super().embed(images)

    first = dataclasses.replace(three.views[2], extractor=Counted())
    photographs = dataclasses.replace(three, views=(first, *three.views[:2]), policy=PHOTOGRAPHS)
    VAEAugment(vae, bank=photographs).fit(FEW)
    assert calls == [len(FEW)]


def test_a_view_that_cannot_be_stored_is_named(three, vae, tmp_path):
    def refused(bank, message):
        with pytest.raises(ValueError, match=message):
            hub.save(tmp_path / "bank", Weights(vae, bank), "card")
        assert not list((tmp_path / "bank").iterdir()), "nothing is written"

    refused(three, r"view 'thumbnails' is not in the table of views.*table\.py")
    renamed = dataclasses.replace(three.views[2], name="patch features")
    refused(
        dataclasses.replace(three, views=(three.views[0], renamed)), "view 'patch features' is not what its name says"
    )
    first, second, _ = three.views
    heavier = dataclasses.replace(second, weight=5.0)
    refused(dataclasses.replace(three, views=(first, heavier)), "view 'patch features' has weight 5.0")
    refused(
        dataclasses.replace(three, views=(second, first), policy=PHOTOGRAPHS), "view 'latents and HOG' .* the first"
    )
    refused(dataclasses.replace(three, views=(first, second), policy=PHOTOGRAPHS), "policy")
    hub.save(tmp_path / "bank", Weights(vae, dataclasses.replace(three, views=(first, second))), "card")


def test_a_row_of_the_table_builds_a_view_and_stores_it(three, vae, tmp_path, monkeypatch):
    monkeypatch.setattr(table, "VIEWS", (*table.VIEWS, ROW))
    bank = LatentBank.from_images(vae, IMAGES)
    assert bank.policy == CLUSTERED
    assert bank.missing_views(vae) == []
    for view, by_hand in zip(bank.views, three.views, strict=True):
        assert view.name == by_hand.name
        assert torch.equal(view.neighbours, by_hand.neighbours)
    of_patches, of_thumbnails = bank.views[1:]
    other_first = dataclasses.replace(bank, views=(of_thumbnails, of_patches), policy=PHOTOGRAPHS)
    for saved in (bank, other_first):
        hub.save(tmp_path, Weights(vae, saved), "card")
        loaded = hub.load(tmp_path).bank
        assert loaded.policy == saved.policy
        assert [view.name for view in loaded.views] == [view.name for view in saved.views]
        for view, own in zip(loaded.views, saved.views, strict=True):
            assert torch.equal(view.neighbours, own.neighbours)
            assert torch.equal(view.features, own.features)


def test_a_bank_that_does_not_know_a_view_of_the_table_says_so(bank, vae, monkeypatch):
    monkeypatch.setattr(table, "VIEWS", (*table.VIEWS, ROW))
    names = torch.randint(10, (50,), generator=torch.Generator().manual_seed(0)).tolist()
    with pytest.warns(UserWarning, match="of an earlier version, has no thumbnails"):
        VAEAugment(vae, bank=bank).fit(list(zip(IMAGES[:50], names, strict=True)))


def test_views_that_are_not_of_the_bank_are_refused(bank):
    with pytest.raises(ValueError, match=r"neighbours .* for 499 latents"):
        dataclasses.replace(bank, latents=bank.latents[1:])
    with pytest.raises(ValueError, match="a bank needs views"):
        dataclasses.replace(bank, views=())
    with pytest.raises(ValueError, match="each of another name"):
        dataclasses.replace(bank, views=(bank.views[0], bank.views[0]))


def test_a_pool_of_another_kind_costs_a_fit_nothing_but_its_features():
    weights = load_weights("mnist")
    query = weights.bank.query(weights.vae, IMAGES[:50] / 255)
    assert query.typicality.median() < query.policy.least_typicality
    assert "nearest" not in vars(query)


def test_labels_travel_the_farther_the_fewer_there_are():
    alphas = [CLUSTERED.alpha(count, 10) for count in (10, 50, 100, 250, 1000)]
    assert alphas == pytest.approx([0.99, 0.99, 0.98, 0.95, 0.95])


def test_a_pool_must_be_better_than_guessing():
    for policy in (CLUSTERED, PHOTOGRAPHS):
        least = [policy.least_accuracy_of(count, 10) for count in (30, 100, 1000)]
        assert min(least) > 0.1
        assert max(least) < 1
    assert PHOTOGRAPHS.least_accuracy_of(100, 10) < CLUSTERED.least_accuracy_of(100, 10) == pytest.approx(0.55)
    assert PHOTOGRAPHS.least_accuracy_of(6, 2) == pytest.approx(0.5 + 0.5 / 6**0.5), "few labels: a standard error"


def test_labels_travel_the_farther_the_fewer_they_are():
    for policy in (CLUSTERED, PHOTOGRAPHS):
        alphas = [policy.alpha(labels, 10) for labels in (10, 50, 100, 250, 1000)]
        assert alphas == pytest.approx([0.99, 0.99, 0.98, 0.95, 0.95])
        assert policy.alpha(100, 20) == pytest.approx(policy.alpha(50, 10)), "it counts labels a class"


def test_no_two_views_store_a_tensor_of_one_name():
    names = [name for kind in table.VIEWS for name in kind.tensors.shapes(3)] + [kind.graph for kind in table.VIEWS]
    assert len(set(names)) == len(names)
