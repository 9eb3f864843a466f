"""Small images made larger, as two matrix products: the same pixels as torch's interpolation, several times sooner on a CPU."""

import functools

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .pixels import as_pixels

LONGEST = 2048  # pixels a side: the matrices that are kept stay below a megabyte each, and 32 MB in all
KEPT = 64  # matrices
MIDDLE = 128  # the byte that stands for no change


def resized(x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Resize `(B, C, H, W)` by bilinear interpolation, with antialiasing; the tensor itself if it has that size."""
    if x.shape[-2:] == tuple(size):
        return x
    return interpolate(x, size=tuple(size), mode="bilinear", antialias=True)


def enlarged(x: Tensor, like: Tensor) -> Tensor:
    """Resize float32 `(B, C, h, w)` to the height and width of `like`, in whose memory format a lone image comes out.

    Example:
        >>> x = torch.rand(1, 3, 8, 8)
        >>> torch.allclose(enlarged(x, torch.zeros(1, 3, 20, 30)), resized(x, (20, 30)))
        True
    """
    height, width = like.shape[-2:]
    if not _is_product(x, height, width):
        return resized(x, (height, width))
    rows, wide = _taps(x.shape[-2], height), _widened(x, width)
    if _is_lone_channels_last(x, like):
        return _image_of_rows(rows @ _as_rows(wide), like.shape)
    return rows @ wide


def with_change(image: Tensor, change: Tensor) -> Tensor:
    """`image + 255 * enlarged(change)`: uint8 `(B, C, H, W)` and float32 `(B, C, h, w)` -> uint8 like the image.

    A lone image whose channels lie last, as a PIL image's, is added in bytes, within a grey level: large images are then walked
    through in a fraction of the time. Of others the last product adds as it goes.

    Example:
        >>> image, change = torch.full((1, 3, 20, 30), 51, dtype=torch.uint8), torch.full((1, 3, 8, 8), 0.1)
        >>> with_change(image, change).unique()
        tensor([76], dtype=torch.uint8)
    """
    height, width = image.shape[-2:]
    if not _is_product(change, height, width):
        return as_pixels(resized(change, (height, width)).mul_(255).add_(image), torch.uint8)
    change = change * 255
    if _is_lone_channels_last(change, image) and bool(change.abs().max() < MIDDLE):
        steps = (change + MIDDLE).round_().byte().contiguous(memory_format=torch.channels_last)
        grown = interpolate(steps, (height, width), mode="bilinear", antialias=True)
        return image.to(torch.int16).add_(grown).sub_(MIDDLE).clamp_(0, 255).byte()
    rows, wide = _taps(change.shape[-2], height), _widened(change, width)
    values = image.float().contiguous()
    values.view(-1, height, width).baddbmm_(rows.expand(len(wide) * wide.shape[1], -1, -1), wide.flatten(0, 1))
    return as_pixels(values, torch.uint8)


def _is_lone_channels_last(x: Tensor, like: Tensor) -> bool:
    return len(x) == 1 and like.stride(1) == 1  # as a PIL image's


def _widened(x: Tensor, width: int) -> Tensor:
    return x @ _taps(x.shape[-1], width).T  # (B, C, h, w) -> (B, C, h, W)


def _as_rows(wide: Tensor) -> Tensor:
    return wide[0].permute(1, 2, 0).reshape(wide.shape[-2], -1)  # (1, C, h, W) -> (h, W C)


def _image_of_rows(rows: Tensor, shape: torch.Size) -> Tensor:
    return rows.view(1, shape[-2], shape[-1], -1).permute(0, 3, 1, 2)  # (H, W C) -> (1, C, H, W)


def _is_product(x: Tensor, height: int, width: int) -> bool:
    """Whether matrix products give the same, sooner: on the CPU, of what grows, where nothing makes them less exact."""
    grows = x.shape[-2] < height <= LONGEST and x.shape[-1] < width <= LONGEST
    return grows and x.is_cpu and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


@functools.lru_cache(KEPT)
def _taps(side: int, length: int) -> Tensor:
    """The weights `(length, side)` by which each new pixel of a row is made of the old ones."""
    with torch.inference_mode(False), torch.no_grad():
        unit = torch.eye(side, dtype=torch.float32, device="cpu")[None, None]
        return resized(unit, (length, side))[0, 0]
