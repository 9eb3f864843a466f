"""One plan, drawn in one place, decides every image; an autoencoder from elsewhere stands behind the same transform."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision import tv_tensors

from tests.conftest import FEW, IMAGES, LABELS
from vae_augment import Interpolate, LatentBank, LocalNoise, PosteriorSample, SyntheticDataset, VAEAugment, WeightsError
from vae_augment.engine import Engine, How, Plan
from vae_augment.vae import Codec, check_codec


@pytest.mark.parametrize("p", [1.0, 0.5])
@pytest.mark.parametrize("images", [IMAGES[:9], IMAGES[:9] / 255, tv_tensors.Video(IMAGES[:12].view(3, 4, 1, 28, 28))])
def test_a_plan_survives_a_pickle_and_gives_its_images_again(vae, images, p):
    torch.manual_seed(0)
    for jitter in (None, PosteriorSample(), lambda mean, std: mean + torch.randn_like(mean)):
        augment = VAEAugment(vae, jitter=jitter, p=p)
        params = augment.make_params([images])
        before = torch.get_rng_state()
        made = [augment.transform(images, given) for given in (params, pickle.loads(pickle.dumps(params)))]
        assert torch.equal(*made)
        assert torch.equal(torch.get_rng_state(), before), "all chance is in the plan"


def test_only_the_engine_draws(vae, monkeypatch):
    """With its plans fixed, nothing is left to chance on any path."""
    augment = VAEAugment(vae, p=0.5)
    fixed = Plan(noise=torch.ones(1, 8))
    monkeypatch.setattr(Engine, "plan", lambda self, count, *rest: fixed._replace(noise=torch.ones(count, 8)))
    monkeypatch.setattr(Engine, "_choose", lambda self, shape, *rest: torch.ones(shape, dtype=torch.bool))
    state = torch.get_rng_state()
    for call in (augment, lambda image: augment(image, 3), lambda image: augment.vary_all([image])):
        call(IMAGES[0])
    augment(IMAGES[:5])
    assert torch.equal(torch.get_rng_state(), state)


def test_public_attributes_stay_what_their_user_set(fitted):
    assert fitted.residual is True
    decoded = VAEAugment.from_pretrained("fashion-mnist", residual=False).fit(FEW)
    assert decoded.residual is False
    for augment in (copy.copy(fitted), copy.copy(decoded)):
        for residual in (True, False):
            augment.residual = residual
            torch.manual_seed(0)
            made, _ = augment(IMAGES[:4], LABELS[:4])
            augment.residual = not residual
            torch.manual_seed(0)
            assert torch.equal(made, augment(IMAGES[:4], LABELS[:4])[0]), "a new image is no change of the old one"


class Blocks(nn.Module):
    """An autoencoder from elsewhere: the means of 4 x 4 blocks, without a posterior."""

    channels, size, latent_shape = 1, 28, (1, 7, 7)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("latent_mean", torch.full((1, 1, 1), 0.3))
        self.register_buffer("latent_std", torch.full((1, 1, 1), 0.35))

    def encode(self, x: Tensor) -> tuple[Tensor, None]:
        return nn.functional.avg_pool2d(x, 4), None

    def decode(self, z: Tensor) -> Tensor:
        return interpolate(z, scale_factor=4, mode="bilinear").clamp(0, 1)

    def fingerprint(self) -> str:
        return "blocks"


def test_an_autoencoder_from_elsewhere_stands_behind_the_transform(image):
    augment = VAEAugment(Blocks())
    assert augment.gain > 0.1, "its strength is solved as that of any other"
    out = augment(image)
    assert type(out) is type(image)
    assert VAEAugment(Blocks(), strength=0)(image) is image
    assert torch.equal(pickle.loads(pickle.dumps(augment)).vae.latent_mean, augment.vae.latent_mean)


def test_it_has_banks_fits_and_data_sets(tmp_path):
    blocks: Codec = Blocks()
    bank = LatentBank.from_images(blocks, IMAGES)
    toward = VAEAugment(blocks, bank=bank, jitter=Interpolate(k=5))
    assert toward(IMAGES[:3]).shape == (3, 1, 28, 28)
    augment = VAEAugment(blocks, bank=bank).fit(FEW)
    assert augment.sample([3, 4]).shape == (2, 1, 28, 28)
    assert len(SyntheticDataset(FEW, 0.5, augment)) == 150
    augment.save_fit(tmp_path / "fit.safetensors")
    assert VAEAugment(blocks).load_fit(tmp_path / "fit.safetensors").classes == augment.classes
    with pytest.raises(WeightsError, match="other weights"):
        VAEAugment.from_pretrained("mnist").load_fit(tmp_path / "fit.safetensors")
    with pytest.raises(TypeError, match="Blocks"):
        augment.save_pretrained(tmp_path / "weights")
    assert not (tmp_path / "weights" / "config.json").exists()


def test_what_an_autoencoder_lacks_is_told_at_once():
    class Flat(Blocks):
        def encode(self, x):
            return x.flatten(1), None

    class Small(Blocks):
        def decode(self, z):
            return z

    class Bare(nn.Module):
        latent_shape = (3,)

    with pytest.raises(TypeError, match="Bare without channels, size, latent_mean, latent_std, encode, decode"):
        VAEAugment(Bare())
    with pytest.raises(TypeError, match="got object; to load weights by name"):
        VAEAugment(object())
    with pytest.raises(ValueError, match=r"Flat.encode gives latents of \(784,\), latent_shape says \(1, 7, 7\)"):
        VAEAugment(Flat())
    with pytest.raises(ValueError, match=r"Small.decode gives images of \(1, 7, 7\)"):
        check_codec(Small())

    class Signed(Blocks):
        def decode(self, z):
            return 2 * super().decode(z) - 1

    with pytest.raises(ValueError, match=r"pixels from -1 to -1, expected \[0, 1\]: map \[-1, 1\]"):
        VAEAugment(Signed())
    flat, wide = Blocks(), Blocks()
    flat.latent_std.zero_()
    wide.latent_mean = torch.zeros(3, 1, 1)
    with pytest.raises(ValueError, match="latent_std must be above 0"):
        VAEAugment(flat)
    with pytest.raises(ValueError, match=r"statistics of shape \(3, 1, 1\) for latents of \(1, 7, 7\)"):
        LatentBank.from_images(wide, IMAGES[:9])
    with pytest.raises(ValueError, match="posterior's std"):
        VAEAugment(Blocks(), jitter=PosteriorSample())


def test_a_network_in_training_is_looked_at_without_being_changed():
    class Normed(Blocks):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(1)

        def encode(self, x):
            return super().encode(self.norm(x))[0], None

    net = Normed().train()
    net.norm.weight.data.fill_(0.5)
    before = copy.deepcopy(net.state_dict())
    bank = LatentBank.from_images(net, IMAGES[:40])
    VAEAugment(net, bank=bank)
    assert net.training
    assert net.norm.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(LatentBank.from_images(net.eval(), IMAGES[:40]).latents, bank.latents)


def test_a_jitter_of_ones_own_may_describe_itself(vae):
    class Doubled(LocalNoise):
        """Says nothing of itself: what it inherits is not said of it."""

        def __call__(self, mean, std, generator=None):
            assert std is not None
            return 2 * mean

    assert VAEAugment(vae, jitter=Doubled(bank=torch.randn(9, 8))).gain == 1.0
    with pytest.raises(ValueError, match="needs a bank"):
        VAEAugment(vae, jitter=LocalNoise())


def test_strength_counts_on_the_way_to_a_class(fitted):
    """Half of the way lies between the image's own latent and the wanted one."""
    torch.manual_seed(0)
    target = fitted.jitter.draw_latents(torch.tensor([2]))
    net = fitted._engine.net.on(torch.device("cpu"))
    x, plan = IMAGES[:1] / 255, Plan(target=target, makes_new=True)
    mean = net.whitened_mean(x)
    for strength in (0.0, 0.5, 1.0):
        expected = net.decode_whitened(mean + strength * (target - mean))
        assert torch.allclose(fitted._engine.vary(x, plan, How(strength)), expected, atol=1e-5)


def test_a_jitter_derived_from_one_with_a_bank_gets_it_too():
    class Half(Interpolate):
        def __call__(self, mean, std, generator=None):
            return mean + 0.5 * (super().__call__(mean, std, generator) - mean)

    augment = VAEAugment.from_pretrained("fashion-mnist", jitter=Half())
    assert augment(IMAGES[:2]).shape == (2, 1, 28, 28)
    assert augment.gain == 1.0, "it moves as it says"

    class Other:
        traits = "an attribute of its own"

        def __call__(self, mean, std):
            return mean + 1

    assert VAEAugment.from_pretrained("fashion-mnist", jitter=Other())(IMAGES[:2]).shape == (2, 1, 28, 28)


def test_gradients_and_memory_formats_do_not_depend_on_chance(fitted):
    for p in (0.5, 1.0):
        augment = copy.copy(fitted)
        augment.p = p
        for seed in range(4):
            torch.manual_seed(seed)
            x = (IMAGES[:3] / 255).requires_grad_()
            made, _ = augment(x, LABELS[:3])
            made.sum().backward()
            assert x.grad.isfinite().all()
    last = torch.rand(8, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    assert VAEAugment(fitted.vae, gain=1.0, p=0.5)(last).stride() == last.stride()


def test_mistakes_in_a_call_are_told_before_anything_is_done(fitted):
    with pytest.raises(TypeError, match=r"from_pretrained\(\) got an unexpected keyword argument 'strenght'"):
        VAEAugment.from_pretrained("no such weights", strenght=1)
    with pytest.raises(ValueError, match="4 images and 3 labels"):
        fitted.vary_all(list(IMAGES[:4]), [1, 2, 3])
