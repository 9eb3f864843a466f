"""backend="onnx": the same images from ONNX Runtime, in every kind of worker."""

import copy
import multiprocessing
import pickle
import subprocess
import sys
import threading

import pytest
import torch
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from tests.conftest import IMAGES
from tests.test_fused import CONFIGS
from vae_augment import VAE, PosteriorSample, SyntheticDataset, VAEAugment
from vae_augment.fused import CHUNK, FusedVAE
from vae_augment.onnx_vae import OnnxVAE
from vae_augment.sample import fashion_sample


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@torch.no_grad()
def test_equals_the_matrices(config):
    torch.manual_seed(0)
    vae = VAE(config).eval()
    vae.latent_mean.normal_()
    vae.latent_std.uniform_(0.5, 2)
    fused = FusedVAE(vae)
    onnx = OnnxVAE(fused)
    for count in (1, 3, CHUNK + 2):
        x = torch.rand(count, config.channels, config.size, config.size)
        expected, got = fused.encode_whitened(x), onnx.encode_whitened(x)
        torch.testing.assert_close(got.mean, expected.mean, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(got.std, expected.std, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(onnx.whitened_mean(x), expected.mean, atol=2e-5, rtol=1e-4)
        z = expected.mean
        torch.testing.assert_close(onnx.decode_whitened(z), fused.decode_whitened(z), atol=1e-5, rtol=0)
        pair = z, torch.randn_like(z), 0.5
        torch.testing.assert_close(onnx.decoded_change(*pair), fused.decoded_change(*pair), atol=2e-5, rtol=0)
        pixels = (x * 255).byte()
        assert_same(onnx.vary_bytes(pixels, *pair[1:]), fused.vary_bytes(pixels, *pair[1:]))


def assert_same(got, expected):
    """To a grey level, which rounding may decide."""
    assert type(got) is type(expected)
    if not isinstance(got, torch.Tensor):
        assert (got.mode, got.size) == (expected.mode, expected.size)
        got, expected = F.pil_to_tensor(got), F.pil_to_tensor(expected)
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    if got.dtype == torch.uint8:
        assert (got.int() - expected.int()).abs().max() <= 1
    else:
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


INPUTS = {
    "one": IMAGES[0],
    "batch": IMAGES[:5],
    "floats": IMAGES[:5] / 255,
    "floats with gradient": (IMAGES[:2] / 255).requires_grad_(),
    "other size": torch.randint(256, (2, 3, 50, 40), dtype=torch.uint8),
    "channels last in memory": IMAGES[:4].contiguous(memory_format=torch.channels_last),
    "PIL": F.to_pil_image(IMAGES[0]),
    "video": tv_tensors.Video(IMAGES[:6].view(2, 3, 1, 28, 28)),
}
OPTIONS = [{}, {"residual": False}, {"p": 0.5}, {"strength": 0.3}, {"jitter": PosteriorSample()}]


@pytest.mark.parametrize("image", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_same_images_of_every_kind(image, options):
    of = {}
    for backend in ("torch", "onnx"):
        augment = VAEAugment.from_pretrained("fashion-mnist", backend=backend, **options)
        torch.manual_seed(0)
        of[backend] = augment(image)
    assert_same(of["onnx"], of["torch"])


def test_after_fit():
    images, labels = fashion_sample()
    labelled = list(zip(images[:100], labels[:100], strict=True))
    of = {}
    for backend in ("torch", "onnx"):
        augment = VAEAugment.from_pretrained("fashion-mnist", backend=backend).fit(labelled)
        torch.manual_seed(0)
        of[backend] = augment.sample([0, 9, 9]), augment(images[0], int(labels[0]))[0], augment(images[:3])
    for got, expected in zip(of["onnx"], of["torch"], strict=True):
        assert_same(got, expected)


class Varied:
    def __init__(self, augment):
        self.augment = augment

    def __len__(self):
        return 24

    def __getitem__(self, index):
        return self.augment(IMAGES[index])


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_in_workers(method):
    """Also of a process that has used it, with threads of its own."""
    varied = {}
    for backend in ("torch", "onnx"):
        augment = VAEAugment.from_pretrained("fashion-mnist", backend=backend)
        augment(IMAGES)
        context = multiprocessing.get_context(method)
        torch.manual_seed(0)
        loader = DataLoader(Varied(augment), 8, num_workers=2, multiprocessing_context=context, timeout=120)
        varied[backend] = torch.cat(list(loader))
        augment(IMAGES)  # its own threads still work
    assert_same(varied["onnx"], varied["torch"])


def test_in_threads():
    augment = VAEAugment.from_pretrained("fashion-mnist", backend="onnx")
    expected = VAEAugment.from_pretrained("fashion-mnist").vae
    z, made = torch.randn(40, 64), {}

    def decode(i):
        made[i] = augment._replicas.on_cpu.decode_whitened(z[i : i + 1])

    threads = [threading.Thread(target=decode, args=(i,)) for i in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got = torch.cat([made[i] for i in range(40)])
    torch.testing.assert_close(got, expected.decode_whitened(z).detach(), atol=1e-5, rtol=0)


def test_synthetic_dataset():
    images, labels = fashion_sample()
    base = list(zip(images[:50], labels[:50], strict=True))
    dataset = SyntheticDataset(base, 1.0, VAEAugment.from_pretrained("fashion-mnist", backend="onnx"))
    assert dataset[60][0].shape == (1, 28, 28)
    assert len(dataset.__getitems__([55, 60, 99])) == 3


def test_sessions_are_not_pickled_or_copied():
    augment = VAEAugment.from_pretrained("fashion-mnist", backend="onnx")
    before = len(pickle.dumps(augment))
    augment(IMAGES[0])
    assert len(pickle.dumps(augment)) == before
    for again in (pickle.loads(pickle.dumps(augment)), copy.deepcopy(augment)):
        assert "backend='onnx'" in repr(again)
        torch.manual_seed(0)
        expected = augment(IMAGES[0])
        torch.manual_seed(0)
        assert torch.equal(again(IMAGES[0]), expected)


def test_nothing_of_it_is_imported_unless_asked_for():
    code = "import sys; import vae_augment; vae_augment.VAEAugment.from_pretrained('mnist'); "
    code += "print([m for m in ('onnx', 'onnxruntime') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_the_extra(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"needs {package}, .*pip install 'vae-augment\[onnx\]'"):
        VAEAugment.from_pretrained("mnist", backend="onnx")


def test_an_unknown_backend():
    with pytest.raises(ValueError, match=r"backend must be one of .*got 'tensorrt'"):
        VAEAugment.from_pretrained("mnist", backend="tensorrt")
