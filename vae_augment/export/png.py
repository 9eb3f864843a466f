"""An image of any kind -> the bytes of a PNG file, and back."""

import io
from typing import Any

import PIL.Image
from torch import Tensor

from ..images import in_kind_of

LEVEL = 1  # of zlib: photographs take a tenth more bytes than at 6, and a fourth of the time
MODES = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")  # of PIL images, that PNG keeps


def png_bytes(image: Any) -> bytes:
    """Encode a PIL image or a tensor `(C, H, W)` of 1 or 3 channels, uint8 or float in [0, 1].

    Pixels and colour profile are kept; EXIF data, with places and times, are not.

    Raises:
        ValueError: it has other channels, or is a clip or a batch.

    Example:
        >>> png_bytes(PIL.Image.new("L", (28, 28)))[1:4]
        b'PNG'
    """
    if isinstance(image, Tensor):
        if image.ndim != 3 or image.shape[0] not in (1, 3):
            raise ValueError(
                f"image files hold one image of 1 or 3 channels, and a sample's has the shape {tuple(image.shape)}: keep such "
                "images as arrays"
            )
        image = in_kind_of(image, PIL.Image.new("L" if image.shape[0] == 1 else "RGB", (1, 1)), same_size=False)
    if image.mode not in MODES:
        image = image.convert("RGB")
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=LEVEL)
    return file.getvalue()


def from_png(content: bytes) -> PIL.Image.Image:
    """Decode what `png_bytes` wrote."""
    return PIL.Image.open(io.BytesIO(content), formats=["PNG"])
