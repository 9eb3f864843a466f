"""Peers: pythae's VAE and RHVAE, one a class, trained on the labelled images alone (track A), and its samplers on our VAE.

`pip install pythae` (not in the extras: its metadata asks for a backport that Python has had since 3.7). Settings follow
Chadebec et al., "Data Augmentation in High Dimensional Low Sample Size Setting Using a Geometry-Based Variational
Autoencoder" (TPAMI 2022), where a number of epochs is not given there, ours: 400 for the VAE and 250 for the RHVAE.
"""

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator

import torch
from pythae.models import RHVAE, VAE, RHVAEConfig, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.pipelines import TrainingPipeline
from pythae.samplers import (
    GaussianMixtureSampler,
    MAFSampler,
    NormalSampler,
    RHVAESampler,
    RHVAESamplerConfig,
)
from pythae.trainers import BaseTrainerConfig
from torch import Tensor

from vae_augment.vae import Codec, Whitened

PER_CLASS = 100  # synthetic images of each class
BATCH = 1000  # of samplers that are fitted to all training images


def pythae_images(kind: str, images: Tensor, labels: Tensor, seed: int) -> Tensor:
    """uint8 `(N, 1, 28, 28)` and labels -> uint8 `(classes, PER_CLASS, 1, 28, 28)`; kind: vae or rhvae."""
    return torch.stack([_of_class(kind, images[labels == c].float() / 255, seed) for c in labels.unique().tolist()])


def _of_class(kind: str, images: Tensor, seed: int) -> Tensor:
    shape = tuple(images.shape[1:])
    if kind == "vae":
        model, epochs = VAE(VAEConfig(input_dim=shape, latent_dim=8, reconstruction_loss="bce")), 400
    else:
        model, epochs = RHVAE(RHVAEConfig(input_dim=shape, latent_dim=2, reconstruction_loss="bce", n_lf=3)), 250
    # it logs, prints progress bars and writes a folder, and none can be turned off
    with tempfile.TemporaryDirectory() as folder, _silent():
        config = BaseTrainerConfig(folder, len(images), num_epochs=epochs, learning_rate=1e-3, seed=seed, no_cuda=True)
        TrainingPipeline(training_config=config, model=model)(images)
        if kind == "vae":
            sampler = NormalSampler(model)
            sampler.fit(images)
        else:
            sampler = RHVAESampler(model, RHVAESamplerConfig())
            sampler.fit(images)
        made = sampler.sample(PER_CLASS)
    return (made.clamp(0, 1) * 255).round().to(torch.uint8).reshape(PER_CLASS, *shape)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def pythae_samples(kind: str, vae: Codec, images: Tensor, count: int, seed: int) -> Tensor:
    """Samples of a VAE of ours by a sampler of pythae's that is fitted to uint8 images; float `(count, C, S, S)` in [0, 1].

    Args:
        kind: gmm or maf, at pythae's own settings, in batches of 1,000.
    """
    torch.manual_seed(seed)
    shape = tuple(images.shape[1:])
    model = VAE(VAEConfig(input_dim=shape, latent_dim=vae.latent_shape[0]), _Encoder(vae), _Decoder(vae)).eval()
    with tempfile.TemporaryDirectory() as folder, _silent():
        config = BaseTrainerConfig(folder, BATCH, num_epochs=100, seed=seed, no_cuda=True)
        if kind == "gmm":
            sampler, options = GaussianMixtureSampler(model), {}
        else:
            sampler = MAFSampler(model)
            options = {"training_config": config}
        sampler.fit(images.float() / 255, **options)
        with torch.no_grad():
            return sampler.sample(count, batch_size=BATCH).clamp(0, 1)


class _Encoder(BaseEncoder):
    def __init__(self, vae: Codec) -> None:
        super().__init__()
        self.net = Whitened(vae)

    def forward(self, x: Tensor) -> ModelOutput:
        mean, std = self.net.encode_whitened(x)
        assert std is not None
        return ModelOutput(embedding=mean, log_covariance=2 * std.log())


class _Decoder(BaseDecoder):
    def __init__(self, vae: Codec) -> None:
        super().__init__()
        self.net = Whitened(vae)

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.net.decode_whitened(z))
