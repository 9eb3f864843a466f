"""`calibrate` with codecs that need no other library: the package's own VAE, and one of a user."""

import copy

import pytest
import torch

from tests.conftest import FEW, IMAGES
from vae_augment import LocalNoise, Noise, VAEAugment
from vae_augment.strength import RHO, solve_gain, solve_gain_soon
from vae_augment.vae import Whitened


def test_our_own_vae_keeps_its_statistics_and_its_bank():
    augment = VAEAugment.from_pretrained("fashion-mnist")
    before, gain = augment.vae.fingerprint(), augment.gain
    assert augment.calibrate(IMAGES[:100]) is augment
    assert augment.vae.fingerprint() == before
    assert augment.bank is not None
    assert augment.gain == pytest.approx(gain, rel=0.1)  # these are images as it was trained on
    augment.calibrate(IMAGES[:100] // 4)
    assert augment.gain < 0.5 * gain  # of fainter images a smaller change is as visible
    augment.fit(FEW)
    with pytest.raises(RuntimeError, match="not fitted"):
        augment.calibrate(IMAGES)


def test_jitters_of_a_bank_are_solved_too():
    augment = VAEAugment.from_pretrained("fashion-mnist", jitter=LocalNoise())
    before = augment.gain
    augment.calibrate(IMAGES[:64] // 4)
    assert augment.gain < before


def test_a_jitter_of_ones_own_keeps_its_gain(vae):
    augment = VAEAugment(vae, jitter=lambda mean, std: mean + 1)
    assert augment.calibrate(IMAGES[:20]).gain == 1


class Halves(torch.nn.Module):
    """A latent of the images' left halves, ten times as large."""

    channels, size, latent_shape = 1, 28, (1, 28, 14)

    def __init__(self):
        super().__init__()
        self.register_buffer("latent_mean", torch.zeros(1, 1, 1))
        self.register_buffer("latent_std", torch.ones(1, 1, 1))

    def encode(self, x):
        return 10 * x[..., :14], None

    def decode(self, z):
        return (torch.cat([z, z.flip(-1)], -1) / 10).clamp(0, 1)

    def fingerprint(self):
        return f"halves, {float(self.latent_mean)}, {float(self.latent_std)}"


class Measured(Halves):
    def with_statistics(self, statistics):
        new = copy.deepcopy(self)
        new.latent_mean, new.latent_std = statistics.mean, statistics.std
        return new


def test_a_codec_of_ones_own_is_whitened_if_it_says_how():
    kept = VAEAugment(Halves(), gain=1.0).calibrate(IMAGES[:50])
    measured = VAEAugment(Measured(), gain=1.0).calibrate(IMAGES[:50])
    assert float(kept.vae.latent_std) == 1
    assert float(measured.vae.latent_std) == pytest.approx(float(10 * (IMAGES[:50, :, :, :14] / 255).std()), rel=1e-4)
    assert kept.gain == pytest.approx(measured.gain * float(measured.vae.latent_std), rel=0.05)


def test_the_sooner_solver_solves_the_same(vae):
    x = IMAGES[:256] / 255
    exact, soon = solve_gain(vae, Noise(), x), solve_gain_soon(Whitened(vae), Noise(), x)
    assert soon == pytest.approx(exact, rel=0.05)
    assert solve_gain_soon(Whitened(vae), Noise(), x, rho=1e6) == 16
    assert solve_gain_soon(Whitened(vae), Noise(), x, rho=RHO / 4, draws=0) == pytest.approx(exact / 2, rel=0.1)
