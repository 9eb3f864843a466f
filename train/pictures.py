"""Image grids of a run, drawn from held-out images."""

import copy
from collections.abc import Mapping

import torch
from PIL.Image import Image
from torch import Generator, Tensor
from torchvision.transforms.v2.functional import to_pil_image
from torchvision.utils import make_grid

from vae_augment import VAE, VAEAugment
from vae_augment.prior import Prior
from vae_augment.vae import Whitened

MAX_COLUMNS, LEAST_COLUMNS = 16, 4  # held-out images in a row
WIDTH = (
    2100  # pixels of a picture, about: rows of large images are shorter, or a picture would take more memory than a run
)
SMALL = 64  # pixels a side of images that are shown twice as large


@torch.no_grad()
def rows(vae: VAE, images: Tensor, prior: Prior, gain: float | None = None) -> Mapping[str, Tensor]:
    """Draw rows of up to 16 images in [0, 1] from held-out uint8 images, of 4 where these are large.

    The rows are originals, reconstructions, augmentations at three strengths with the same noise, and samples of the
    prior.
    """
    vae = copy.deepcopy(vae).cpu()
    fitting = WIDTH // (images.shape[-1] * _magnification(images))
    x = images[: min(MAX_COLUMNS, max(LEAST_COLUMNS, fitting))].cpu().float().div_(255)
    drawn = {"originals": x, "reconstructions": vae.decode(vae.encode(x).mean)}
    augment = VAEAugment(vae, gain=gain)
    for name, augment.strength in (("half_strength", 0.5), ("augmentations", 1.0), ("double_strength", 2.0)):
        with torch.random.fork_rng(devices=[]):  # pictures must not change the run
            torch.default_generator.manual_seed(0)
            drawn[name] = augment(x)
    drawn["prior_samples"] = Whitened(vae).decode_whitened(prior(len(x), Generator().manual_seed(0)))
    return drawn


def grids(vae: VAE, images: Tensor, prior: Prior, gain: float | None = None) -> dict[str, Image]:
    """Draw each of the `rows` as a picture, for W&B."""
    return {name: _picture(row, len(row)) for name, row in rows(vae, images, prior, gain).items()}


def contact_sheet(vae: VAE, images: Tensor, prior: Prior, gain: float | None = None) -> Image:
    """Draw all `rows` in one picture, originals first."""
    drawn = list(rows(vae, images, prior, gain).values())
    return _picture(torch.cat(drawn), len(drawn[0]))


def _picture(images: Tensor, columns: int) -> Image:
    shown = images[:, : 3 if images.shape[1] > 2 else 1]  # of many channels the first three
    picture: Image = to_pil_image(make_grid(shown, nrow=columns, padding=1, pad_value=0.5))
    times = _magnification(images)
    return picture.resize((picture.width * times, picture.height * times), resample=0)


def _magnification(images: Tensor) -> int:
    return 2 if images.shape[-1] <= SMALL else 1
