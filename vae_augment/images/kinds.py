"""What is an image and of which kind: its leading dimensions, its orientation, and what lies beside it in a sample."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torchvision import tv_tensors

from ..user_warning import warn
from .appearance import UPRIGHT, exif_orientation

PIL_MODES = {1: "L", 3: "RGB"}  # by the number of channels


def is_image(item: Any) -> bool:
    """Whether VAEAugment may read this object as an image: a PIL image, a plain tensor, a tv_tensors Image or Video.

    Example:
        >>> is_image(torch.zeros(1, 28, 28)), is_image("a label")
        (True, False)
    """
    return isinstance(item, PIL.Image.Image | tv_tensors.Image | tv_tensors.Video) or is_pure_tensor(item)


def is_pure_tensor(item: Any) -> bool:
    """Whether this object is a tensor, but no tv_tensor."""
    return isinstance(item, Tensor) and not isinstance(item, tv_tensors.TVTensor)


# what VAEAugment varies, in the form that torchvision's v2 transforms ask for
IMAGE_KINDS = (is_pure_tensor, PIL.Image.Image, tv_tensors.Image, tv_tensors.Video)


def geometry_among(leaves: Iterable[Any]) -> list[str]:
    """Return the sorted kinds of the tv_tensors that locate things in an image: boxes, masks, key points.

    Example:
        >>> geometry_among([torch.zeros(1, 28, 28), 3, tv_tensors.Mask(torch.zeros(28, 28))])
        ['Mask']
    """
    return sorted(
        {type(item).__name__ for item in leaves if isinstance(item, tv_tensors.TVTensor) and not is_image(item)}
    )


def tell_geometry(leaves: Iterable[Any], policy: str) -> None:
    """Warn, or with "error" raise ValueError, if there are boxes, masks or key points; "passthrough" says nothing."""
    if policy != "passthrough" and (kinds := geometry_among(leaves)):
        message = f"VAEAugment moves edges but not {', '.join(kinds)}: they may no longer fit at high strength"
        if policy == "error":
            raise ValueError(message)
        warn(message)


def spatial_companions(image: Any, leaves: Iterable[Any]) -> list[str]:
    """Return the sorted kinds of what belongs to this very image, and would not fit another one put in its place.

    These are geometry, other images, and plain tensors and arrays of the image's height and width, as masks often are.

    Example:
        >>> image = torch.zeros(1, 28, 28)
        >>> spatial_companions(image, [image, 3, torch.zeros(28, 28)])
        ['another Tensor']
    """
    side = _height_width(image)
    others = [item for item in leaves if item is not image and is_image(item)]
    maps = {
        f"another {type(item).__name__}" for item in others if not is_pure_tensor(item) or _height_width(item) == side
    }
    arrays = {
        "another ndarray"
        for item in leaves
        if isinstance(item, np.ndarray) and side in (item.shape[:2], item.shape[-2:])
    }
    return sorted({*geometry_among(leaves), *maps, *arrays})


def _height_width(image: Any) -> tuple[int, ...]:
    return (image.height, image.width) if isinstance(image, PIL.Image.Image) else tuple(image.shape[-2:])


def has_exif_rotation(image: Any) -> bool:
    """Whether this is a PIL image with an EXIF orientation other than upright, which torchvision's data sets ignore.

    Example:
        >>> has_exif_rotation(PIL.Image.new("L", (28, 28)))
        False
    """
    return isinstance(image, PIL.Image.Image) and exif_orientation(image) != UPRIGHT


def warn_exif_rotation(count: int, images: str) -> None:
    """Warn that so many of these images lie on their side or upside down, with the remedy; a count of 0 warns of nothing."""
    if count:
        warn(
            f"{count} of the {images} have an EXIF orientation that is not applied: they are read as they are stored. Apply "
            "it, as python -m train does, e.g. with ImageFolder(path, loader=lambda file: "
            'ImageOps.exif_transpose(Image.open(file)).convert("RGB")), ImageOps and Image from PIL',
        )


def is_model_bytes(image: Any, channels: int, size: int) -> bool:
    """Whether this image is uint8 in the model's own shape, contiguous and on the CPU: the network reads it without a copy.

    Example:
        >>> is_model_bytes(torch.zeros(1, 28, 28, dtype=torch.uint8), channels=1, size=28)
        True
    """
    if isinstance(image, PIL.Image.Image):
        return image.size == (size, size) and image.mode == PIL_MODES.get(channels)
    return (
        type(image) in (Tensor, tv_tensors.Image)
        and image.dtype == torch.uint8
        and image.is_cpu
        and image.shape[-3:] == (channels, size, size)
        and image.is_contiguous()
        and image.numel() > 0
    )


def lead_shape(image: Any) -> tuple[int, ...]:
    """Return the leading dimensions that count images: `()` for PIL and `(C, H, W)`, the number of clips for a Video.

    Example:
        >>> lead_shape(torch.zeros(2, 5, 3, 28, 28))
        (2, 5)
        >>> lead_shape(tv_tensors.Video(torch.zeros(2, 5, 3, 28, 28)))
        (2,)
    """
    if not isinstance(image, Tensor):
        return ()
    return tuple(image.shape[: -4 if isinstance(image, tv_tensors.Video) else -3])


def is_empty(image: Any) -> bool:
    """Whether an image has no pixels, or a batch no images.

    Example:
        >>> is_empty(PIL.Image.new("L", (0, 28))), is_empty(PIL.Image.new("L", (28, 28)))
        (True, False)
    """
    return 0 in image.size if isinstance(image, PIL.Image.Image) else image.numel() == 0


def frames_of(image: Any) -> int:
    """Frames of each clip; 1 for what is no Video."""
    return image.shape[-4] if isinstance(image, tv_tensors.Video) else 1


def check_has_image(leaves: Iterable[Any]) -> None:
    """Refuse a sample whose parts hold no image, rather than return it as it is.

    Raises:
        TypeError: an ndarray, or a lone object that is no image. A lone tensor is left to `to_model`, which names its shape.
    """
    leaves = list(leaves)
    if any(isinstance(item, Tensor) and item.is_nested for item in leaves):
        raise TypeError("VAEAugment expects dense tensors of pixels, got a nested tensor: give its images in a list")
    # a plain tensor of fewer than three dimensions is a label, not the image
    if any(is_image(item) and (isinstance(item, PIL.Image.Image) or item.ndim > 2) for item in leaves):
        return
    if any(isinstance(item, np.ndarray) for item in leaves):
        raise TypeError("VAEAugment does not read ndarrays: convert with v2.ToImage() before it")
    if len(leaves) == 1 and not is_pure_tensor(leaves[0]):
        kind = type(leaves[0])
        raise TypeError(f"VAEAugment expects a PIL image or a tensor of pixels, got {kind.__module__}.{kind.__name__}")


def check_has_channels(pixels: Tensor) -> None:
    """Raises ValueError for a tensor of fewer than three dimensions: it is a label, or an image without a channel dimension."""
    if pixels.ndim < 3:
        raise ValueError(
            f"VAEAugment expects images (..., C, H, W), got a tensor of shape {tuple(pixels.shape)}. If it is a label, put "
            "the image before it, or say where that is, image_key='key'; if it is an image without a channel dimension, add "
            "one: image[None]"
        )
