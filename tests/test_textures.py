"""Banks whose images are compared by their textures: those of spatial latents by these alone, others by these too."""

import dataclasses

import pytest
import torch
from conftest import FEW, IMAGES, LABELS
from torch.nn.functional import normalize

from vae_augment import VAE, LatentBank, VAEAugment, VAEConfig, WeightsError, hub, load_weights
from vae_augment.pool.patch_features import Textures
from vae_augment.pool.ridge import most_confident, told_apart, with_linear_classifier


@pytest.fixture(scope="module")
def spatial():
    """A VAE with a spatial latent, and a bank of the shipped garments."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = VAE(VAEConfig(spatial=True, latent_dim=4, width=16))
    return vae, LatentBank.from_images(vae, IMAGES)


def same_class(neighbours):
    return (LABELS[neighbours.long()] == LABELS[:, None]).float().mean()


def test_garments_are_told_apart_by_their_textures():
    textures = Textures.learn(IMAGES)
    assert textures.points.shape == (500, 128)
    assert textures.points.dtype == torch.float16
    neighbours = textures.neighbours()
    assert neighbours.shape == (500, 20)
    assert (neighbours != torch.arange(500)[:, None]).all()
    assert same_class(neighbours[:, :10]) > 0.6
    assert torch.allclose(textures.of(IMAGES[:30] / 255), textures.points[:30].float(), atol=2e-2)
    assert textures.nearest(textures.of(IMAGES[30:60]), 1)[:, 0].tolist() == list(range(30, 60))


def test_textures_repeat_and_leave_the_global_rng_alone():
    state = torch.get_rng_state()
    one, two = (Textures.learn(IMAGES[:50]) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one.tensors()[name], two.tensors()[name]) for name in one.tensors())


@pytest.mark.parametrize("size", [8, 28, 64])
def test_any_size_and_colour_pools_as_small_as_two_and_with_equal_and_blank_images(size):
    torch.manual_seed(0)
    pool = torch.rand(2, 3, size, size)
    textures = Textures.learn(pool)
    assert textures.neighbours().tolist() == [[1], [0]]
    pool = torch.cat([pool, pool, pool[:1], torch.zeros(4, 3, size, size)])
    textures = Textures.learn(pool)
    assert textures.points.isfinite().all()
    neighbours = textures.neighbours()
    assert neighbours.shape == (9, 8)
    assert (neighbours != torch.arange(9)[:, None]).all()
    assert sorted(neighbours[0, :2].tolist()) == [2, 4]


def test_a_bank_of_spatial_latents_has_textures_and_survives_a_folder(spatial, tmp_path):
    vae, bank = spatial
    assert bank.textures is not None
    assert bank.neighbours.shape == (500, 20)
    (links,) = bank.links(vae, IMAGES[:5] / 255)
    assert links[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert bank.familiarity(vae, IMAGES[:100] / 255).median() > 0.5
    assert bank.familiarity(vae, torch.rand(20, 1, 28, 28)).median() < 0.25
    hub.save(tmp_path, hub.Weights(vae, bank), "card")
    loaded = hub.load(tmp_path).bank
    assert all(torch.equal(loaded.textures.tensors()[k], v) for k, v in bank.textures.tensors().items())
    older = LatentBank(bank.latents, bank.neighbours)
    hub.save(tmp_path, hub.Weights(vae, older), "card")
    assert hub.load(tmp_path).bank.textures is None, "a folder that an older version wrote"


def test_textures_that_do_not_fit_are_refused(spatial, tmp_path):
    vae, bank = spatial
    for name, wrong in {
        "points": bank.textures.points[:-1],
        "shifts": bank.textures.shifts[:-1],
        "projection": bank.textures.projection[:, :-1],
        "centre": bank.textures.centre * torch.nan,
    }.items():
        textures = dataclasses.replace(bank.textures, **{name: wrong})
        hub.save(tmp_path, hub.Weights(vae, dataclasses.replace(bank, textures=textures)), "card")
        with pytest.raises(WeightsError, match=name):
            hub.load(tmp_path)


@pytest.fixture(scope="module")
def flat():
    """The shipped VAE of garments, and a bank of the shipped sample: compared by latents, and by textures."""
    vae = load_weights("fashion-mnist").vae
    return vae, LatentBank.from_images(vae, IMAGES)


def test_a_bank_of_vectors_keeps_textures_as_a_second_graph(flat, tmp_path):
    vae, bank = flat
    assert bank.textures_alone is None
    assert bank.textures.points.shape == (500, 64)
    assert [graph.shape for graph in bank.graphs] == [(500, 13), (500, 13)]
    hub.save(tmp_path, hub.Weights(vae, bank), "card")
    loaded = hub.load(tmp_path).bank
    for bank_of in (loaded, LatentBank.from_images(vae, IMAGES)):
        assert all(torch.equal(a, b) for a, b in zip(bank_of.graphs, bank.graphs, strict=True))
        assert torch.equal(bank_of.textures.points, bank.textures.points)


def test_a_bank_of_an_earlier_version_has_one_graph_and_still_fits(flat, tmp_path):
    vae, bank = flat
    older = LatentBank(bank.latents, bank.neighbours)
    hub.save(tmp_path, hub.Weights(vae, older), "card")
    loaded = hub.load(tmp_path).bank
    assert loaded.textures is None
    assert len(loaded.graphs) == 1
    assert type(VAEAugment(vae, bank=loaded).fit(FEW).jitter).__name__ == "ClassLatents"


def test_a_second_graph_that_does_not_fit_is_refused(flat, tmp_path):
    vae, bank = flat
    second = bank.texture_neighbours
    wrong = {
        "outside": dataclasses.replace(bank, texture_neighbours=second + 500),
        "must be int16": dataclasses.replace(bank, texture_neighbours=second[:-1]),
        "without textures": dataclasses.replace(bank, textures=None),
    }
    for message, damaged in wrong.items():
        hub.save(tmp_path, hub.Weights(vae, damaged), "card")
        with pytest.raises(WeightsError, match=message):
            hub.load(tmp_path)


def test_both_graphs_label_a_pool_better_than_either(flat):
    vae, bank = flat
    shown = LABELS.argsort(stable=True).view(10, 50)[:, :5].flatten()
    links = bank.links(vae, IMAGES[shown] / 255)
    unknown = torch.ones(500, dtype=torch.bool).index_fill(0, shown, False)

    def right(one_bank, its_links):
        scores = one_bank.spread(its_links, LABELS[shown], 10)
        return float((scores.argmax(1) == LABELS)[unknown].float().mean())

    alone = [right(LatentBank(bank.latents, graph), [linked]) for graph, linked in zip(bank.graphs, links, strict=True)]
    assert right(bank, links) > max(alone)


def test_a_few_labels_spread_by_textures(spatial):
    vae, bank = spatial
    augment = VAEAugment(vae, bank=bank).fit(FEW)
    members, ends = augment.jitter.members, augment.jitter.ends
    of_class = torch.bucketize(torch.arange(len(members)), ends, right=True)
    assert 200 <= len(members) <= 300, "half of each class is kept"
    new = members >= 100
    assert (LABELS[members] == of_class)[new].float().mean() > 0.75
    assert augment.sample([3, 4]).shape == (2, 1, 28, 28)


def test_the_graph_and_a_linear_classifier_vote():
    torch.manual_seed(0)
    labels = torch.arange(3).repeat_interleave(100)
    vectors = normalize(torch.randn(3, 20)[labels] + torch.randn(300, 20))
    scores = torch.full((300, 3), 0.2)
    wrong = torch.rand(300) < 0.3
    told = torch.where(wrong, (labels + 1) % 3, labels)
    scores[torch.arange(300), told] = torch.where(wrong, 0.4, 0.6)
    scores[:5] = 0
    both = with_linear_classifier(
        scores, vectors, vectors[labels.diff(prepend=torch.tensor([-1])) > 0], torch.arange(3)
    )
    assert (both.argmax(1) == labels)[5:].float().mean() > 0.85 > (scores.argmax(1) == labels)[5:].float().mean()
    assert (both[:5] == 0).all(), "nothing is known of them"
    assert most_confident(torch.tensor([0.3, 0.9, 0.5, 0.0]), torch.tensor([1, 1, 0, 1]), 1, 0.5).tolist() == [1]
    assert most_confident(torch.tensor([0.3]), torch.tensor([1]), 0, 0.5).tolist() == []


def test_images_unlike_the_pools_are_told_apart():
    torch.manual_seed(0)
    pool, same, other = (normalize(torch.randn(n, 20) + shift) for n, shift in ((500, 0), (40, 0), (40, 0.6)))
    assert told_apart(same, pool) == pytest.approx(0.5, abs=0.15)
    assert told_apart(other, pool) > 0.85


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
    assert once.textures is not None
    textures = dataclasses.replace(once.textures, points=once.textures.points.repeat(2, 1))
    twice = LatentBank(once.latents.repeat(2, 1, 1, 1), textures.neighbours().short(), textures)
    new = IMAGES[250:350] / 255
    assert float(twice.familiarity(vae, new).median()) == pytest.approx(
        float(once.familiarity(vae, new).median()), abs=0.1
    )
    assert twice.familiarity(vae, IMAGES[:20] / 255).median() == 1


def test_another_default_dtype(spatial):
    vae = spatial[0]
    torch.set_default_dtype(torch.float64)
    try:
        fit = VAEAugment(vae, bank=LatentBank.from_images(vae, IMAGES)).fit(FEW)
    finally:
        torch.set_default_dtype(torch.float32)
    assert type(fit.jitter).__name__ == "ClassLatents"
