"""Image grids of a run: what the VAE makes of held-out images."""

import copy
from collections.abc import Mapping

import torch
from PIL.Image import Image
from torch import Generator, Tensor
from torchvision.transforms.v2.functional import to_pil_image
from torchvision.utils import make_grid

from vae_augment import VAE, VAEAugment
from vae_augment.vae import Whitened

COLUMNS = 16


@torch.no_grad()
def rows(vae: VAE, images: Tensor, gain: float | None = None) -> Mapping[str, Tensor]:
    """Held-out uint8 images -> originals, reconstructions, augmentations, prior samples, in [0, 1]: each of up to 16.

    The augmentations at three strengths have the same noise.

    A spatial latent has no samples: its parts are not independent, as the prior has them.
    """
    vae = copy.deepcopy(vae).cpu()
    x = images[:COLUMNS].cpu().float() / 255
    found = {"originals": x, "reconstructions": vae.decode(vae.encode(x).mean)}
    augment = VAEAugment(vae, gain=gain)
    for name, augment.strength in (("half_strength", 0.5), ("augmentations", 1.0), ("double_strength", 2.0)):
        with torch.random.fork_rng(devices=[]):  # looking at a run must not change it
            torch.default_generator.manual_seed(0)
            found[name] = augment(x)
    if not vae.config.spatial:
        eps = torch.randn(len(x), *vae.latent_shape, generator=Generator().manual_seed(0))
        found["prior_samples"] = vae.decode(Whitened(vae).unwhiten(eps))
    return found


def grids(vae: VAE, images: Tensor, gain: float | None = None) -> dict[str, Image]:
    """The rows as pictures, for W&B."""
    return {name: _picture(row, len(row)) for name, row in rows(vae, images, gain).items()}


def contact_sheet(vae: VAE, images: Tensor, gain: float | None = None) -> Image:
    """All rows in one picture, originals first."""
    found = list(rows(vae, images, gain).values())
    return _picture(torch.cat(found), len(found[0]))


def _picture(images: Tensor, columns: int) -> Image:
    picture: Image = to_pil_image(make_grid(images, nrow=columns, padding=1, pad_value=0.5))
    return picture.resize((picture.width * 2, picture.height * 2), resample=0)
