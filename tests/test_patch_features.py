"""Banks whose images are compared by patch features: those of spatial latents by these alone, others by these too."""

import dataclasses
import hashlib
import json
import warnings

import pytest
import safetensors.torch
import torch
from conftest import FEW, IMAGES, LABELS
from torch.nn.functional import normalize

from vae_augment import VAE, LatentBank, VAEAugment, VAEConfig, WeightsError, hub, load_weights
from vae_augment.hub.format import config_checksum
from vae_augment.pool.latent_hog import LatentHogView
from vae_augment.pool.members import most_confident
from vae_augment.pool.patch_features import PatchFeatures
from vae_augment.pool.policy import CLUSTERED, PHOTOGRAPHS
from vae_augment.pool.ridge import two_sample_auc, with_ridge_vote
from vae_augment.pool.views import FeatureView


@pytest.fixture(scope="module")
def spatial():
    """A VAE with a spatial latent, and a bank of the shipped garments."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = VAE(VAEConfig(spatial=True, latent_dim=4, width=16))
    return vae, LatentBank.from_images(vae, IMAGES)


def same_class(neighbours):
    return (LABELS[neighbours.long()] == LABELS[:, None]).float().mean()


def view_of(images, k=20):
    return FeatureView.of_pool("patch features", 1.0, *PatchFeatures.learn(images), k)


def test_garments_are_told_apart_by_their_patch_features():
    view = view_of(IMAGES)
    assert view.features.shape == (500, 128)
    assert view.features.dtype == torch.float16
    assert view.neighbours.shape == (500, 20)
    assert (view.neighbours != torch.arange(500)[:, None]).all()
    assert same_class(view.neighbours[:, :10]) > 0.6
    assert torch.allclose(view.extractor.embed(IMAGES[:30] / 255), view.features[:30].float(), atol=2e-2)
    own = view.extractor.embed(IMAGES[30:60])
    assert view.nearest(None, IMAGES[30:60], own)[:, 0].tolist() == list(range(30, 60))


def test_patch_features_repeat_and_leave_the_global_rng_alone():
    state = torch.get_rng_state()
    (one, of_one), (two, of_two) = (PatchFeatures.learn(IMAGES[:50]) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(of_one, of_two)
    assert all(torch.equal(one.tensors()[name], two.tensors()[name]) for name in one.tensors())


@pytest.mark.parametrize("size", [8, 28, 64])
def test_any_size_and_colour_pools_as_small_as_two_and_with_equal_and_blank_images(size):
    torch.manual_seed(0)
    pool = torch.rand(2, 3, size, size)
    assert view_of(pool).neighbours.tolist() == [[1], [0]]
    pool = torch.cat([pool, pool, pool[:1], torch.zeros(4, 3, size, size)])
    view = view_of(pool)
    assert view.features.isfinite().all()
    neighbours = view.neighbours
    assert neighbours.shape == (9, 8)
    assert (neighbours != torch.arange(9)[:, None]).all()
    assert sorted(neighbours[0, :2].tolist()) == [2, 4]


def test_a_bank_of_spatial_latents_compares_patch_features_and_survives_a_folder(spatial, tmp_path):
    torch.manual_seed(0)
    vae, bank = spatial
    (view,) = bank.views
    assert view.name == "patch features"
    assert view.neighbours.shape == (500, 20)
    query = bank.query(vae, IMAGES[:100] / 255)
    assert query.nearest[0][:5, 0].tolist() == [0, 1, 2, 3, 4]
    assert query.typicality.median() > 0.5
    assert bank.query(vae, torch.rand(20, 1, 28, 28)).typicality.median() < 0.25
    hub.save(tmp_path, hub.Weights(vae, bank), "card")
    loaded = hub.load(tmp_path).bank
    assert same_tensors(loaded.views, bank.views)
    assert loaded.policy == bank.policy == PHOTOGRAPHS
    without(tmp_path, [*view.extractor.tensors(), "points"])
    loaded = hub.load(tmp_path).bank
    assert [type(view) for view in loaded.views] == [LatentHogView], "a folder that an older version wrote"
    assert loaded.policy == CLUSTERED
    assert loaded.missing_views(vae) == ["patch features"]


def same_tensors(views, others):
    def tensors(view):
        is_of_features = isinstance(view, FeatureView)
        return [view.features, view.neighbours, *(view.extractor.tensors().values() if is_of_features else ())]

    pairs = zip(views, others, strict=True)
    return all(torch.equal(a, b) for one, two in pairs for a, b in zip(tensors(one), tensors(two), strict=True))


def rewrite_bank(folder, change):
    """Change the tensors of a folder's bank and sign it again: the checks behind the checksum must hold alone."""
    path = folder / "bank.safetensors"
    safetensors.torch.save_file(change(safetensors.torch.load_file(path)), path)
    config = json.loads((folder / "config.json").read_text())
    config["sha256"]["bank.safetensors"] = hashlib.sha256(path.read_bytes()).hexdigest()
    config["sha256"]["config.json"] = config_checksum(config)
    (folder / "config.json").write_text(json.dumps(config))


def without(folder, names):
    rewrite_bank(folder, lambda tensors: {name: tensor for name, tensor in tensors.items() if name not in names})


def refused(folder, message, **changed):
    rewrite_bank(folder, lambda tensors: tensors | {name: tensor.contiguous() for name, tensor in changed.items()})
    with pytest.raises(WeightsError, match=message) as raised:
        hub.load(folder)
    assert str(folder) in str(raised.value)


def test_patch_features_that_do_not_fit_are_refused(spatial, tmp_path):
    vae, bank = spatial
    (view,) = bank.views
    own = view.extractor.tensors()
    for name, wrong in {
        "points": view.features[:-1],
        "shifts": own["shifts"][:-1],
        "projection": own["projection"][:, :-1],
        "centre": own["centre"] * torch.nan,
    }.items():
        hub.save(tmp_path, hub.Weights(vae, bank), "card")
        refused(tmp_path, name, **{name: wrong})
    wide = {"projection": own["projection"].repeat(1, 2), "points": view.features.repeat(1, 2)}
    hub.save(tmp_path, hub.Weights(vae, bank), "card")
    refused(tmp_path, "projection must have from 1 to 128 columns, got 256", **wide)
    hub.save(tmp_path, hub.Weights(vae, bank), "card")
    without(tmp_path, ["shifts"])
    with pytest.raises(WeightsError, match="missing tensors: shifts"):
        hub.load(tmp_path)


@pytest.fixture(scope="module")
def flat():
    """The shipped VAE of garments, and a bank of the shipped sample: compared by latents and HOG, and by patch features."""
    vae = load_weights("fashion-mnist").vae
    return vae, LatentBank.from_images(vae, IMAGES)


def test_a_bank_of_vectors_has_patch_features_as_a_second_view(flat, tmp_path):
    vae, bank = flat
    assert bank.policy == CLUSTERED
    assert [view.name for view in bank.views] == ["latents and HOG", "patch features"]
    assert [view.weight for view in bank.views] == [2, 1]
    assert bank.views[1].features.shape == (500, 64)
    assert [view.neighbours.shape for view in bank.views] == [(500, 13), (500, 13)]
    hub.save(tmp_path, hub.Weights(vae, bank), "card")
    loaded = hub.load(tmp_path).bank
    for bank_of in (loaded, LatentBank.from_images(vae, IMAGES)):
        assert same_tensors(bank_of.views, bank.views)
        assert [view.weight for view in bank_of.views] == [2, 1]


def test_a_bank_of_an_earlier_version_has_one_view_and_still_fits(flat, tmp_path):
    vae, bank = flat
    older = dataclasses.replace(bank, views=bank.views[:1], index=None)
    hub.save(tmp_path, hub.Weights(vae, older), "card")
    assert set(safetensors.torch.load_file(tmp_path / "bank.safetensors")) == {"latents", "neighbours"}
    loaded = hub.load(tmp_path).bank
    assert same_tensors(loaded.views, older.views)
    assert type(VAEAugment(vae, bank=loaded).fit(FEW).jitter).__name__ == "ClassLatents"


def test_a_second_graph_that_does_not_fit_is_refused(flat, tmp_path):
    vae, bank = flat
    second = bank.views[1].neighbours
    wrong = {"outside": second + 500, "must be int16 or int32": second[:-1], "got torch.float32": second.float()}
    for message, graph in wrong.items():
        hub.save(tmp_path, hub.Weights(vae, bank), "card")
        refused(tmp_path, message, texture_neighbours=graph)
    hub.save(tmp_path, hub.Weights(vae, bank), "card")
    without(tmp_path, [*bank.views[1].extractor.tensors(), "points"])
    with pytest.raises(WeightsError, match="texture_neighbours is there without the patch features"):
        hub.load(tmp_path)


def test_both_views_label_a_pool_better_than_either(flat):
    vae, bank = flat
    shown = LABELS.argsort(stable=True).view(10, 50)[:, :5].flatten()
    unknown = torch.ones(500, dtype=torch.bool).index_fill(0, shown, False)

    def right(views):
        query = dataclasses.replace(bank, views=views).query(vae, IMAGES[shown] / 255)
        return float((query.spread(LABELS[shown], 10).argmax(1) == LABELS)[unknown].float().mean())

    assert right(bank.views) > max(right((view,)) for view in bank.views)


def test_a_few_labels_spread_by_patch_features(spatial):
    vae, bank = spatial
    augment = VAEAugment(vae, bank=bank).fit(FEW)
    members, ends = augment.jitter.members, augment.jitter.ends
    of_class = torch.bucketize(torch.arange(len(members)), ends, right=True)
    assert 200 <= len(members) <= 300, "half of each class is kept"
    new = members >= 100
    assert (LABELS[members] == of_class)[new].float().mean() > 0.75
    assert augment.sample([3, 4]).shape == (2, 1, 28, 28)


def test_label_spreading_and_a_ridge_classifier_vote():
    torch.manual_seed(0)
    labels = torch.arange(3).repeat_interleave(100)
    vectors = normalize(torch.randn(3, 20)[labels] + torch.randn(300, 20))
    scores = torch.full((300, 3), 0.2)
    wrong = torch.rand(300) < 0.3
    told = torch.where(wrong, (labels + 1) % 3, labels)
    scores[torch.arange(300), told] = torch.where(wrong, 0.4, 0.6)
    scores[:5] = 0
    both = with_ridge_vote(scores, vectors, vectors[labels.diff(prepend=torch.tensor([-1])) > 0], torch.arange(3))
    assert (both.argmax(1) == labels)[5:].float().mean() > 0.85 > (scores.argmax(1) == labels)[5:].float().mean()
    assert (both[:5] == 0).all(), "nothing is known of them"
    assert most_confident(torch.tensor([0.3, 0.9, 0.5, 0.0]), torch.tensor([1, 1, 0, 1]), 1, 0.5).tolist() == [1]
    assert most_confident(torch.tensor([0.3]), torch.tensor([1]), 0, 0.5).tolist() == []


def test_a_two_sample_test_tells_images_unlike_the_pools():
    torch.manual_seed(0)
    pool, same, other = (normalize(torch.randn(n, 20) + shift) for n, shift in ((500, 0), (40, 0), (40, 0.6)))
    assert two_sample_auc(same, pool) == pytest.approx(0.5, abs=0.15)
    assert two_sample_auc(other, pool) > 0.85


def test_images_of_unequal_classes_are_not_told_from_a_pool_by_their_number(spatial):
    torch.manual_seed(0)
    centres = torch.randn(3, 20)

    def drawn(*counts):
        labels = torch.arange(3).repeat_interleave(torch.tensor(counts))
        return normalize(centres[labels] + torch.randn(len(labels), 20)), 1 / torch.tensor(counts)[labels]

    pool, (few, weight) = drawn(200, 200, 200)[0], drawn(4, 150, 4)
    assert two_sample_auc(few, pool) > 0.7
    assert two_sample_auc(few, pool, weight) < 0.65
    assert two_sample_auc(few, pool, torch.ones(len(few))) == pytest.approx(two_sample_auc(few, pool), abs=1e-4)
    assert two_sample_auc(normalize(few + 0.1), pool, weight) > 0.85, "what is unlike it is told still"

    vae, bank = spatial
    shown = torch.cat([LABELS.eq(label).nonzero()[: 50 if label == 1 else 3, 0] for label in range(10)])
    query = bank.query(vae, IMAGES[shown] / 255)
    assert query.two_sample_auc > bank.policy.largest_auc_without_warning
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        VAEAugment(vae, bank=bank).fit(IMAGES[shown], LABELS[shown])

    # a kind that the pool lacks, beside single images of what it has
    other = torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * IMAGES[:40] / 255
    few = [(image, 0) for image in other] + [(IMAGES[shown[-1 - 3 * i]] / 255, 1 + i) for i in range(3)]
    with pytest.warns(UserWarning, match="many images unlike|does not know|does not hold"):
        VAEAugment(vae, bank=bank).fit(few)


def test_a_bank_that_holds_mostly_other_things_is_told(spatial):
    vae, bank = spatial
    two = [(image, label) for image, label in zip(IMAGES, LABELS.tolist(), strict=True) if label in (1, 8)][:40]
    with pytest.warns(UserWarning, match="many images unlike|does not know"):
        VAEAugment(vae, bank=bank).fit(two)


def test_labels_that_mean_nothing_do_not_spread(spatial):
    vae, bank = spatial
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="do not tell the classes apart"):
        fit = VAEAugment(vae, bank=bank).fit([(image, int(torch.randint(10, ()))) for image in IMAGES[:50]])
    assert type(fit.jitter).__name__ == "ClassDifferences"


def test_a_stored_pool_that_holds_every_image_twice_is_known(spatial):
    """As of versions that did not leave out copies."""
    vae = spatial[0]
    once = LatentBank.from_images(vae, IMAGES[:250])
    (view,) = once.views
    doubled = FeatureView.of_pool(view.name, view.weight, view.extractor, view.features.repeat(2, 1), k=20)
    twice = dataclasses.replace(once, latents=once.latents.repeat(2, 1, 1, 1), views=(doubled,), index=None)
    new = IMAGES[250:350] / 255
    assert float(twice.query(vae, new).typicality.median()) == pytest.approx(
        float(once.query(vae, new).typicality.median()), abs=0.1
    )
    assert twice.query(vae, IMAGES[:20] / 255).typicality.median() == 1


def test_another_default_dtype(spatial):
    vae = spatial[0]
    torch.set_default_dtype(torch.float64)
    try:
        fit = VAEAugment(vae, bank=LatentBank.from_images(vae, IMAGES)).fit(FEW)
    finally:
        torch.set_default_dtype(torch.float32)
    assert type(fit.jitter).__name__ == "ClassLatents"
