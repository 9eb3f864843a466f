import copy
import json

import pytest
import torch
from torch import nn

from vae_augment import VAE, VAEConfig
from vae_augment.vae import Whitened
from vae_augment.vae.config import _parameter_estimate
from vae_augment.vae.layers import WindowConv


@pytest.mark.parametrize(
    "config",
    [
        VAEConfig(),
        VAEConfig(channels=3, size=32, latent_dim=8, spatial=True),
        VAEConfig(channels=3, size=64, patch=8),
        VAEConfig(size=21, patch=7, spatial=True),
        VAEConfig(size=5, patch=1),
    ],
)
def test_shapes_and_ranges(config):
    torch.manual_seed(0)
    vae = VAE(config)
    x = torch.rand(2, config.channels, config.size, config.size)
    mean, std = vae.encode(x)
    assert mean.shape == std.shape == (2, *config.latent_shape)
    y = vae.decode(mean)
    assert y.shape == x.shape
    assert y.dtype == torch.float32
    assert y.min() >= 0
    assert y.max() <= 1


def test_posterior_stays_finite_for_any_input(vae):
    mean, std = vae.encode(torch.full((1, 1, 28, 28), 1e4))
    assert mean.isfinite().all()
    assert (std > 0.006).all()
    assert (std < 2.8).all()


def test_log_variance_bound_has_a_gradient_everywhere():
    raw = torch.linspace(-30, 30, 61, requires_grad=True)
    torch.exp(0.5 * (6 * torch.tanh(raw / 6) - 4)).sum().backward()
    assert (raw.grad > 0).all()


def test_whitening_is_undone(vae):
    torch.manual_seed(0)
    vae = VAE(vae.config)
    vae.latent_mean.normal_()
    vae.latent_std.uniform_(0.5, 2)
    x = torch.rand(3, 1, 28, 28)
    posterior = vae.encode(x)
    mean, std = Whitened(vae).encode_whitened(x)
    assert torch.allclose(Whitened(vae).unwhiten(mean), posterior.mean, atol=1e-6)
    assert torch.allclose(std * vae.latent_std, posterior.std)


def test_wrong_shape_is_named(vae):
    with pytest.raises(ValueError, match=r"\(B, \*\(1, 28, 28\)\), got \(1, 3, 28, 28\)"):
        vae.encode(torch.rand(1, 3, 28, 28))


def test_config_is_json():
    config = VAEConfig(channels=3, size=32, spatial=True)
    assert VAEConfig(**json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"size": 30}, "multiple of patch"),
        ({"latent_dim": 0}, "latent_dim"),
        ({"width": 10**9}, "width"),
        ({"width": 2048, "channels": 64, "size": 1024, "patch": 64}, "parameters"),
        ({"neck": 0}, "neck"),
    ],
)
def test_bad_values_name_the_field(fields, name):
    with pytest.raises(ValueError, match=name):
        VAEConfig(**fields)


@pytest.mark.parametrize("fields", [{"size": 28.0}, {"channels": True}, {"latent_dim": "32"}, {"spatial": 1}])
def test_bad_types_name_the_field(fields):
    with pytest.raises(TypeError, match=next(iter(fields))):
        VAEConfig(**fields)


@pytest.mark.parametrize("shape", [(3, 5, 12, 4, 1), (1, 4, 21, 7, 3), (8, 4, 7, 1, 1), (6, 2, 5, 1, 0)])
@torch.no_grad()
def test_a_window_conv_is_a_convolution(shape):
    torch.manual_seed(0)
    layer = WindowConv(*shape)
    x = torch.randn(2, shape[0], shape[2], shape[2])
    torch.testing.assert_close(layer(x), nn.Conv2d.forward(layer, x))


@torch.no_grad()
def test_the_stem_computes_many_latents_as_it_does_few(vae):
    torch.manual_seed(0)
    stem, z = vae.decoder[0], torch.randn(100, 8)
    torch.testing.assert_close(stem(z), torch.cat([stem(part) for part in z.split(10)]))


def test_gradients_of_many_latents_are_those_of_few(vae):
    torch.manual_seed(0)
    stem, z = copy.deepcopy(vae.decoder[0]), torch.randn(100, 8)
    gradients = []
    for parts in (1, 10):
        stem.zero_grad()
        sum(stem(part).square().sum() for part in z.chunk(parts)).backward()
        gradients.append([p.grad.clone() for p in stem.parameters()])
    torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-4)


def test_parameter_estimate_is_close():
    for config in (VAEConfig(), VAEConfig(channels=3, size=64, patch=8, width=96, spatial=True)):
        count = sum(p.numel() for p in VAE(config).parameters())
        assert 0.9 * count < _parameter_estimate(config) < 1.1 * count


def test_large_layers_are_computed_a_part_of_the_batch_at_a_time(monkeypatch):
    vae = VAE(VAEConfig(size=32, latent_dim=2, spatial=True, width=32)).eval()
    draws = torch.Generator().manual_seed(0)
    x, z = torch.rand(5, 1, 32, 32, generator=draws), torch.randn(5, *vae.latent_shape, generator=draws)
    whole = Whitened(vae)
    assert whole.chunk > 5
    monkeypatch.setattr("vae_augment.vae.codec.LARGEST_LAYER", 2 * vae.config.largest_layer)
    parts = Whitened(vae)
    assert parts.chunk == 2
    with torch.no_grad():
        for one, other in zip(whole.encode_whitened(x), parts.encode_whitened(x), strict=True):
            assert torch.allclose(one, other, atol=1e-5)
        assert torch.allclose(whole.whitened_mean(x), parts.whitened_mean(x), atol=1e-5)
        assert torch.allclose(whole.decode_whitened(z), parts.decode_whitened(z), atol=1e-5)


@pytest.mark.parametrize("spatial", [False, True])
def test_gradients_go_through_a_network_that_was_first_used_in_inference_mode(spatial):
    vae = VAE(VAEConfig(channels=3, size=32, latent_dim=4, spatial=spatial, width=16))
    x = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        vae.decode(vae.encode(x).mean)
    vae.decode(vae.encode(x.requires_grad_()).mean).sum().backward()
    assert x.grad.abs().sum() > 0
