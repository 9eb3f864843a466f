"""Any kind of image <-> model space, each way returned with its inverse.

Model space is what the network reads and writes: float32 `(B, C, S, S)` in [0, 1]. An image is a PIL image (L, RGB, LA,
RGBA), a tensor or a `tv_tensors.Image`/`Video` of uint8 or float pixels with any leading dimensions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import PIL.Image
import torch
from torch import Tensor
from torchvision import tv_tensors

from .appearance import has_transparency, over_flat_colour
from .enlarge import enlarged, resized, with_change
from .kinds import check_has_channels
from .pixels import as_pixels

Restore = Callable[..., Any]
"""The inverse of a conversion to model space.

`restore(y)` returns the image with y as its pixels. `restore(change, is_change=True)` returns the image plus a change, added
at the image's own resolution. Both return the kind, size and dtype of the original image.
"""

# beyond the range [0, 1], in its units. Interpolation overshoots by less, normalised or 0..255 images by far more
MAX_OVERSHOOT = 0.25

_calls: dict[torch.device, int] = {}  # with floats on each device other than the CPU

DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64)
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
    """Convert an image to model space, and return `(x, restore)`.

    x is float32 `(B, channels, size, size)` in [0, 1], B the product of the leading dimensions. An image of another size is
    resized (`resize=False` refuses it). One channel is repeated to three, three are reduced to their luminance. A transparent
    PIL image is seen over white.

    Raises:
        TypeError: the PIL mode or dtype would be damaged.
        ValueError: pixels are outside [0, 1], channels do not match, or a tensor has no channel dimension.

    Example:
        >>> image = torch.full((1, 56, 56), 51, dtype=torch.uint8)
        >>> x, restore = to_model(image, channels=1, size=28)
        >>> x.shape, torch.equal(restore(x), image)
        (torch.Size([1, 1, 28, 28]), True)
        >>> restore(x * 0 + 10 / 255, is_change=True).unique()
        tensor([61], dtype=torch.uint8)
    """
    pixels, rebuild = unpack(image)
    x, restore = _pixels_to_model(pixels, channels, size, resize)
    if _is_transparent(image):  # colours hidden under it are kept, and not looked at
        x, _ = _pixels_to_model(unpack(over_flat_colour(image))[0], channels, size, resize)
    return x, lambda y, is_change=False: rebuild(restore(y, is_change))


def all_to_model(
    images: Sequence[Any], channels: int, size: int, resize: bool = True
) -> tuple[Tensor, list[int], Callable[..., list[Any]]]:
    """Convert several images to model space, concatenated in one x; return it, the length of each, and the restore of the list.

    Images of one shape and type, as a data set has them, are converted and restored in one call.

    Example:
        >>> x, counts, restore = all_to_model([torch.rand(1, 28, 28), torch.rand(2, 1, 40, 40)], channels=1, size=28)
        >>> x.shape, counts, [image.shape for image in restore(x)]
        (torch.Size([3, 1, 28, 28]), [1, 2], [torch.Size([1, 28, 28]), torch.Size([2, 1, 40, 40])])
    """
    parts = [unpack(image) for image in images]
    are_alike = len({(pixels.shape, pixels.dtype, pixels.device) for pixels, _ in parts}) == 1
    if are_alike and not any(map(_is_transparent, images)):
        x, restore = _stack_to_model(parts, channels, size, resize)
        return x, [len(x) // len(parts)] * len(parts), restore
    pairs = [to_model(image, channels, size, resize) for image in images]
    counts = [len(x) for x, _ in pairs]

    def restore_each(y: Tensor, is_change: bool = False) -> list[Any]:
        return [restore_one(part, is_change) for (_, restore_one), part in zip(pairs, y.split(counts), strict=True)]

    return torch.cat([x for x, _ in pairs]), counts, restore_each


def _is_transparent(image: Any) -> bool:
    return isinstance(image, PIL.Image.Image) and has_transparency(image)


def _stack_to_model(
    parts: Sequence[tuple[Tensor, Callable[[Tensor], Any]]], channels: int, size: int, resize: bool
) -> tuple[Tensor, Callable[..., list[Any]]]:
    """Convert unpacked images of one shape, dtype and device as one stack, for `all_to_model`."""
    _check_pixels(parts[0][0], channels, size, resize)  # in a stack, images could pass for the channels of one
    x, restore_stack = _pixels_to_model(torch.stack([pixels for pixels, _ in parts]), channels, size, resize)

    def restore(y: Tensor, is_change: bool = False) -> list[Any]:
        stack = restore_stack(y, is_change).unbind()
        return [rebuild(pixels) for (_, rebuild), pixels in zip(parts, stack, strict=True)]

    return x, restore


def _pixels_to_model(pixels: Tensor, channels: int, size: int, resize: bool) -> tuple[Tensor, Callable[..., Tensor]]:
    """Convert plain pixels `(..., C, H, W)` to model space, for `to_model`."""
    _check_pixels(pixels, channels, size, resize)
    flat = pixels.reshape(-1, *pixels.shape[-3:])  # (..., C, H, W) -> (B, C, H, W)
    scale = 255.0 if pixels.dtype == torch.uint8 else 1.0
    x = match_channels(_floats_at_size(flat, (size, size)), channels)

    def restore(y: Tensor, is_change: bool = False) -> Tensor:
        if is_change and flat.dtype == torch.uint8 and y.shape[1] == flat.shape[1] and y.shape != flat.shape:
            return with_change(flat, y).reshape(pixels.shape)
        grown = match_channels(enlarged(y, like=flat), flat.shape[1])
        # a change is added in the wider dtype: one of 0 returns the image exactly, with gradient 1
        values = torch.add(flat, grown, alpha=scale) if is_change else grown * scale
        return as_pixels(values, flat.dtype).reshape(pixels.shape)

    return x, restore


def unpack(image: Any) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """Take an image apart: its pixels as a plain tensor `(..., C, H, W)`, and the function from pixels back to its kind.

    Example:
        >>> pixels, rebuild = unpack(PIL.Image.new("RGB", (40, 30)))
        >>> pixels.shape, rebuild(pixels).size
        (torch.Size([3, 30, 40]), (40, 30))
    """
    if isinstance(image, PIL.Image.Image):
        if image.mode in ("L", "RGB"):
            return _from_pil(image), lambda pixels: with_info(_to_pil(pixels), image)
        if image.mode in ("LA", "RGBA"):
            return _from_pil(image)[:-1], lambda pixels: with_info(_with_alpha(_to_pil(pixels), image), image)
        remedy = PIL_REMEDY.get(image.mode, PIL_SCALE_REMEDY)
        raise TypeError(f"VAEAugment takes PIL images of mode L, RGB, LA or RGBA, not {image.mode!r}: {remedy}")
    if isinstance(image, tv_tensors.TVTensor):
        return image.as_subclass(Tensor), lambda pixels: tv_tensors.wrap(pixels, like=image)
    return image, lambda pixels: pixels


# The same as torchvision's pil_to_tensor and to_pil_image. Those use numpy's array protocol, which is slow for small images.


def _from_pil(image: PIL.Image.Image) -> Tensor:
    pixels = torch.frombuffer(pil_bytes(image, image.mode), dtype=torch.uint8)
    return pixels.view(image.height, image.width, -1).permute(2, 0, 1)  # channels last: the fastest to resize


def pil_bytes(image: PIL.Image.Image, mode: str) -> bytearray:
    """The pixels of a PIL image, row by row, each as this raw mode of PIL has it."""
    try:
        return bytearray(image.tobytes("raw", mode))
    except (ValueError, OSError, SyntaxError) as error:
        raise ValueError(
            f"the pixels of the PIL image {getattr(image, 'filename', '') or ''} cannot be read ({error}): open it again, or "
            "leave it out"
        ) from error


def _to_pil(pixels: Tensor) -> PIL.Image.Image:
    channels, height, width = pixels.shape
    mode, rows = ("L" if channels == 1 else "RGB"), pixels.permute(1, 2, 0).contiguous().numpy()
    return PIL.Image.frombuffer(mode, (width, height), rows, "raw", mode, 0, 1)


def with_info(image: PIL.Image.Image, original: PIL.Image.Image) -> PIL.Image.Image:
    """Keep what PIL's own operations keep: colour profile, EXIF data, resolution."""
    if original.info:
        image.info = original.info.copy()
    return image


def _with_alpha(image: PIL.Image.Image, original: PIL.Image.Image) -> PIL.Image.Image:
    image.putalpha(original.getchannel("A"))
    return image


def _check_pixels(pixels: Tensor, channels: int, size: int, resize: bool) -> None:
    check_has_channels(pixels)
    if pixels.layout != torch.strided:
        raise TypeError(
            f"VAEAugment expects dense tensors of pixels, got layout {pixels.layout}: convert with image.to_dense()"
        )
    if pixels.dtype not in DTYPES:
        raise TypeError(
            f"VAEAugment expects uint8 pixels in 0..255 or floats in [0, 1], got {pixels.dtype}: convert with "
            "v2.ToDtype(torch.uint8, scale=True) or v2.ToDtype(torch.float32, scale=True)"
        )
    if pixels.is_meta:
        raise TypeError(
            "VAEAugment expects pixels, got a tensor on the device 'meta', which has none: move the image to another"
        )
    check_fork(pixels.device)
    if pixels.dtype.is_floating_point and pixels.numel() and _is_looked_at(pixels.device):
        low, high = (float(v) for v in torch.aminmax(pixels.detach()))
        if not (low >= -MAX_OVERSHOOT and high <= 1 + MAX_OVERSHOOT):  # also true for NaN
            if not pixels.isfinite().all():
                places = (~pixels.isfinite()).nonzero()
                value, first = pixels[tuple(places[0])].item(), tuple(places[0].tolist())
                raise ValueError(
                    f"VAEAugment expects finite pixels, got {value} at {first} and {len(places)} such values in all: mend the "
                    "image, or what made it"
                )
            raise ValueError(
                f"VAEAugment expects float pixels in [0, 1], got values from {low:.4g} to {high:.4g}: put it before "
                "Normalize, and divide pixels in 0..255 by 255 (v2.ToDtype(torch.float32, scale=True))"
            )
    if pixels.shape[-3] != channels and {pixels.shape[-3], channels} != {1, 3}:
        remedy = (
            ". If the channels come last, put them first: image.movedim(-1, -3)"
            if pixels.shape[-1] in (1, 3, channels)
            else ""
        )
        raise ValueError(f"this VAE was trained on {channels}-channel images, got {pixels.shape[-3]} channels{remedy}")
    if not resize and pixels.shape[-2:] != (size, size):
        raise ValueError(
            f"this VAE works at {size}x{size} pixels, got {pixels.shape[-2]}x{pixels.shape[-1]} with resize=False"
        )


def check_fork(device: torch.device) -> None:
    """Raises RuntimeError for an image on a GPU in a process that was forked after CUDA was in use, where CUDA cannot work."""
    if device.type == "cuda" and torch.cuda._is_in_bad_fork():
        raise RuntimeError(
            f"VAEAugment got an image on {device} in a forked worker, where CUDA does not work: keep the data set on the CPU and "
            'vary whole batches after the DataLoader, or give it multiprocessing_context="spawn"'
        )


def _is_looked_at(device: torch.device) -> bool:
    """Whether the range of floats is looked at: on the CPU always; a GPU would be waited for, at the calls 1, 2, 4, 8, ..."""
    if device.type == "cpu":
        return True
    count = _calls[device] = _calls.get(device, 0) + 1
    return count & (count - 1) == 0


def _floats_at_size(flat: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize uint8 or float pixels `(B, C, H, W)` to float32 `(B, C, *size)` in [0, 1]."""
    if flat.dtype != torch.uint8:
        return resized(flat.float(), size)
    if flat.device.type == "cpu":  # where bytes are resized faster than floats
        return resized(flat, size).float().div_(255)  # a division of bytes is slower than cast and division in place
    return resized(flat.float().div_(255), size)


def match_channels(x: Tensor, channels: int) -> Tensor:
    """Convert (B, 1 or 3, H, W) to (B, channels, H, W): repeat grey, reduce colour to its luminance (ITU-R 601)."""
    if x.shape[1] == channels:
        return x
    if channels == 3:
        return x.expand(-1, 3, -1, -1)
    return (x * x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def as_floats(images: Tensor) -> Tensor:
    """Convert uint8 pixels, or floats in [0, 1], to float32 in [0, 1].

    Example:
        >>> as_floats(torch.tensor([0, 51, 255], dtype=torch.uint8))
        tensor([0.0000, 0.2000, 1.0000])
    """
    return images.float().div_(255) if images.dtype == torch.uint8 else images.float()  # in place: no second copy
