import math

import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from tests.conftest import IMAGES, LABELS
from train.loss import bits_per_dim, distortion, evaluate, kl_per_dim, knn_purity, reconstruction, vae_loss
from vae_augment import VAE, LatentBank, Posterior, VAEConfig

X = IMAGES[:8] / 255


def test_kl_is_that_of_torch_distributions():
    torch.manual_seed(0)
    mean, std = torch.randn(6, 4), torch.rand(6, 4) + 0.1
    expected = kl_divergence(Normal(mean, std), Normal(torch.zeros(4), torch.ones(4))).mean(0)
    assert torch.allclose(kl_per_dim(Posterior(mean, std)), expected, atol=1e-6)


def test_gaussian_reconstruction_is_the_likelihood_at_the_best_variance():
    torch.manual_seed(0)
    logits = torch.randn_like(X)
    loss = reconstruction(distortion(logits, X, "gaussian"), 784, "gaussian")

    def at(sigma):
        return -Independent(Normal(torch.sigmoid(logits), sigma), 3).log_prob(X).mean()

    best = (torch.sigmoid(logits) - X).square().mean().sqrt()
    assert loss.item() == pytest.approx(at(best).item(), rel=1e-4)
    assert at(best * 1.1) > loss
    assert at(best * 0.9) > loss


def test_bernoulli_reconstruction_is_the_likelihood():
    torch.manual_seed(0)
    logits, binary = torch.randn_like(X), (X > 0.5).float()
    expected = -Independent(Bernoulli(logits=logits), 3).log_prob(binary).mean()
    loss = reconstruction(distortion(logits, binary, "bernoulli"), 784, "bernoulli")
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_perfect_reconstruction_of_constant_images_is_finite():
    x = torch.full((4, 1, 28, 28), 0.5)
    logits = torch.zeros_like(x, requires_grad=True)
    loss = reconstruction(distortion(logits, x, "gaussian"), 784, "gaussian")
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_total_is_the_weighted_sum(vae):
    torch.manual_seed(0)
    loss = vae_loss(vae, X, beta=0.5)
    assert loss["total"].item() == pytest.approx((loss["recon"] + 0.5 * loss["kl"]).item())
    assert set(loss) == {"total", "recon", "kl"}


def test_free_bits_cost_nothing_below_and_have_no_gradient_there(vae):
    torch.manual_seed(0)
    loss = vae_loss(vae, X, free_bits=100.0)
    assert (loss["total"] - loss["recon"]).item() == pytest.approx(100.0 * 8, rel=1e-3)
    (loss["total"] - loss["recon"]).backward()
    assert vae.encoder[-1].weight.grad.abs().max() < 1e-5
    vae.zero_grad()


def test_sums_do_not_depend_on_batch_size(vae):
    torch.manual_seed(0)
    kl = [vae_loss(vae, x)["kl"].item() for x in (X, X.repeat(3, 1, 1, 1))]
    assert kl[0] == pytest.approx(kl[1], rel=1e-5)


def test_bits_per_dim_of_a_uniform_density_is_8():
    assert bits_per_dim(0.0, 784) == 8
    assert bits_per_dim(-784 * math.log(2), 784) == 7


def test_evaluate_units(vae):
    quality = evaluate(vae, IMAGES)
    x = IMAGES / 255
    mse = (vae.decode(vae.encode(x).mean) - x).square().mean().item()
    assert quality["psnr_db"] == pytest.approx(-10 * math.log10(mse), abs=1e-3)
    assert 0 <= quality["active_units"] <= 8
    assert quality["bits_per_dim"] == pytest.approx(bits_per_dim(quality["nats"], 784))
    assert "bits_per_dim" not in evaluate(vae, IMAGES, "bernoulli")


def test_knn_purity_on_separated_and_random_labels(vae):
    images = torch.cat([torch.full((30, 1, 28, 28), value, dtype=torch.uint8) for value in (0, 255)])
    images[:, :, 0, 0] += torch.arange(60, dtype=torch.uint8)[:, None] % 20
    assert knn_purity(vae, None, images, torch.tensor([0] * 30 + [1] * 30)) == 1.0
    torch.manual_seed(0)
    assert knn_purity(vae, None, IMAGES, torch.randint(10, (500,))) == pytest.approx(0.1, abs=0.03)


def test_knn_purity_over_photographs_is_that_of_the_features_which_compare_them(vae):
    torch.manual_seed(0)
    spatial = VAE(VAEConfig(latent_dim=4, spatial=True, width=16))
    by_features = knn_purity(spatial, LatentBank.from_images(spatial, IMAGES), IMAGES, LABELS)
    assert by_features > knn_purity(spatial, None, IMAGES, LABELS)
    of_vectors = LatentBank.from_images(vae, IMAGES[:100])
    assert knn_purity(vae, of_vectors, IMAGES, LABELS) == knn_purity(vae, None, IMAGES, LABELS)


def test_spatial_latents_are_measured_per_channel():
    vae = VAE(VAEConfig(latent_dim=4, spatial=True, width=16))
    assert evaluate(vae, IMAGES[:50])["active_units"] <= 4
