"""One image of any kind as a picture to look at: 8 bits, grey or colour, alpha kept, no larger than is looked at."""

from typing import Any

import PIL.Image
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from ..images import as_pixels, unpack

LARGEST_SIDE = (
    512  # pixels: larger photographs are made smaller before they are varied, for no screen shows more of a cell
)


def fit_within(image: Any, largest: int = LARGEST_SIDE) -> Any:
    """An image of the same kind, whose longer side is at most so many pixels; itself, if it is no larger.

    Example:
        >>> fit_within(PIL.Image.new("RGB", (4000, 3000))).size
        (512, 384)
    """
    height, width = (image.height, image.width) if isinstance(image, PIL.Image.Image) else image.shape[-2:]
    if (longer := max(height, width)) <= largest:
        return image
    return F.resize(image, [max(1, round(side * largest / longer)) for side in (height, width)], antialias=True)


def as_cell(image: Any) -> PIL.Image.Image:
    """Any single image -> a PIL image of mode L, RGB or RGBA.

    Of tensors with other than one or three channels the first three are shown as colours, or the first one as grey.

    Raises:
        TypeError: a PIL image of a mode that the transform does not take.

    Example:
        >>> as_cell(torch.ones(1, 28, 28)).getpixel((0, 0)), as_cell(torch.zeros(8, 28, 28)).mode
        (255, 'RGB')
    """
    if isinstance(image, PIL.Image.Image):
        unpack(image)  # which refuses modes that would be damaged
        return image.convert("RGBA") if image.mode == "LA" else image
    pixels: Tensor = unpack(image)[0].detach().cpu()
    if pixels.dtype != torch.uint8:
        pixels = as_pixels(pixels.float() * 255, torch.uint8)
    shown: PIL.Image.Image = F.to_pil_image(pixels[: 3 if len(pixels) >= 3 else 1].contiguous())
    return shown
