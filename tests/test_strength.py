import pytest
import torch

from tests.conftest import IMAGES
from vae_augment import Extrapolate, Interpolate, LatentBank, LocalNoise, Noise, PosteriorSample, VAEAugment, hub
from vae_augment.engine import How
from vae_augment.strength import RHO, solve_gain, solve_gains
from vae_augment.vae import Whitened


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("jitter", [Noise(), PosteriorSample(), Interpolate(), Extrapolate(), LocalNoise()], ids=repr)
def test_strength_1_is_the_same_visible_change_on_every_vae(name, jitter):
    """On images the gain was not solved on: a fifth of the distance between two images, about."""
    augment = VAEAugment.from_pretrained(name, jitter=jitter, strength=1.0)
    torch.manual_seed(0)
    samples = augment.vae.decode(Whitened(augment.vae).unwhiten(augment.bank.whitened(augment.vae)[::20]))
    x = IMAGES / 255 if name == "fashion-mnist" else samples
    change = augment._engine.vary(x, augment._engine.plan(len(x), How(), None), How())
    rho = change.square().mean() / (x - x.roll(1, 0)).square().mean()
    assert rho.sqrt().item() == pytest.approx(RHO**0.5, rel=0.15)


@pytest.mark.parametrize("jitter", [Noise(), PosteriorSample(), Interpolate(), Extrapolate(), LocalNoise()], ids=repr)
def test_a_gain_solved_with_a_bank_agrees_with_the_stored_one(jitter):
    stored = VAEAugment.from_pretrained("mnist", jitter=jitter)
    solved = VAEAugment(stored.vae, bank=stored.bank, jitter=jitter)
    assert solved.gain == pytest.approx(stored.gain, rel=0.1)


def test_a_gain_of_ones_own_is_not_kept_as_the_solved_one(tmp_path):
    vae = hub.load("mnist").vae
    VAEAugment(vae, gain=1.0).save_pretrained(tmp_path)
    assert VAEAugment.from_pretrained(tmp_path).gain == VAEAugment(vae).gain


def test_change_grows_with_strength():
    change = []
    for strength in (0.25, 0.5, 1.0):
        torch.manual_seed(0)
        augment = VAEAugment.from_pretrained("fashion-mnist", strength=strength)
        change.append((augment(IMAGES / 255) - IMAGES / 255).square().mean().sqrt().item())
    assert change[0] < change[1] < change[2]
    assert change[1] / change[0] == pytest.approx(2, rel=0.2)


def test_gains_are_stored_and_found_again():
    weights = hub.load("fashion-mnist")
    bank = weights.bank.whitened(weights.vae)
    solved = solve_gains(weights.vae, IMAGES / 255, bank)
    assert solved.keys() == weights.gains.keys()
    for name, gain in weights.gains.items():
        assert solved[name] == pytest.approx(gain, rel=0.15)


def test_a_vae_without_stored_gains_is_calibrated_on_its_own_samples():
    weights = hub.load("fashion-mnist")
    assert VAEAugment(weights.vae).gain == pytest.approx(weights.gains["Noise"], rel=0.25)
    assert VAEAugment(weights.vae, gain=0.3).gain == 0.3
    assert VAEAugment(weights.vae, jitter=lambda mean, std: mean).gain == 1.0


def test_scale_means_the_same_however_the_transform_was_made():
    weights = hub.load("fashion-mnist")
    solved = [VAEAugment(weights.vae, jitter=Noise(scale)).gain for scale in (0.5, 1.0, 2.0)]
    assert solved[0] == solved[1] == solved[2]


def test_calibrating_leaves_the_global_rng_alone(vae):
    state = torch.get_rng_state()
    VAEAugment(vae)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_decoder_that_ignores_its_latent_has_a_bounded_gain(vae):
    import copy

    dead = copy.deepcopy(vae)
    torch.nn.init.zeros_(dead.decoder[0][0].weight)
    assert solve_gain(dead, Noise(), IMAGES[:50] / 255) <= 16


def test_bank_from_images_is_whitened_by_the_statistics(vae):
    bank = LatentBank.from_images(vae, IMAGES, size=100)
    assert len(bank) == 100
    assert bank.latents.dtype == torch.float16
    assert torch.allclose(bank.latents.float(), vae.encode(IMAGES[bank.index.long()] / 255).mean, atol=1e-2)
