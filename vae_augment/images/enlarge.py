"""Small images made larger, as two matrix products: the same pixels as torch's interpolation, several times sooner on a CPU."""

import functools

import torch
from torch import Tensor
from torch.nn.functional import interpolate

LONGEST = 2048  # pixels a side: the matrices that are kept stay below a megabyte each, and 32 MB in all
KEPT = 64  # matrices


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
    rows, columns = _taps(x.shape[-2], height), _taps(x.shape[-1], width)
    wide = x @ columns.T  # (B, C, h, w) -> (B, C, h, W)
    if len(x) == 1 and like.stride(1) == 1:  # channels last, as a PIL image's: (h, W C) -> (H, W C)
        flat = rows @ wide[0].permute(1, 2, 0).reshape(x.shape[-2], -1)
        return flat.view(1, height, width, -1).permute(0, 3, 1, 2)
    return rows @ wide


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
