"""Fixtures: a tiny VAE, the image kinds, a transform fitted to a few garments."""

import os

# two tests at a time, each with processes of its own: with one thread each they do not wait for one another
os.environ.setdefault("OMP_NUM_THREADS", "1")

import multiprocessing
import signal
import sys
from collections.abc import Callable
from typing import Any

import PIL.Image
import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from vae_augment import VAE, VAEAugment, VAEConfig
from vae_augment.demo_data import fashion_sample

# under nohup, and behind & in a script, these are ignored, and then by all that tests start
for name, handler in (("SIGHUP", signal.SIG_DFL), ("SIGINT", signal.default_int_handler)):
    if (number := getattr(signal, name, None)) is not None and signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)

# limits of a process, terminals and signals of POSIX
NEEDS_POSIX = (
    *("test_fits_hostile.py", "test_fuzz.py", "test_fuzz_cards.py", "test_fuzz_fits.py", "test_fuzz_runs.py"),
    *("test_generate.py", "test_hub_hostile.py", "test_progress.py", "test_stop.py"),
)
collect_ignore = list(NEEDS_POSIX) if sys.platform == "win32" else []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test of workers runs by the ways to start them that this system has: Windows has `spawn` alone."""
    for item in items:
        method = getattr(item, "callspec", None) and item.callspec.params.get("method")
        if method in ("fork", "spawn", "forkserver") and method not in multiprocessing.get_all_start_methods():
            item.add_marker(pytest.mark.skip(reason=f"this system does not start processes by {method}"))


IMAGES, LABELS = fashion_sample()
IMAGES.share_memory_()  # now: sending it to a worker would move its memory, also under PIL images that view it, which crash then
FEW = [(IMAGES[i].clone(), int(LABELS[i])) for i in range(100)]  # ten of each class


def grey() -> Tensor:
    return IMAGES[3].clone()  # uint8 (1, 28, 28)


def colour() -> Tensor:
    return torch.cat([IMAGES[3], IMAGES[3].flip(-1), IMAGES[4]])  # uint8 (3, 28, 28)


def with_alpha(mode: str) -> PIL.Image.Image:
    image = F.to_pil_image(grey() if mode == "LA" else colour())
    image.putalpha(F.to_pil_image(IMAGES[7]))
    return image


KINDS: dict[str, Callable[[], Any]] = {
    "PIL L": lambda: F.to_pil_image(grey()),
    "PIL RGB": lambda: F.to_pil_image(colour()),
    "PIL LA": lambda: with_alpha("LA"),
    "PIL RGBA": lambda: with_alpha("RGBA"),
    "uint8": grey,
    "float16": lambda: grey().to(torch.float16) / 255,
    "bfloat16": lambda: grey().to(torch.bfloat16) / 255,
    "float32": lambda: grey() / 255,
    "float64": lambda: grey().double() / 255,
    "colour tensor": colour,
    "batch": IMAGES[:5].clone,
    "batch of batches": lambda: IMAGES[:6].clone().view(2, 3, 1, 28, 28),
    "not contiguous": lambda: IMAGES[:5].clone().transpose(-1, -2),
    "channels last": lambda: torch.stack([colour()] * 2).contiguous(memory_format=torch.channels_last),
    "tv Image": lambda: tv_tensors.Image(grey()),
    "tv Image float batch": lambda: tv_tensors.Image(IMAGES[:5] / 255),
    "tv Video": lambda: tv_tensors.Video(IMAGES[:4].clone()),
    "tv Video batch": lambda: tv_tensors.Video(IMAGES[:6].clone().view(2, 3, 1, 28, 28)),
    "larger": lambda: F.resize(colour(), [50, 37]),
    "smaller PIL": lambda: F.to_pil_image(F.resize(grey(), [13, 20])),
}


@pytest.fixture(params=KINDS)
def image(request: pytest.FixtureRequest) -> Any:
    """Every kind of image that VAEAugment accepts."""
    return KINDS[request.param]()


@pytest.fixture(scope="session")
def vae() -> VAE:
    """A tiny VAE with random weights and a decoder that depends on its latent."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VAE(VAEConfig(latent_dim=8, width=16, neck=4))


@pytest.fixture
def augment(vae: VAE) -> VAEAugment:
    return VAEAugment(vae)


@pytest.fixture(scope="session")
def fitted() -> VAEAugment:
    """To ten labelled garments a class; tests change copies of it."""
    return VAEAugment.from_pretrained("fashion-mnist").fit(FEW)


def nearest_class(images: Tensor) -> Tensor:
    """An independent judge: the class of the ten nearest sample images, in pixels."""
    x, known = images.flatten(1), (IMAGES / 255).flatten(1)
    return LABELS[torch.cdist(x, known).topk(10, largest=False).indices].mode(1).values


def pixels(image: Any) -> Tensor:
    """Any image as a plain tensor, for comparisons."""
    return F.pil_to_tensor(image) if isinstance(image, PIL.Image.Image) else image.as_subclass(Tensor)


def same_kind(a: Any, b: Any) -> bool:
    if isinstance(a, PIL.Image.Image):
        return isinstance(b, PIL.Image.Image) and (a.mode, a.size) == (b.mode, b.size)
    return type(a) is type(b) and (a.dtype, a.shape, a.device) == (b.dtype, b.shape, b.device)
