"""Shortcuts: what the engine makes of bytes in the model's own shape, in fewer operations.

Without them the same images come out, and one small image costs up to twice as much. `VAEAugment` asks them in two places.
"""

from typing import Any

import torch

from .engine import Engine, How, Plan
from .images import as_pixels, is_model_bytes, unpack


def is_lone(inputs: tuple[Any, ...], engine: Engine) -> bool:
    """Whether a call has bytes and nothing else, so that torchvision's walk through a sample can be left out."""
    if len(inputs) != 1 or not is_model_bytes(inputs[0], engine.net.channels, engine.net.size):
        return False
    return not isinstance(inputs[0], torch.Tensor) or inputs[0].numel() > 0


def varied_bytes(engine: Engine, image: Any, plan: Plan, how: How) -> Any | None:
    """Bytes as `Engine.vary` changes them, within a rounding of the last grey level; None where there is no shortcut.

    The residual is added where the bytes are, and toward a target at strength 1 the image is not read.
    """
    net = engine.net
    if net.fused is None or not is_model_bytes(image, net.channels, net.size):
        return None
    if plan.noise is not None and how.residual and not plan.makes_new:
        pixels, rebuild = unpack(image)
        return rebuild(net.fused.vary_bytes(pixels, plan.noise, how.strength * engine.move.gain))
    if plan.target is not None and how.strength == 1:
        pixels, rebuild = unpack(image)
        made = net.fused.decode_whitened(plan.target)
        return rebuild(as_pixels(made.mul_(255), torch.uint8).view_as(pixels))
    return None
