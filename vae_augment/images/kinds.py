"""What is an image, and what it is: its kind, its leading dimensions, and what lies beside it in a sample."""

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torchvision import tv_tensors

ORIENTATION, TURNED = 0x0112, range(2, 9)  # EXIF; 1 is upright


def is_image(item: Any) -> bool:
    """Whether VAEAugment may read this object as an image: PIL image, plain tensor, tv_tensors Image or Video."""
    return isinstance(item, PIL.Image.Image | tv_tensors.Image | tv_tensors.Video) or is_pure_tensor(item)


def is_pure_tensor(item: Any) -> bool:
    return isinstance(item, Tensor) and not isinstance(item, tv_tensors.TVTensor)


def geometry_among(leaves: Iterable[Any]) -> list[str]:
    """Kinds of tv_tensors that say where things are in an image: boxes, masks, key points; sorted."""
    return sorted(
        {type(item).__name__ for item in leaves if isinstance(item, tv_tensors.TVTensor) and not is_image(item)}
    )


def spatial_companions(image: Any, leaves: Iterable[Any]) -> list[str]:
    """What a sample holds that shows where things are in its image, and would not fit another one: geometry, other images,
    and plain tensors of its height and width, as masks are; kinds, sorted.
    """
    side = _height_width(image)
    others = [item for item in leaves if item is not image and is_image(item)]
    maps = {
        f"another {type(item).__name__}" for item in others if not is_pure_tensor(item) or _height_width(item) == side
    }
    return sorted({*geometry_among(leaves), *maps})


def _height_width(image: Any) -> tuple[int, ...]:
    return (image.height, image.width) if isinstance(image, PIL.Image.Image) else tuple(image.shape[-2:])


def is_turned(image: Any) -> bool:
    """Whether it is a PIL image whose EXIF orientation says that it is to be turned, which torchvision's data sets ignore."""
    return isinstance(image, PIL.Image.Image) and image.getexif().get(ORIENTATION, 1) in TURNED


def warn_of_turned(count: int, what: str) -> None:
    if count:
        warnings.warn(
            f"{count} of the {what} say by their EXIF orientation that they are to be turned, and are read as they lie. python "
            "-m train turns its images upright: read these so, too, as by ImageFolder(path, loader=lambda file: "
            'ImageOps.exif_transpose(Image.open(file)).convert("RGB")) with ImageOps and Image of PIL',
            stacklevel=4,
        )


def is_model_bytes(image: Any, channels: int, size: int) -> bool:
    """Whether this image is bytes in the model's own shape, on the CPU: what the network reads as it is."""
    if isinstance(image, PIL.Image.Image):
        return image.size == (size, size) and image.mode == {1: "L", 3: "RGB"}.get(channels)
    return (
        type(image) in (Tensor, tv_tensors.Image)
        and image.dtype == torch.uint8
        and image.is_cpu
        and image.shape[-3:] == (channels, size, size)
        and image.is_contiguous()
    )


def lead_shape(image: Any) -> tuple[int, ...]:
    """The leading dimensions that count images: `()` for PIL and `(C, H, W)`, the clips of a Video."""
    if not isinstance(image, Tensor):
        return ()
    return tuple(image.shape[: -4 if isinstance(image, tv_tensors.Video) else -3])


def frames_of(image: Any) -> int:
    """Frames of each clip; 1 for what is no Video."""
    return image.shape[-4] if isinstance(image, tv_tensors.Video) else 1


def check_has_image(leaves: Iterable[Any]) -> None:
    """Refuse a sample whose parts hold no image, rather than return it as it is.

    Raises:
        TypeError: an ndarray, or a lone object that is no image. A lone tensor is left to `to_model`, which names its shape.
    """
    leaves = list(leaves)
    # a plain tensor of fewer than three dimensions is a label, not the image
    if any(is_image(item) and (isinstance(item, PIL.Image.Image) or item.ndim > 2) for item in leaves):
        return
    if any(isinstance(item, np.ndarray) for item in leaves):
        raise TypeError("VAEAugment does not read ndarrays: convert with v2.ToImage() before it")
    if len(leaves) == 1 and not is_pure_tensor(leaves[0]):
        kind = type(leaves[0])
        raise TypeError(f"VAEAugment expects a PIL image or a tensor of pixels, got {kind.__module__}.{kind.__name__}")
