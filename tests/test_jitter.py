import pickle

import pytest
import torch

from tests.conftest import IMAGES
from vae_augment import VAE, Extrapolate, Interpolate, LocalNoise, Noise, PosteriorSample, VAEAugment, VAEConfig
from vae_augment.vae import Whitened

BANK = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
JITTERS = [
    *(Noise(), Noise(0.3), PosteriorSample(2.0)),
    *(Interpolate(bank=BANK), Extrapolate(k=3, bank=BANK), LocalNoise(k=3, bank=BANK)),
]


def posterior(count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(count, 8), torch.rand(count, 8)


@pytest.mark.parametrize("jitter", JITTERS, ids=repr)
def test_one_seed_one_latent_and_each_image_its_own(jitter):
    mean, std = torch.ones(4, 8), torch.full((4, 8), 0.5)
    state = torch.get_rng_state()
    z = [jitter(mean, std, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), state)
    assert z[0].shape == mean.shape
    assert torch.equal(z[0], z[1])
    assert not torch.equal(z[0], z[2])
    assert not torch.equal(z[0][0], z[0][1])


@pytest.mark.parametrize("jitter", JITTERS, ids=repr)
def test_pickles_and_compares_by_its_settings(jitter):
    torch.manual_seed(0)
    copy = pickle.loads(pickle.dumps(jitter))
    assert copy == jitter
    assert repr(copy) == repr(jitter)
    mean, std = posterior()
    seeds = [torch.Generator().manual_seed(0) for _ in range(2)]
    assert torch.equal(copy(mean, std, generator=seeds[0]), jitter(mean, std, generator=seeds[1]))


def test_draws_do_not_depend_on_dtype_defaults():
    torch.set_default_dtype(torch.float64)
    try:
        z = Noise()(torch.zeros(2, 8, dtype=torch.float32), torch.ones(2, 8), torch.Generator().manual_seed(0))
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(z, Noise()(torch.zeros(2, 8), torch.ones(2, 8), torch.Generator().manual_seed(0)))


def test_posterior_sample_scales_with_std_and_temperature():
    torch.manual_seed(0)
    mean, std = torch.zeros(20_000, 1), torch.full((20_000, 1), 0.5)
    assert PosteriorSample(2.0)(mean, std).std().item() == pytest.approx(1.0, rel=0.03)
    assert torch.equal(PosteriorSample(0.0)(mean, std), mean)


def test_interpolation_ends_between_the_image_and_a_neighbour_and_extrapolation_beyond():
    mean = BANK[:1] * 1.1
    neighbours = BANK[(mean @ torch.nn.functional.normalize(BANK).T)[0].topk(3).indices]
    for seed in range(10):
        move = Interpolate(k=3, bank=BANK)(mean, mean, torch.Generator().manual_seed(seed)) - mean
        away = Extrapolate(k=3, bank=BANK)(mean, mean, torch.Generator().manual_seed(seed)) - mean
        part = (move * (neighbours - mean)).sum(1) / (neighbours - mean).square().sum(1)
        exact = torch.isclose(move, part[:, None] * (neighbours - mean), atol=1e-5).all(1)
        assert exact.any()
        assert 0 <= part[exact][0] <= 1
        assert torch.allclose(away, -move, atol=1e-6)


def test_local_noise_has_the_covariance_of_the_neighbours():
    mean = BANK[:1] * 1.1
    neighbours = BANK[(mean @ torch.nn.functional.normalize(BANK).T)[0].topk(3).indices]
    many = mean.expand(20_000, -1)
    move = LocalNoise(k=3, bank=BANK, scale=0.5)(many, many, torch.Generator().manual_seed(0)) - many
    toward = neighbours - mean
    assert torch.allclose(move.T.cov(), 0.25 * toward.T @ toward / 3, atol=0.02)


def test_spatial_latents():
    bank = torch.randn(20, 4, 7, 7)
    assert LocalNoise(bank=bank)(torch.randn(3, 4, 7, 7), torch.ones(3, 4, 7, 7)).shape == (3, 4, 7, 7)
    assert Interpolate(bank=bank)(torch.randn(3, 4, 7, 7), torch.ones(3, 4, 7, 7)).shape == (3, 4, 7, 7)


def test_errors():
    mean, std = posterior()
    with pytest.raises(ValueError, match="needs a bank"):
        Interpolate()(mean, std)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Interpolate(k=0)
    with pytest.raises(ValueError, match=r"\(50, 8\)"):
        Interpolate(bank=BANK)(torch.zeros(1, 9), torch.ones(1, 9))


def test_a_jitter_derived_from_noise_moves_as_it_says(vae):
    class Still(Noise):
        def __call__(self, mean, std, generator=None):
            return mean

    assert torch.equal(VAEAugment(vae, jitter=Still())(IMAGES[:4]), IMAGES[:4])


def test_a_jitter_of_ones_own_may_view_a_spatial_latent():
    torch.manual_seed(0)
    vae = VAE(VAEConfig(channels=3, size=32, latent_dim=8, spatial=True, width=16))
    seen = []

    def jitter(mean, std):
        seen.append((mean.view(len(mean), -1), std.view(len(std), -1)))
        return mean

    x = torch.rand(2, 3, 32, 32)
    VAEAugment(vae, jitter=jitter)(x)
    assert torch.allclose(seen[-1][0], Whitened(vae).encode_whitened(x)[0].flatten(1), atol=1e-5)
