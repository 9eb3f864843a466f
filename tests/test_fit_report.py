"""How views are weighed by the labels they carry, and what a fit reports."""

import dataclasses
import math

import pytest
import torch
from torch.nn.functional import one_hot

from tests.conftest import FEW, IMAGES, LABELS
from vae_augment import LatentBank, VAEAugment, load_weights
from vae_augment.fit_report import FitReport
from vae_augment.pool.label_spreading import HeldOut
from vae_augment.pool.weighing import vote_weights

SHOWN = LABELS.argsort(stable=True).view(10, 50)[:, :10].flatten()


def held(*rights):
    """Twenty labels of two classes, of which each view tells so many rightly, as many of both."""
    own = torch.arange(20) % 2
    rows = [one_hot(torch.where(torch.arange(20) < right, own, 1 - own), 2).float() for right in rights]
    return HeldOut(own, tuple(rows))


def test_a_view_votes_as_heavily_as_it_carries_labels():
    assert vote_weights(held(14, 14), [1.0, 1.0]) == pytest.approx([0.5, 0.5])
    assert vote_weights(held(14, 14, 14), [2.0, 1.0, 1.0]) == pytest.approx([0.5, 0.25, 0.25]), "their own weights"
    one, other = vote_weights(held(14, 12), [1.0, 1.0])
    assert one + other == pytest.approx(1)
    assert 0.5 < one < 0.6, "two labels are chance"
    assert vote_weights(held(20, 10), [1.0, 1.0])[1] < 0.2
    many = HeldOut(held(20).own.repeat(5), tuple(rows.repeat(5, 1) for rows in held(20, 10).rows))
    assert vote_weights(many, [1.0, 1.0]) == [1, 0], "the same part of many labels is none"
    assert vote_weights(held(0, 0), [1.0, 3.0]) == pytest.approx([0.25, 0.75])


@pytest.fixture(scope="module")
def vae():
    return load_weights("fashion-mnist").vae


@pytest.fixture(scope="module")
def plain(vae):
    return LatentBank.from_images(vae, IMAGES)


def right(bank, vae, rows):
    """Part of the pool's other images that ten labels a class label rightly, as a fit spreads them."""
    extractor = bank.encoder_features
    features = None if extractor is None else extractor.projected(rows[SHOWN])
    query = bank.query(vae, IMAGES[SHOWN] / 255, features).weighed(LABELS[SHOWN], 10)
    is_unknown = torch.ones(500, dtype=torch.bool).index_fill(0, SHOWN, False)
    members = query.class_members(LABELS[SHOWN], 10, keep=1.0)
    return sum(
        int((LABELS[of_class] == c)[is_unknown[of_class]].sum()) for c, of_class in enumerate(members)
    ) / 400, query


def test_an_encoder_that_knows_nothing_costs_nothing_and_one_that_knows_all_gains(plain, vae):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(500, 32, generator=generator)
    oracle = one_hot(LABELS, 10) + 0.2 * torch.randn(500, 10, generator=generator)
    alone, _ = right(plain, vae, None)
    with_noise, query = right(plain.with_features(noise), vae, noise)
    assert [view.name for view in query.views] == [view.name for view in plain.views], "it does not vote"
    assert with_noise > alone - 0.02
    with_oracle, query = right(plain.with_features(oracle), vae, oracle)
    assert query.views[0].name == "precomputed features", "the best comes first: typicality is told by it"
    assert with_oracle > 0.97 > alone


def test_a_bank_without_an_encoder_is_not_weighed(plain, vae):
    query = plain.query(vae, IMAGES[SHOWN] / 255)
    assert query.weighed(LABELS[SHOWN], 10) is query
    assert "graphs" not in vars(query), "and nothing is computed for it"


def test_one_label_a_class_leaves_the_weights_as_they_are(plain, vae):
    noise = torch.randn(500, 32, generator=torch.Generator().manual_seed(0))
    one = SHOWN[::10]
    bank = plain.with_features(noise)
    query = bank.query(vae, IMAGES[one] / 255, bank.encoder_features.projected(noise[one]))
    assert query.weighed(LABELS[one], 10) is query


def test_a_bank_takes_one_encoder_and_a_row_for_each_image(plain):
    with pytest.raises(ValueError, match="it has 500 and those of none, got 499 rows"):
        plain.with_features(torch.randn(499, 8))
    with pytest.raises(ValueError, match="those of precomputed features"):
        plain.with_features(torch.randn(500, 8)).with_features(torch.randn(500, 8))


def test_a_fit_reports_what_it_found(plain, vae):
    noise = torch.randn(500, 32, generator=torch.Generator().manual_seed(0))
    augment = VAEAugment(vae, bank=plain.with_features(noise))
    assert augment.fit_report is None
    report = augment.fit(FEW, features=noise[:100]).fit_report
    assert (
        list(report.weights)
        == list(report.accuracy_by_view)
        == ["latents and HOG", "patch features", "precomputed features"]
    )
    assert sum(report.weights.values()) == pytest.approx(1)
    assert report.weights["precomputed features"] == 0
    assert report.accuracy_by_view["precomputed features"] < 0.4 < report.accuracy < 1
    assert report.labelled == report.judged == 100
    assert sum(report.kept.values()) == len(augment.fit(FEW, features=noise[:100]).jitter.members)
    assert all(one != other and 2 <= count <= judged for one, other, count, judged in report.confused)
    text = str(report)
    assert text.splitlines()[0] == "100 labelled images of 10 classes"
    assert f"right for {report.accuracy:.0%}" in text
    assert "by precomputed features: weight 0.00, alone" in text
    assert "kept of the pool: 0: " in text
    assert "confused: " in text


def test_a_report_of_a_bank_without_an_encoder_and_after_loading(fitted, tmp_path):
    report = fitted.fit_report
    assert report.weights == pytest.approx({"latents and HOG": 2 / 3, "patch features": 1 / 3})
    assert set(report.kept) == set(range(10))
    fitted.save_fit(tmp_path / "fit")
    assert VAEAugment.from_pretrained("fashion-mnist").load_fit(tmp_path / "fit").fit_report is None


def test_a_report_says_why_a_pool_is_not_used():
    with pytest.warns(UserWarning, match="does not know images like these"):
        report = VAEAugment.from_pretrained("mnist").fit(FEW).fit_report
    assert "does not know images like these" in report.warning
    assert report.warning in str(report)
    assert not any(report.kept.values())
    names = [str(i) for i in range(10)]
    with pytest.warns(UserWarning, match="one image of each class"):
        lone = VAEAugment(load_weights("fashion-mnist").vae).fit(list(zip(IMAGES[:10], names, strict=True))).fit_report
    assert lone is None


def test_a_report_of_one_image_a_class(vae, plain):
    first = [int(LABELS.eq(c).nonzero()[0]) for c in range(10)]
    report = VAEAugment(vae, bank=plain).fit([(IMAGES[i], int(LABELS[i])) for i in first]).fit_report
    assert math.isnan(report.accuracy)
    assert report.judged == 0
    assert "no class has two labelled images" in str(report)
    assert dataclasses.is_dataclass(FitReport)
