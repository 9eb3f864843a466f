"""Images in one array of numpy, of 1 to 64 channels: what no image file holds, as those of satellites and microscopes."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae_augment.images import Look, allocate, look_at_grey, spread_places, to_model

CHUNK = 64  # images at a time
GLANCE = 200  # images, spread over all, by which a recipe is chosen


def open_array(path: Path) -> Any:
    """Map a .npy file of images `(N, C, H, W)`, or grey ones `(N, H, W)`, into memory; it runs no code of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no array, or not one of images.
    """
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}: write array:FILE.npy, an array of images") from None
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"{path} holds no array of numbers ({error}): write it with numpy.save(file, images)"
        ) from None
    if not isinstance(images, np.ndarray):
        raise ValueError(f"{path} holds several arrays: write the images alone, with numpy.save(file, images)")
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise ValueError(
            f"{path} holds {images.dtype}: images are uint8 in 0..255 or floats in [0, 1]. Divide them by their largest value"
        )
    images = images[:, None] if images.ndim == 3 else images
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"{path} has shape {images.shape}: images are an array (N, C, H, W), or (N, H, W)")
    if images.shape[-1] < images.shape[1]:
        raise ValueError(
            f"{path} has shape {images.shape}, as if its channels came last: write numpy.moveaxis(images, -1, 1)"
        )
    return images


def look_at_array(path: Path) -> Look:
    """What the images of an array are like at a glance."""
    images = open_array(path)
    count, channels, height, width = images.shape
    if channels != 1:
        return Look(count, channels, max(height, width), 0.0)
    return look_at_grey(
        _bytes(images[spread_places(count, GLANCE).numpy()], 1, min(height, width)), count, max(height, width)
    )


def read_array(path: Path, channels: int, size: int, scratch: Path) -> Tensor:
    """Read the images of an array, resized to uint8 `(N, channels, size, size)`; larger than memory, they lie in `scratch`.

    Raises:
        ValueError: they have other channels, or values that are no pixels.
    """
    images = open_array(path)
    if images.shape[1] != channels and {images.shape[1], channels} != {1, 3}:
        raise ValueError(
            f"the images of {path} have {images.shape[1]} channels, and the model {channels}: train one with "
            f"--vae.channels {images.shape[1]}"
        )
    out = allocate((len(images), channels, size, size), scratch)
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        out[start : start + len(part)] = _bytes(part, channels, size)
    return out


def _bytes(images: Any, channels: int, size: int) -> Tensor:
    own = np.array(images, dtype=images.dtype.newbyteorder("="))  # a copy in memory that torch may own
    x, _ = to_model(torch.from_numpy(own), channels, size)
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)
