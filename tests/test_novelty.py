"""Samples are new: they lie between latents of the pool, not on them; and a prior draws images of no class."""

import math
import pickle

import numpy as np
import pytest
import safetensors.torch
import torch

from benchmarks.novelty import frechet_distance, nearest_distance
from train.near_copies import near_copies
from vae_augment import VAE, LatentBank, VAEAugment, VAEConfig, Weights, WeightsError, load_weights
from vae_augment.demo_data import fashion_sample
from vae_augment.neighbourhoods import Neighbourhoods, _weights
from vae_augment.prior import Exemplars, Mixture, StandardNormal

IMAGES, LABELS = fashion_sample()
EVERY = list(range(10)) * 20


@pytest.fixture(scope="module")
def fitted():
    return VAEAugment.from_pretrained("fashion-mnist").fit(IMAGES[:100], LABELS[:100])


@pytest.fixture(scope="module")
def weights():
    return load_weights("fashion-mnist")


@pytest.mark.parametrize("shape", [(6,), (2, 3, 1)])
def test_a_new_latent_is_what_the_formula_says(shape):
    torch.manual_seed(0)
    latents = torch.randn(30, *shape).half()
    around = Neighbourhoods(latents, torch.tensor([30]))
    z = latents.float().flatten(1)
    directions = torch.nn.functional.normalize(z)
    nearest = (directions @ directions.T).fill_diagonal_(-2).topk(10, 1).indices
    places, novelty = torch.tensor([3, 17]), 0.6
    new = around.draw(places, novelty, torch.Generator().manual_seed(1))
    eps = torch.randn(2, 10, generator=torch.Generator().manual_seed(1))
    mean = z[nearest[places]].mean(1)
    noise = torch.einsum("bk,bkl->bl", eps, z[nearest[places]] - mean[:, None]) / math.sqrt(10)
    expected = z[places] + novelty * noise
    assert torch.allclose(new, expected.view(2, *shape), atol=1e-5)


def test_neighbours_are_of_the_same_class():
    """Two classes far apart: whatever lies between latents of one is of it."""
    torch.manual_seed(0)
    latents = torch.cat([torch.randn(50, 4) + 20, torch.randn(50, 4) - 20]).half()
    around = Neighbourhoods(latents, torch.tensor([50, 100]))
    places = torch.arange(100)
    new = around.draw(places, 1.0)
    assert ((new.mean(1) > 0) == (places < 50)).all()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_class_of_few_latents_has_samples(count):
    torch.manual_seed(0)
    latents = torch.randn(count, 2, 3, 3).half()
    new = Neighbourhoods(latents, torch.tensor([count])).draw(torch.zeros(7, dtype=torch.int64), 0.75)
    assert new.shape == (7, 2, 3, 3)
    assert new.isfinite().all()
    if count == 1:
        assert torch.allclose(new, latents.float().expand_as(new), atol=1e-6)


def test_samples_are_new_unless_asked_otherwise(fitted):
    """At 0 each is a decoded latent of the pool; by default hardly one is near it."""
    known = fitted.vae.decode(fitted.bank.latents.float()).flatten(1)

    def distance(novelty):
        fitted.novelty = novelty
        torch.manual_seed(0)
        return torch.cdist(fitted.sample(EVERY).flatten(1), known).min(1).values

    own, usual, far = distance(0), distance(0.85), distance(1.0)
    assert own.max() < 0.05
    assert usual.median() > 1.5
    assert far.median() > usual.median()
    fitted.novelty = 0.85


def test_novelty_is_an_option_of_the_transform_and_not_of_the_fit(fitted, tmp_path):
    fitted.save_fit(tmp_path / "fit.safetensors")
    again = VAEAugment.from_pretrained("fashion-mnist", novelty=0).load_fit(tmp_path / "fit.safetensors")
    assert "novelty=0)" in repr(again)
    assert "novelty=0.85" in repr(fitted)
    again.novelty = 0.85
    torch.manual_seed(0)
    one = again.sample([1, 2, 3])
    torch.manual_seed(0)
    assert torch.equal(one, fitted.sample([1, 2, 3]))


@pytest.mark.parametrize("novelty", [-0.1, 1.1, math.nan, "much", True])
def test_what_is_no_novelty_is_refused(novelty):
    with pytest.raises(ValueError, match=r"novelty must be a number from 0 to 1\.0, got"):
        VAEAugment.from_pretrained("fashion-mnist", novelty=novelty)


def test_images_without_a_label_beside_are_new_too(fitted):
    """As in a v1 pipeline, one after the other and in a batch."""
    torch.manual_seed(0)
    known = fitted.vae.decode(fitted.bank.latents.float()).flatten(1)
    new = torch.stack([fitted(image) for image in IMAGES[:20]]).float().flatten(1) / 255
    assert torch.cdist(new, known).min(1).values.median() > 1
    batch = fitted(IMAGES[:20]).float().flatten(1) / 255
    assert torch.cdist(batch, known).min(1).values.median() > 1


def test_without_a_pool_novelty_changes_nothing(weights):
    few = VAEAugment(weights.vae, novelty=0.2, gain=1.0).fit(IMAGES[:30], LABELS[:30])
    torch.manual_seed(0)
    one = few.sample([1, 2])
    few.novelty = 0.9
    torch.manual_seed(0)
    assert torch.equal(few.sample([1, 2]), one)


def test_generate_needs_no_labels_and_follows_the_seed():
    augment = VAEAugment.from_pretrained("mnist")
    torch.manual_seed(0)
    one = augment.generate(5)
    torch.manual_seed(0)
    assert torch.equal(augment.generate(5), one)
    assert one.shape == (5, 1, 28, 28)
    assert 0 <= one.min() <= one.max() <= 1
    assert augment.generate(0).shape == (0, 1, 28, 28)
    for wrong in (-1, 2.0, True, "3"):
        with pytest.raises(ValueError, match="count must be a number of images, got"):
            augment.generate(wrong)


def test_generate_takes_any_prior(weights):
    augment = VAEAugment(weights)
    z = weights.bank.whitened(weights.vae)
    with torch.no_grad():
        expected = weights.vae.decode(weights.bank.latents[:3].float())
    drawn = augment.generate(3, prior=lambda count, generator: z[:count])
    assert torch.allclose(drawn, expected, atol=1e-3)
    with pytest.raises(
        ValueError, match=r"a prior must give finite latents of shape \(2, 64\), got torch.float32 \(2, 3\)"
    ):
        augment.generate(2, prior=lambda count, generator: torch.zeros(count, 3))
    with pytest.raises(ValueError, match="a prior must give finite latents"):
        augment.generate(2, prior=lambda count, generator: torch.full((count, 64), math.nan))


def test_every_prior_but_the_normal_one_draws_what_the_encoder_knows(weights):
    """Latents of real images are few of those of N(0, I): of its images, a latent is mostly another one."""
    bank = weights.bank.whitened(weights.vae)
    torch.manual_seed(0)

    def typical(prior):
        return float(torch.cdist(prior(200, None).flatten(1), bank).min(1).values.median())

    exemplars, mixture, normal = map(typical, (Exemplars(bank), Mixture.of_latents(bank), StandardNormal((64,))))
    real = float(torch.cdist(bank[:200], bank).topk(2, 1, largest=False).values[:, 1].median())
    assert max(exemplars, mixture) < 1.1 * real
    assert normal > 1.3 * real


def test_a_mixture_has_the_mean_and_the_variance_of_what_it_is_fitted_to():
    torch.manual_seed(0)
    latents = torch.cat([torch.randn(2000, 5) * torch.tensor([3.0, 1, 1, 0.5, 0.1]) + 4, torch.randn(1000, 5) - 4])
    drawn = Mixture.of_latents(latents, components=2, rank=5)(20_000)
    assert torch.allclose(drawn.mean(0), latents.mean(0), atol=0.15)
    assert torch.allclose(drawn.std(0), latents.std(0), rtol=0.05)


def test_a_mixture_of_few_or_equal_latents():
    assert Mixture.of_latents(torch.randn(3, 4))(5).shape == (5, 4)
    assert torch.allclose(Mixture.of_latents(torch.ones(100, 4))(5), torch.ones(5, 4))
    assert len(Mixture.of_latents(torch.randn(50_000, 4)).shares) <= 500
    spatial = Mixture.of_latents(torch.randn(2000, 4, 16, 16))
    assert spatial(2).shape == (2, 4, 16, 16)
    assert spatial.factors.numel() + spatial.means.numel() <= 500_000


def test_weights_without_a_bank_keep_a_mixture(weights, tmp_path):
    mixture = Mixture.of_latents(weights.bank.whitened(weights.vae))
    VAEAugment(Weights(weights.vae, prior=mixture), gain=1.0).save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "prior.safetensors",
    }
    again = VAEAugment.from_pretrained(tmp_path)
    torch.manual_seed(0)
    one = again.generate(4)
    torch.manual_seed(0)
    assert torch.allclose(VAEAugment(Weights(weights.vae, prior=mixture)).generate(4), one, atol=0.02)
    VAEAugment(weights).save_pretrained(tmp_path)
    assert not (tmp_path / "prior.safetensors").exists()
    assert (tmp_path / "bank.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shares": torch.tensor([0.5, -0.5])}, "shares must be parts of a whole"),
        ({"shares": torch.zeros(2)}, "shares must be parts of a whole"),
        ({"shares": torch.ones(3)}, "shares must be parts of a whole"),
        ({"means": torch.full((2, 64), math.nan)}, "means must hold finite floats"),
        ({"means": torch.zeros(2, 3)}, "means has shape"),
        ({"factors": torch.zeros(2, 64)}, "factors has shape"),
        ({"extra": torch.zeros(2)}, "unknown tensors: extra"),
    ],
)
def test_a_damaged_prior_is_refused(weights, tmp_path, change, message):
    import hashlib
    import json

    from vae_augment.hub.format import config_checksum

    mixture = Mixture(torch.tensor([0.5, 0.5]), torch.zeros(2, 64), torch.zeros(2, 3, 64))
    VAEAugment(Weights(weights.vae, prior=mixture), gain=1.0).save_pretrained(tmp_path)
    path, config = tmp_path / "prior.safetensors", json.loads((tmp_path / "config.json").read_text())
    tensors = safetensors.torch.load_file(path) | {name: value.half() for name, value in change.items()}
    path.write_bytes(content := safetensors.torch.save(tensors, metadata={"format": "pt"}))
    config["sha256"]["prior.safetensors"] = hashlib.sha256(content).hexdigest()
    config["sha256"]["config.json"] = config_checksum(config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=message):
        load_weights(tmp_path)


def test_a_bank_of_ones_own_is_generated_from(weights):
    bank = LatentBank.from_images(weights.vae, IMAGES[:50])
    augment = VAEAugment(weights.vae, bank=bank, gain=1.0, novelty=0)
    known = weights.vae.decode(bank.latents.float()).flatten(1)
    assert torch.cdist(augment.generate(20).flatten(1), known).min(1).values.max() < 0.05
    augment.novelty = 1
    assert torch.cdist(augment.generate(20).flatten(1), known).min(1).values.median() > 1


def test_the_frechet_distance_of_two_gaussians_is_the_known_one():
    """Of equal covariances it is the squared distance of the means, of scaled ones sum_i (a_i - b_i)^2 of the deviations."""
    torch.manual_seed(0)
    root = torch.randn(6, 6, dtype=torch.float64)
    covariance = root @ root.T
    mean = torch.randn(6, dtype=torch.float64)
    assert abs(frechet_distance((mean, covariance), (mean + 2, covariance)) - 4 * 6) < 1e-6
    spread = torch.rand(6, dtype=torch.float64) + 1
    one, other = (torch.diag(value.square()) for value in (spread, 3 * spread))
    assert abs(frechet_distance((mean, one), (mean, other)) - float((2 * spread).square().sum())) < 1e-6


def test_the_distance_to_the_nearest_training_image():
    training = torch.randint(0, 256, (300, 1, 28, 28), dtype=torch.uint8)
    assert nearest_distance(training[[7, 250]], training).max() < 1e-2
    changed = training[:1].clone()
    changed[0, 0, 0, 0] = 255 - changed[0, 0, 0, 0]
    expected = abs(float(changed[0, 0, 0, 0]) - float(training[0, 0, 0, 0])) / 255
    assert abs(float(nearest_distance(changed, training)) - expected) < 1e-2


def test_a_run_tells_how_many_latents_of_its_bank_are_near_copies(weights):
    """The bundled VAE draws its bank's images; one that draws nothing gives no image away."""
    held_out = IMAGES[300:]
    bank = LatentBank.from_images(weights.vae, IMAGES[:300])
    assert near_copies(weights.vae, bank, IMAGES[:300], held_out) > 0.4
    blind = VAE(VAEConfig(latent_dim=8)).eval()
    assert near_copies(blind, LatentBank.from_images(blind, IMAGES[:300]), IMAGES[:300], held_out) < 0.1


@pytest.mark.parametrize("setting", ["float64", "meta", "autocast"])
def test_what_a_user_has_set_for_training_changes_no_new_image(fitted, weights, setting):
    """But for the rounding of a network in bfloat16. Nor does it stay behind: constants are kept for the whole process."""
    _weights.cache_clear()

    def made():
        torch.default_generator.manual_seed(0)
        fresh = VAEAugment(weights, gain=1.0)
        mixture = Mixture.of_latents(weights.bank.whitened(weights.vae)[:100], components=2)
        one = IMAGES[0].clone()
        return [
            fitted.sample([1, 2]),
            fitted.sample([3]),
            fitted(one, 3)[0],
            fresh.generate(2),
            fresh.generate(2, prior=mixture),
        ]

    try:
        if setting == "float64":
            torch.set_default_dtype(torch.float64)
        elif setting == "meta":
            torch.set_default_device("meta")
        with torch.autocast("cpu", torch.bfloat16, enabled=setting == "autocast"):
            within = made()
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    for one, other in zip(within, made(), strict=True):
        assert torch.allclose(one.float(), other.float(), atol=0.02 if one.is_floating_point() else 5)


def test_two_latents_of_a_class_have_others_between_them():
    torch.manual_seed(0)
    latents = torch.randn(2, 5).half()
    new = Neighbourhoods(latents, torch.tensor([2])).draw(torch.zeros(50, dtype=torch.int64), 0.85)
    along = (latents[1] - latents[0]).float()
    part = (new - latents[0].float()) @ along / along.square().sum()
    assert torch.allclose(new, latents[0].float() + part[:, None] * along, atol=1e-3)
    assert part.std() > 0.2


def test_a_mixture_keeps_no_latent_of_a_single_image():
    """Outliers would have clusters of their own, whose mean is the outlier."""
    torch.manual_seed(0)
    outliers = 40 * torch.eye(10)
    latents = torch.cat([torch.randn(400, 10), outliers])
    mixture = Mixture.of_latents(latents, components=20)
    assert (mixture.shares * len(latents)).round().min() >= 10
    assert torch.cdist(outliers, mixture.means).min() > 5


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (lambda: Exemplars(torch.zeros(0, 4)), "finite latents .* got none"),
        (lambda: Exemplars(torch.full((3, 4), math.nan)), "not finite"),
        (lambda: Exemplars(torch.zeros(3, 4), novelty=2), "novelty must be a number from 0 to 1, got 2"),
        (lambda: Exemplars(torch.zeros(3, 4), novelty=math.nan), "novelty must be a number from 0 to 1, got nan"),
        (lambda: Mixture.of_latents(torch.zeros(0, 4)), "finite latents .* got none"),
        (lambda: Mixture.of_latents(torch.full((3, 4), math.inf)), "not finite"),
        (lambda: Mixture.of_latents(torch.zeros(3, 4), rank=0), "got 500 and 0"),
    ],
)
def test_what_no_prior_is_made_of(prior, message):
    with pytest.raises(ValueError, match=message):
        prior()


@pytest.mark.parametrize(
    "z", [torch.full((2, 64), 1e300, dtype=torch.float64), torch.zeros(2, 64, dtype=torch.complex64), "latents"]
)
def test_what_no_prior_may_give(weights, z):
    with pytest.raises(ValueError, match="a prior must give finite latents of shape"):
        VAEAugment(weights, gain=1.0).generate(2, prior=lambda count, generator: z)


def test_generate_counts_as_numpy_does_and_workers_are_not_sent_its_prior(weights):
    augment = VAEAugment(weights, gain=1.0)
    before = len(pickle.dumps(augment))
    assert len(augment.generate(np.int64(3))) == 3
    assert len(pickle.dumps(augment)) < 1.01 * before
    assert len(pickle.loads(pickle.dumps(augment)).generate(2)) == 2
