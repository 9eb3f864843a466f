"""An image in the kind of another: what stands for an image of a data set must pass through that data set's transform."""

from typing import Any

import PIL.Image
import torch
from torch import Tensor
from torchvision import tv_tensors

from .convert import match_channels, unpack
from .enlarge import resized
from .kinds import PIL_MODES
from .pixels import as_pixels


def in_kind_of(image: Any, other: Any, same_size: bool) -> Any:
    """Return an image as another of the kind of `other`: PIL mode or tensor type, dtype and channels.

    Of that kind already, it is returned as it is.

    Args:
        image: a PIL image (L, RGB, LA, RGBA), or a tensor `(C, H, W)` of uint8 or float pixels.
        other: one as well.
        same_size: in the size of the other, too; else in its own.

    Example:
        >>> picture = in_kind_of(torch.zeros(1, 40, 50, dtype=torch.uint8), PIL.Image.new("RGB", (28, 28)), same_size=False)
        >>> picture.mode, picture.size
        ('RGB', (50, 40))
        >>> in_kind_of(picture, torch.zeros(1, 28, 28), same_size=True).shape
        torch.Size([1, 28, 28])
    """
    side = (_size(other) if same_size else _size(image)) if _kind(image) == _kind(other) else None
    if side == _size(image):
        return image
    pixels, _ = unpack(image)
    like, _ = unpack(other)
    scale = 255.0 if pixels.dtype == torch.uint8 else 1.0
    x = match_channels(pixels.reshape(1, *pixels.shape[-3:]).float() / scale, like.shape[-3])
    if same_size:
        x = resized(x, like.shape[-2:])
    made = as_pixels(x[0] * (255.0 if like.dtype == torch.uint8 else 1.0), like.dtype)
    if not isinstance(other, PIL.Image.Image):
        made = made.reshape(*like.shape[:-3], *made.shape)
        return tv_tensors.wrap(made, like=other) if isinstance(other, tv_tensors.TVTensor) else made
    return _as_pil(made, other.mode)


def _as_pil(pixels: Tensor, mode: str) -> PIL.Image.Image:
    """Pixels, uint8 `(1 or 3, H, W)` -> a PIL image of this mode, opaque where that has alpha."""
    rows = pixels.permute(1, 2, 0).contiguous().numpy()
    own = PIL_MODES[len(pixels)]
    image = PIL.Image.frombytes(own, (rows.shape[1], rows.shape[0]), rows.tobytes())
    return image if own == mode else image.convert(mode)


def _kind(image: Any) -> tuple[Any, ...]:
    if isinstance(image, PIL.Image.Image):
        return (PIL.Image.Image, image.mode)
    return (type(image), image.dtype, image.shape[:-2])


def _size(image: Any) -> tuple[int, ...]:
    return (image.height, image.width) if isinstance(image, PIL.Image.Image) else tuple(image.shape[-2:])
