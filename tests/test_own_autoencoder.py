"""The example of one's own autoencoder, on real weights and photographs where they are at hand.

VAE_AUGMENT_TAEF2=taef2 VAE_AUGMENT_PHOTOS=flowers/test pytest tests/test_own_autoencoder.py
"""

import importlib.util
import os
from pathlib import Path

import pytest
import torch

from vae_augment import VAEAugment
from vae_augment.vae import check_codec

ROOT = Path(__file__).parent.parent
WEIGHTS, PHOTOS = (os.environ.get(name) for name in ("VAE_AUGMENT_TAEF2", "VAE_AUGMENT_PHOTOS"))
pytestmark = pytest.mark.skipif(
    not (WEIGHTS and PHOTOS), reason="needs TAEF2's weights and photographs: VAE_AUGMENT_TAEF2, VAE_AUGMENT_PHOTOS"
)


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("own_autoencoder", ROOT / "examples" / "your_own_autoencoder.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_photographs_are_drawn_again_well(example):
    codec = example.TinyAutoencoder(Path(WEIGHTS), 64)
    check_codec(codec)
    images = example.photographs(Path(PHOTOS), 24, 64)
    augment = VAEAugment(codec, gain=1.0, strength=0, residual=False).calibrate(images)
    error = (augment(images) - images).square().mean((1, 2, 3))
    assert float((-10 * error.log10()).mean()) > 25


def test_strength_0_is_the_identity_at_any_size(example):
    augment = VAEAugment(example.TinyAutoencoder(Path(WEIGHTS), 64), gain=0.3)
    image = example.photographs(Path(PHOTOS), 1, 100)
    assert not torch.equal(augment(image), image)
    augment.strength = 0
    assert torch.equal(augment(image), image)
