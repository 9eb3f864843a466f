"""On a GPU: the same images as on the CPU, and no waiting for it."""

import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from vae_augment import VAE, LocalNoise, VAEAugment, VAEConfig
from vae_augment.demo_data import fashion_sample
from vae_augment.images import convert

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
IMAGES, LABELS = fashion_sample()
SPATIAL = VAEConfig(channels=3, size=32, latent_dim=8, spatial=True, width=32)


@pytest.fixture(autouse=True)
def sync_debug_mode_goes_back():
    yield
    torch.cuda.set_sync_debug_mode("default")


def on_both(augment, x, *more):
    torch.manual_seed(0)
    on_cpu = augment(x, *more)
    torch.manual_seed(0)
    on_gpu = augment(x.cuda(), *more)
    return (on_cpu, on_gpu) if not more else (on_cpu[0], on_gpu[0])


@pytest.mark.parametrize("count", [1, 4, 300, 5000])
@pytest.mark.parametrize("p", [0.5, 1.0])
def test_the_same_images_on_its_device(count, p):
    x = IMAGES[torch.arange(count) % len(IMAGES)]
    on_cpu, on_gpu = on_both(VAEAugment.from_pretrained("fashion-mnist", p=p), x / 255)
    assert on_gpu.is_cuda
    assert torch.allclose(on_gpu.cpu(), on_cpu, atol=1e-4)
    on_cpu, on_gpu = on_both(VAEAugment.from_pretrained("fashion-mnist", p=p), x)
    assert on_gpu.is_cuda
    assert (on_gpu.cpu().int() - on_cpu.int()).abs().max() <= 1


@pytest.mark.parametrize("jitter", [None, LocalNoise()])
def test_neighbours_and_larger_images(jitter):
    torch.manual_seed(0)
    augment = VAEAugment.from_pretrained("mnist", jitter=jitter)
    on_cpu, on_gpu = on_both(augment, torch.rand(3, 1, 56, 56))
    assert torch.allclose(on_gpu.cpu(), on_cpu, atol=1e-4)


def test_a_spatial_latent():
    torch.manual_seed(0)
    on_cpu, on_gpu = on_both(VAEAugment(VAE(SPATIAL)), torch.rand(5, 3, 64, 64))
    assert torch.allclose(on_gpu.cpu(), on_cpu, atol=1e-4)


def test_after_fit():
    augment = VAEAugment.from_pretrained("fashion-mnist").fit(list(zip(IMAGES[:100], LABELS[:100], strict=True)))
    on_cpu, on_gpu = on_both(augment, IMAGES[:50] / 255, LABELS[:50])
    assert on_gpu.is_cuda
    assert torch.allclose(on_gpu.cpu(), on_cpu, atol=1e-4)


@pytest.mark.parametrize("p", [0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_the_gpu_is_not_waited_for(p, dtype, monkeypatch):
    monkeypatch.setattr(convert, "_calls", {})
    augment, x = VAEAugment.from_pretrained("fashion-mnist", p=p), IMAGES[:64].cuda()
    x = x if dtype == torch.uint8 else x / 255
    for _ in range(4):  # sends the weights, and looks at floats at the calls 1, 2 and 4
        augment(x)
    torch.cuda.set_sync_debug_mode("error")
    assert augment(x).is_cuda


def test_a_fitted_transform_draws_for_labels_without_waiting():
    augment = VAEAugment.from_pretrained("fashion-mnist").fit(IMAGES[:100], LABELS[:100])
    x = IMAGES[:64].cuda()
    augment(x, LABELS[:64])
    torch.cuda.set_sync_debug_mode("error")
    assert augment(x, LABELS[:64])[0].is_cuda


def test_an_image_on_the_gpu_in_a_forked_worker_is_told():
    augment, x = VAEAugment.from_pretrained("fashion-mnist"), IMAGES[:8].cuda()
    loader = DataLoader(list(range(4)), num_workers=1, multiprocessing_context="fork", collate_fn=lambda _: augment(x))
    with pytest.raises(RuntimeError, match="in a forked worker, where CUDA does not work"):
        next(iter(loader))


def test_what_lies_on_the_gpu_is_not_pickled():
    augment = VAEAugment.from_pretrained("fashion-mnist")
    augment(IMAGES[:4].cuda())
    again = pickle.loads(pickle.dumps(augment))
    assert not next(again.vae.parameters()).is_cuda
    assert again(IMAGES[:4].cuda()).is_cuda
