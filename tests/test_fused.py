"""The network as matrices gives the numbers of its modules."""

import pickle

import pytest
import torch
from torch.nn.functional import interpolate
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from tests.conftest import IMAGES, LABELS
from tests.conftest import pixels as as_tensor
from vae_augment import VAE, VAEAugment, VAEConfig, hub, shortcuts
from vae_augment.demo_data import fashion_sample
from vae_augment.vae import FusedVAE, Whitened

CONFIGS = [
    VAEConfig(),
    VAEConfig(channels=3, size=32, latent_dim=8, spatial=True, width=32),
    VAEConfig(channels=3, size=32, latent_dim=8, patch=8, width=16, neck=5),
    VAEConfig(channels=2, size=21, latent_dim=4, patch=7, width=16, spatial=True),
    VAEConfig(channels=1, size=12, latent_dim=3, patch=12, width=7, neck=2),
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@torch.no_grad()
def test_equals_the_modules(config):
    torch.manual_seed(0)
    vae = VAE(config).eval()
    vae.latent_mean.normal_()
    vae.latent_std.uniform_(0.5, 2)
    fused = FusedVAE(vae)
    for count in (1, 3):
        x = torch.rand(count, config.channels, config.size, config.size)
        (mean, std), got = Whitened(vae).encode_whitened(x), fused.encode_whitened(x)
        assert got.mean.shape == (count, *vae.latent_shape)
        torch.testing.assert_close(got.mean, mean, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(got.std, std, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(
            fused.decode_whitened(got.mean), Whitened(vae).decode_whitened(mean), atol=1e-5, rtol=0
        )
        torch.testing.assert_close(fused.whitened_mean(x), Whitened(vae).whitened_mean(x), atol=2e-5, rtol=1e-4)
        pair = mean, torch.rand_like(mean), 0.5
        torch.testing.assert_close(fused.decoded_change(*pair), Whitened(vae).decoded_change(*pair), atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", hub.bundled())
@torch.no_grad()
def test_equals_the_modules_with_trained_weights(name):
    vae = hub.load(name).vae
    x = interpolate(IMAGES[:8] / 255, vae.size).expand(-1, vae.channels, -1, -1)
    fused = FusedVAE(vae)
    mean = fused.encode_whitened(x).mean
    torch.testing.assert_close(mean, Whitened(vae).encode_whitened(x)[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(fused.decode_whitened(mean), Whitened(vae).decode_whitened(mean), atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_large_batch_is_computed_in_parts():
    fused = FusedVAE(hub.load("fashion-mnist").vae)
    x = IMAGES[torch.arange(600) % 500] / 255
    mean, std = fused.encode_whitened(x)
    parts = x.split(100)
    for whole, by_hand in (
        (mean, [fused.encode_whitened(part).mean for part in parts]),
        (std, [fused.encode_whitened(part).std for part in parts]),
        (fused.whitened_mean(x), [fused.whitened_mean(part) for part in parts]),
        (fused.decode_whitened(mean), [fused.decode_whitened(part) for part in mean.split(100)]),
        (
            fused.decoded_change(mean, std, 2),
            [fused.decoded_change(*p, 2) for p in zip(mean.split(100), std.split(100), strict=True)],
        ),
    ):
        torch.testing.assert_close(whole, torch.cat(by_hand), atol=1e-5, rtol=1e-5)


def test_a_batch_and_its_images_agree():
    """The same up to a rounding of the last grey level."""
    augment = VAEAugment.from_pretrained("fashion-mnist", jitter=lambda mean, std: 0.7 * mean)
    batch = augment(IMAGES[:32]).int()
    single = torch.stack([augment(image) for image in IMAGES[:32]]).int()
    assert (batch - single).abs().max() <= 1


@pytest.mark.parametrize("config", [VAEConfig(), CONFIGS[1]], ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (12,), (2, 3), (2, 150)], ids=str)
def test_bytes_take_a_short_way_to_the_same_image(config, shape):
    torch.manual_seed(0)
    augment = VAEAugment(VAE(config), gain=1.0)
    pixels = torch.randint(0, 256, (*shape, config.channels, config.size, config.size), dtype=torch.uint8)
    outs = []
    for sample in (pixels, (pixels.mT.contiguous().mT, 3)):  # the latter as torchvision's forward and image.py have it
        torch.manual_seed(0)
        outs.append(augment(sample))
    short, (long, _) = outs
    assert short.dtype == torch.uint8
    assert (short.int() - long.int()).abs().max() <= 1
    assert (short != long).float().mean() < 0.01, "only what lies between two grey levels may be rounded another way"
    assert (short != pixels).any()


@pytest.mark.parametrize("kind", [F.to_pil_image, tv_tensors.Image, torch.Tensor.clone], ids=["PIL", "Image", "Tensor"])
@pytest.mark.parametrize("p", [1.0, 0.5])
def test_a_lone_image_is_varied_as_in_a_sample(kind, p):
    """By the same random numbers; fitted and not, colour and grey."""
    torch.manual_seed(0)
    grey = VAEAugment.from_pretrained("fashion-mnist", p=p)
    fitted = VAEAugment.from_pretrained("fashion-mnist", p=p).fit(
        list(zip(IMAGES[:40], fashion_sample()[1][:40], strict=True))
    )
    colour = VAEAugment(VAE(CONFIGS[1]), gain=1.0, p=p)
    for augment, pixels in (
        (grey, IMAGES[0]),
        (fitted, IMAGES[0]),
        (colour, torch.randint(0, 256, (3, 32, 32)).byte()),
    ):
        image, changed = kind(pixels), []
        for seed in range(8):
            torch.manual_seed(seed)
            alone = augment(image)
            after = torch.rand(())
            torch.manual_seed(seed)
            long = v2.Transform.forward(augment, image)
            assert torch.rand(()) == after, "as many numbers are drawn"
            assert type(alone) is type(long) is type(image)
            assert torch.equal(as_tensor(alone), as_tensor(long))
            changed.append(not torch.equal(as_tensor(alone), pixels))
        assert all(changed) if p == 1 else 0 < sum(changed) < 8


def test_matrices_are_not_pickled():
    augment = VAEAugment.from_pretrained("fashion-mnist")
    before = len(pickle.dumps(augment))
    augment(IMAGES[0])
    assert len(pickle.dumps(augment)) < before + 1000  # where the matrices have millions


def test_without_the_shortcuts_the_same_images_come_out(fitted, monkeypatch):
    """Alone bit for bit, in batches within a rounding of the last grey level; the same random numbers are drawn."""
    plain = VAEAugment.from_pretrained("fashion-mnist", p=0.7)
    calls = [
        lambda: plain(IMAGES[0]),
        lambda: plain(F.to_pil_image(IMAGES[1])),
        lambda: plain(IMAGES[:40]),
        lambda: plain(IMAGES[:40], 3)[0],
        lambda: fitted(IMAGES[0]),
        lambda: fitted(IMAGES[0], 3)[0],
        lambda: fitted(F.to_pil_image(IMAGES[1]), 3)[0],
        lambda: fitted(IMAGES[:40], LABELS[:40])[0],
    ]

    def made():
        for call in calls:
            torch.manual_seed(5)
            yield as_tensor(call()), torch.rand(())

    short = list(made())
    monkeypatch.setattr(shortcuts, "is_lone", lambda *given: False)
    monkeypatch.setattr(shortcuts, "varied_bytes", lambda *given: None)
    for (a, after), (b, then) in zip(short, made(), strict=True):
        assert after == then
        difference = (a.int() - b.int()).abs()
        assert difference.max() <= (0 if a.ndim == 3 else 1)
        assert (difference > 0).float().mean() < 0.01


def test_a_vae_whose_matrices_would_be_huge_is_computed_by_its_modules():
    config = VAEConfig(size=64, patch=1, latent_dim=512, width=16, neck=1)  # 4 MB of weights, 134 MB as one matrix
    assert not FusedVAE.is_small(config)
    augment = VAEAugment(VAE(config), gain=1.0)
    assert augment._engine.net.fused is None
    assert augment(torch.zeros(1, 64, 64, dtype=torch.uint8)).shape == (1, 64, 64)
    assert all(FusedVAE.is_small(hub.load(name).vae.config) for name in hub.bundled())
