"""Training speed: images a CPU second of one thread, against pythae's trainer on the same network (`pip install pythae`).

python -m benchmarks.training               about six minutes: writes benchmarks/training.json

All train the network of the fashion-mnist recipe for as many steps of 256 images, from memory, one after the other, each in
a process of its own, five times; pythae once written in torch's own layers, as its user would, and once in ours, which
compute the same sooner. Ours is the whole of `train.loop.train`: moving average, latent statistics, log and checkpoint;
pythae's is the whole of `BaseTrainer.train`: its shuffling, logging and checkpoint.
"""

import json
import multiprocessing
import platform
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import torch
from pythae import models
from pythae.data.datasets import BaseDataset
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.samplers import NormalSampler
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor, nn

from train.data import Data
from train.log import Log
from train.loop import train
from train.recipes import RECIPES
from vae_augment.demo_data import fashion_sample
from vae_augment.vae import AffineStem, WindowConv, decoder, encoder

from .peers import _silent
from .speed import spread
from .speed_table import REPEATS

RESULTS = Path(__file__).parent / "training.json"
RECIPE = RECIPES["fashion-mnist"]
STEPS = 240


def plain(net: nn.Sequential) -> nn.Sequential:
    """The same layers as torch has them."""
    layers: list[nn.Module] = []
    for layer in net:
        if isinstance(layer, AffineStem):
            layers += plain(nn.Sequential(*layer))
        elif isinstance(layer, WindowConv):
            shape = layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding
            layers.append(nn.Conv2d(*shape, padding_mode="replicate"))  # type: ignore[arg-type]
        else:
            layers.append(layer)
    return nn.Sequential(*layers)


class Encoder(BaseEncoder):  # type: ignore[misc]  # pythae has no types
    def __init__(self, net: nn.Sequential) -> None:
        super().__init__()
        self.latent_dim = RECIPE.vae.latent_dim
        self.net = net

    def forward(self, x: Tensor) -> ModelOutput:
        mean, raw = self.net(x).chunk(2, 1)
        return ModelOutput(embedding=mean, log_covariance=6 * torch.tanh(raw / 6) - 4)


class Decoder(BaseDecoder):  # type: ignore[misc]
    def __init__(self, net: nn.Sequential) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=torch.sigmoid(self.net(z)))


def ours(images: Tensor) -> float:
    """Images a second."""
    recipe = replace(RECIPE, data="sample", steps=STEPS)
    data = Data("speed", images, images[:100], None)
    with tempfile.TemporaryDirectory() as folder, Log(Path(folder), asdict(recipe), STEPS, "disabled") as log:
        started = time.process_time()
        train(recipe, data, log, Path(folder))
        return STEPS * recipe.batch_size / (time.process_time() - started)


def pythaes(images: Tensor, layers: Callable[[nn.Sequential], nn.Sequential]) -> float:
    """Images a second, of the network in these layers."""
    count = STEPS * RECIPE.batch_size
    part = BaseDataset(images[:count].float() / 255, torch.zeros(count))
    with tempfile.TemporaryDirectory() as folder, _silent():
        config = BaseTrainerConfig(folder, RECIPE.batch_size, num_epochs=1, no_cuda=True, optimizer_cls="AdamW")
        trainer = BaseTrainer(_pythae_vae(images, layers), part, training_config=config)
        started = time.process_time()
        trainer.train()
        return count / (time.process_time() - started)


def pythae_sampler(images: Tensor) -> NormalSampler:
    """pythae's sampler on the untrained network, for its cost."""
    sampler = NormalSampler(_pythae_vae(images, plain))
    sampler.fit(images.float() / 255)
    return sampler


def _pythae_vae(images: Tensor, layers: Callable[[nn.Sequential], nn.Sequential]) -> models.VAE:
    shape = tuple(images.shape[1:])
    config = models.VAEConfig(input_dim=shape, latent_dim=RECIPE.vae.latent_dim, reconstruction_loss="bce")
    return models.VAE(config, Encoder(layers(encoder(RECIPE.vae))), Decoder(layers(decoder(RECIPE.vae))))


KINDS: dict[str, Callable[[Tensor], float]] = {
    "ours": ours,
    "pythae": lambda images: pythaes(images, plain),
    "pythae with our layers": lambda images: pythaes(images, nn.Sequential),
}


def alone(kind: str) -> float:
    """Images a second, in a process of its own: as we set the memory allocator, it would serve pythae, too."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_measured, kind).result()


def _measured(kind: str) -> float:
    torch.set_num_threads(1)
    return KINDS[kind](fashion_sample()[0].repeat(STEPS, 1, 1, 1))


def main() -> None:
    turns = [[alone(kind) for kind in KINDS] for _ in range(REPEATS)]
    result = {
        "machine": platform.machine(),
        "ours / pythae, images a second": spread([a / b for a, b, _ in turns]),
        "ours / pythae with our layers": spread([a / c for a, _, c in turns]),
        "images a CPU second": {
            "ours": spread([a for a, _, _ in turns]),
            "pythae": spread([b for _, b, _ in turns]),
            "pythae with our layers": spread([c for _, _, c in turns]),
        },
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
