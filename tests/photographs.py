"""Folders of small photographs, and of garments, as users have them."""

from pathlib import Path

import PIL.Image
import PIL.ImageOps
import torch
from torchvision.transforms.v2 import functional as F

from tests.conftest import IMAGES


def photograph(i: int, size: tuple[int, int]) -> PIL.Image.Image:
    """A coloured picture of a garment."""
    return F.to_pil_image(torch.cat([IMAGES[i], IMAGES[i + 1], IMAGES[i + 2]])).resize(size)


def photographs(folder, count=20, classes=("boot", "shirt")):
    for i in range(count):
        path = folder / classes[i % len(classes)] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(i, (40 + i % 50, 90 - i % 50)).save(path)
    return folder


def garments(folder: Path, count: int) -> Path:
    """Grey pictures of as many garments in one folder."""
    folder.mkdir()
    for i, image in enumerate(IMAGES[:count]):
        F.to_pil_image(image).save(folder / f"{i:03d}.png")
    return folder
