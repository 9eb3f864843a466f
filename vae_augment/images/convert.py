"""Any kind of image <-> model space, each way returned with its inverse.

Model space is what the VAE reads and writes: float32 `(B, C, S, S)` in [0, 1]. An image is a PIL image (L, RGB, LA,
RGBA), a tensor or a `tv_tensors.Image`/`Video` of uint8 or float pixels with any leading dimensions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import PIL.Image
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision import tv_tensors

Restore = Callable[..., Any]
"""`restore(y)` is the image with its pixels replaced by y; `restore(change, is_change=True)` adds a change to the image, at
the image's own resolution. Both return the kind, size and dtype of the image it was made for."""

# Interpolation on floats overshoots by a few per cent; normalised or 0..255 images overshoot by far more.
TOLERANCE = 0.25
SMALL = 4096  # values, fewer than which cost less than the calls

PIL_REMEDY = {
    "1": 'convert it: image.convert("L")',
    "P": 'convert it: image.convert("RGB")',
    "CMYK": 'convert it: image.convert("RGB")',
    "YCbCr": 'convert it: image.convert("RGB")',
    "HSV": 'convert it: image.convert("RGB")',
    "LAB": 'convert it: image.convert("RGB")',
}
PIL_SCALE_REMEDY = "scale it to a float tensor in [0, 1] first: converting to L or RGB would lose its range"


def to_model(image: Any, channels: int, size: int, resize: bool = True) -> tuple[Tensor, Restore]:
    """Image -> `(x, restore)`, x: float32 `(B, channels, size, size)` in [0, 1], B the product of the leading dims.

    Another size is resized to the model's (`resize=False`: refused), one channel is repeated to three, three are
    reduced to their luminance.

    Raises:
        TypeError: a PIL mode or dtype that would be damaged.
        ValueError: pixels outside [0, 1], channels that do not match, a tensor without a channel dimension.
    """
    pixels, rebuild = unpack(image)
    x, restore = _pixels_to_model(pixels, channels, size, resize)
    return x, lambda y, is_change=False: rebuild(restore(y, is_change))


def all_to_model(
    images: Sequence[Any], channels: int, size: int, resize: bool = True
) -> tuple[Tensor, Callable[..., list[Any]]]:
    """`to_model` of several images, end to end in one x, and restore, of a list.

    Images of one shape and type, as a data set has, are read and restored together, at the price of one.
    """
    parts = [unpack(image) for image in images]
    if len({(pixels.shape, pixels.dtype, pixels.device) for pixels, _ in parts}) == 1:
        _check(parts[0][0], channels, size, resize)  # of each: in a stack, images would pass for the channels of one
        x, restore_all = _pixels_to_model(torch.stack([pixels for pixels, _ in parts]), channels, size, resize)
        return (
            x,
            lambda y, is_change=False: [
                rebuild(pixels) for (_, rebuild), pixels in zip(parts, restore_all(y, is_change).unbind(), strict=True)
            ],
        )
    pairs = [to_model(image, channels, size, resize) for image in images]
    counts = [len(x) for x, _ in pairs]
    return (
        torch.cat([x for x, _ in pairs]),
        lambda y, is_change=False: [
            restore(part, is_change) for (_, restore), part in zip(pairs, y.split(counts), strict=True)
        ],
    )


def _pixels_to_model(pixels: Tensor, channels: int, size: int, resize: bool) -> tuple[Tensor, Callable[..., Tensor]]:
    """`to_model` of plain pixels, `(..., C, H, W)`."""
    _check(pixels, channels, size, resize)
    flat = pixels.reshape(-1, *pixels.shape[-3:])  # (..., C, H, W) -> (B, C, H, W)
    scale = 255.0 if pixels.dtype == torch.uint8 else 1.0
    x = _match_channels(_shrunk(flat, (size, size)), channels)

    def restore(y: Tensor, is_change: bool = False) -> Tensor:
        grown = _match_channels(_resize(y, flat.shape[-2:]), flat.shape[1])
        if is_change and flat.dtype == torch.uint8 and y.shape[1] == flat.shape[1] and grown is not y:
            values = grown.mul_(scale).add_(flat)  # another large tensor would take longer than this
        elif is_change:  # in the wider of the two types, so that no change is no change; autograd sees the identity
            values = torch.add(flat, grown, alpha=scale)
        else:
            values = grown * scale
        return as_pixels(values, flat.dtype).reshape(pixels.shape)

    return x, restore


def as_pixels(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Values of their own, in the units of this type, clamped and rounded to it."""
    if dtype != torch.uint8:
        return values.clamp_(0, 1).to(dtype)
    values = values.clamp_(0, 255).round_()
    if values.numel() > SMALL:
        values = values.to(torch.int16)  # from many floats straight to bytes is three times slower
    return values.byte()


def unpack(image: Any) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """Image -> its pixels as a plain tensor (..., C, H, W), and the function from such pixels to the same kind."""
    if isinstance(image, PIL.Image.Image):
        if image.mode in ("L", "RGB"):
            return _from_pil(image), _to_pil
        if image.mode in ("LA", "RGBA"):
            return _from_pil(image)[:-1], lambda pixels: _with_alpha(_to_pil(pixels), image)
        remedy = PIL_REMEDY.get(image.mode, PIL_SCALE_REMEDY)
        raise TypeError(f"VAEAugment takes PIL images of mode L, RGB, LA or RGBA, not {image.mode!r}: {remedy}")
    if isinstance(image, tv_tensors.TVTensor):
        return image.as_subclass(Tensor), lambda pixels: tv_tensors.wrap(pixels, like=image)
    return image, lambda pixels: pixels


# As torchvision's pil_to_tensor and to_pil_image, which go through numpy's array protocol: it shows in a small image's time.


def _from_pil(image: PIL.Image.Image) -> Tensor:
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(image.height, image.width, -1).permute(2, 0, 1)  # resized soonest with its channels last


def _to_pil(pixels: Tensor) -> PIL.Image.Image:
    channels, height, width = pixels.shape
    mode, rows = ("L" if channels == 1 else "RGB"), pixels.permute(1, 2, 0).contiguous().numpy()
    return PIL.Image.frombuffer(mode, (width, height), rows, "raw", mode, 0, 1)


def _with_alpha(image: PIL.Image.Image, original: PIL.Image.Image) -> PIL.Image.Image:
    image.putalpha(original.getchannel("A"))
    return image


def _check(pixels: Tensor, channels: int, size: int, resize: bool) -> None:
    if pixels.ndim < 3:
        raise ValueError(
            f"VAEAugment expects images (..., C, H, W), got a tensor of shape {tuple(pixels.shape)}. If it is a label, put "
            "the image before it; if it is an image without a channel dimension, add one: image[None]"
        )
    if pixels.dtype != torch.uint8 and not pixels.dtype.is_floating_point:
        raise TypeError(
            f"VAEAugment expects uint8 pixels in 0..255 or floats in [0, 1], got {pixels.dtype}: convert with "
            "v2.ToDtype(torch.uint8, scale=True) or v2.ToDtype(torch.float32, scale=True)"
        )
    if pixels.dtype.is_floating_point and pixels.numel():
        low, high = (float(v) for v in torch.aminmax(pixels.detach()))
        if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):  # so written that NaN is refused too
            raise ValueError(
                f"VAEAugment expects float pixels in [0, 1], got values from {low:.4g} to {high:.4g}: put it before "
                "Normalize, and divide pixels in 0..255 by 255 (v2.ToDtype(torch.float32, scale=True))"
            )
    if pixels.shape[-3] != channels and {pixels.shape[-3], channels} != {1, 3}:
        remedy = (
            ". If the channels come last, put them first: image.movedim(-1, -3)" if pixels.shape[-1] in (1, 3) else ""
        )
        raise ValueError(f"this VAE was trained on {channels}-channel images, got {pixels.shape[-3]} channels{remedy}")
    if not resize and pixels.shape[-2:] != (size, size):
        raise ValueError(
            f"this VAE works at {size}x{size} pixels, got {pixels.shape[-2]}x{pixels.shape[-1]} with resize=False"
        )


def _shrunk(flat: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 or float pixels `(B, C, H, W)` -> float32 in [0, 1] at the model's size."""
    if flat.dtype != torch.uint8:
        return _resize(flat.float(), size)
    if flat.device.type == "cpu":  # which resizes bytes several times faster than floats
        return _resize(flat, size).float().div_(255)  # bytes divided directly take twice the time
    return _resize(flat.float().div_(255), size)


def _match_channels(x: Tensor, channels: int) -> Tensor:
    """(B, 1 or 3, H, W) -> (B, channels, H, W): grey repeated, colour reduced to its luminance (ITU-R 601)."""
    if x.shape[1] == channels:
        return x
    if channels == 3:
        return x.expand(-1, 3, -1, -1)
    return (x * x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _resize(x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    if x.shape[-2:] == tuple(size):
        return x
    return interpolate(x, size=tuple(size), mode="bilinear", antialias=True)


def as_floats(images: Tensor) -> Tensor:
    """uint8 pixels, or floats in [0, 1] -> float32 in [0, 1]."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()
