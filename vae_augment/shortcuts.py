"""Shortcuts: one small image in fewer calls, and bytes in the model's own shape in fewer operations.

Without them the same images come out, and one small image costs up to twice as much.
"""

from typing import Any

import PIL.Image
import torch
from torchvision import tv_tensors

from .engine import Engine, How, Plan
from .images import as_pixels, is_model_bytes, lead_shape, unpack


def is_lone(inputs: tuple[Any, ...]) -> bool:
    """Whether a call has pixels alone, or one image with its label: torchvision's walk through a sample can be left out."""
    if len(inputs) == 1:
        return _is_pixels(inputs[0])
    return len(inputs) == 2 and type(inputs[1]) in (int, str) and _is_pixels(inputs[0]) and not lead_shape(inputs[0])


def _is_pixels(item: Any) -> bool:
    if type(item) in (torch.Tensor, tv_tensors.Image):
        return bool(item.ndim > 2 and not item.is_nested)
    return isinstance(item, PIL.Image.Image)


def varied_bytes(engine: Engine, image: Any, plan: Plan, how: How) -> Any | None:
    """Bytes as `Engine.vary` changes them, within a rounding of the last grey level; None where there is no shortcut.

    The residual is added where the bytes are, and where nothing is left of an image it is not read, or only for its class.
    """
    net, move = engine.net.fused, engine.move
    if net is None or not is_model_bytes(image, engine.net.channels, engine.net.size):
        return None
    pixels, rebuild = unpack(image)
    if plan.noise is not None and how.residual and not plan.makes_new:
        return rebuild(net.vary_bytes(pixels, plan.noise, how.strength * move.gain))
    if not plan.makes_new or how.strength * move.gain != 1 or move.traits.reads_std:
        return None
    target = plan.target
    if target is None:
        assert plan.seed is not None
        target = move.target(net.mean_of_bytes(pixels), None, plan.seed)
    return rebuild(as_pixels(net.decode_whitened(target).mul_(255), torch.uint8).view_as(pixels))
