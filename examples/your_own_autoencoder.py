"""An autoencoder of one's own behind the transform: TAEF2, the tiny autoencoder of FLUX.2, which diffusers has no class for.

    python examples/your_own_autoencoder.py --weights taef2 --images flowers/test

`--weights` is a folder with encoder.safetensors and decoder.safetensors, made of the files of https://github.com/madebyollin/taesd
(MIT, Ollin Boer Bohan), whose architecture this is; `--images` a folder of photographs. Prints the PSNR of reconstructions and
writes originals above their variations to your_own_autoencoder.png; 24 photographs of 128 pixels take half a minute of a core.
"""

import argparse
import copy
from pathlib import Path

import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as F
from torchvision.utils import save_image

from vae_augment import VAEAugment
from vae_augment.vae import fingerprint_of

LATENT, WIDTH, CELL = 32, 64, 8  # channels of a latent and of a layer; pixels a side that a latent's cell covers


def conv(inward: int, outward: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inward, outward, 3, stride, padding=1, bias=bias)


class Clamp(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return 3 * torch.tanh(z / 3)


class Block(nn.Module):
    """Three convolutions beside a skip; in the middle of the network, first a look at the whole image through its norm."""

    def __init__(self, sees_all: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(conv(WIDTH, WIDTH), nn.ReLU(), conv(WIDTH, WIDTH), nn.ReLU(), conv(WIDTH, WIDTH))
        wide = 4 * WIDTH
        layers = [nn.Conv2d(WIDTH, wide, 1, bias=False), nn.GroupNorm(4, wide), nn.ReLU()]
        self.pool = nn.Sequential(*layers, nn.Conv2d(wide, WIDTH, 1, bias=False)) if sees_all else None

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.pool is None else x + self.pool(x)
        return (self.conv(x) + x).relu()


def blocks(sees_all: bool = False) -> list[nn.Module]:
    return [Block(sees_all), Block(sees_all), Block(sees_all)]


def encoder() -> nn.Sequential:  # images in [0, 1] -> latents, an eighth of their side
    layers: list[nn.Module] = [conv(3, WIDTH), Block()]
    for sees_all in (False, False, True):
        layers += [conv(WIDTH, WIDTH, stride=2, bias=False), *blocks(sees_all)]
    return nn.Sequential(*layers, conv(WIDTH, LATENT))


def decoder() -> nn.Sequential:  # latents -> images in [0, 1]
    layers: list[nn.Module] = [Clamp(), conv(LATENT, WIDTH), nn.ReLU()]
    for sees_all in (True, False, False):
        layers += [*blocks(sees_all), nn.Upsample(scale_factor=2), conv(WIDTH, WIDTH, bias=False)]
    return nn.Sequential(*layers, Block(), conv(WIDTH, 3))


class TinyAutoencoder(nn.Module):
    """The members of `vae_augment.vae.Codec`, and `with_statistics`, by which `VAEAugment.calibrate` whitens its latents."""

    channels = 3

    def __init__(self, weights: Path, size: int = 128) -> None:
        super().__init__()
        self.size, self.latent_shape = size, (LATENT, size // CELL, size // CELL)
        self.encoder, self.decoder = encoder(), decoder()
        for name in ("encoder", "decoder"):
            state = safetensors.torch.load_file(weights / f"{name}.safetensors")
            getattr(self, name).load_state_dict({key: value.float() for key, value in state.items()})
        self.register_buffer("latent_mean", torch.zeros(LATENT, 1, 1))  # until images are measured
        self.register_buffer("latent_std", torch.ones(LATENT, 1, 1))

    def encode(self, x: Tensor) -> tuple[Tensor, None]:
        return self.encoder(x), None

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z).clamp(0, 1)

    def with_statistics(self, statistics) -> "TinyAutoencoder":
        new = copy.deepcopy(self)
        new.latent_mean, new.latent_std = statistics.mean.to(self.latent_mean), statistics.std.to(self.latent_std)
        return new

    def fingerprint(self) -> str:
        return fingerprint_of(self, f"TAEF2, {self.size} pixels")


def photographs(folder: Path, count: int, size: int) -> Tensor:
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))
    chosen = [Image.open(paths[i * len(paths) // count]).convert("RGB") for i in range(min(count, len(paths)))]
    return torch.stack([F.pil_to_tensor(F.resize(image, [size, size])) for image in chosen]) / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--size", type=int, default=128)
    args = parser.parse_args()
    torch.manual_seed(0)

    codec = TinyAutoencoder(args.weights, args.size)
    images = photographs(args.images, 24, args.size)
    # with a gain the transform solves none when it is made, on images that are not yours; calibrate replaces it
    augment = VAEAugment(codec, gain=1.0).calibrate(images)
    with torch.no_grad():
        drawn = codec.decode(codec.encode(images)[0])
    psnr = -10 * (drawn - images).square().mean((1, 2, 3)).log10()
    print(f"{len(images)} photographs are drawn again at {psnr.mean():.1f} dB; {augment}")
    save_image(torch.cat([images[:8], augment(images[:8]), augment(images[:8])]), "your_own_autoencoder.png")


if __name__ == "__main__":
    main()
