"""Shortcuts: one small image in fewer calls, and bytes in the model's own shape in fewer operations.

Without them the same images come out, and one small image costs up to twice as much.
"""

from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors

from .engine import Engine, How, Plan
from .images import PilBytes, as_pixels, is_model_bytes, lead_shape, unpack
from .tracing import is_transformed
from .vae import PLANAR

Bytes = NDArray[np.uint8]


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
    move = engine.move
    is_new = plan.makes_new and how.strength * move.gain == 1 and not move.traits.reads_std
    if engine.net.fused is None or is_transformed() or not (is_new or _is_change(plan, how)):
        return None
    if isinstance(image, PIL.Image.Image):
        return _varied_pil(engine, image, plan, how)
    if not is_model_bytes(image, engine.net.channels, engine.net.size):
        return None
    pixels, rebuild = unpack(image)
    if pixels.ndim == 3 and not plan.makes_new:
        row = _varied_row(engine, pixels.numpy().ravel(), PLANAR, plan, how)
        return rebuild(torch.from_numpy(row.reshape(pixels.shape)))
    return rebuild(_varied_batch(engine, pixels, plan, how))


def varied_alone(engine: Engine, x: Tensor, plan: Plan, how: How) -> Tensor | None:
    """The change of one image in model space, `(1, C, S, S)`, as `Engine.vary` computes it; None where there is no shortcut."""
    if engine.net.lone is None or not _is_change(plan, how) or len(x) != 1 or not x.is_cpu or is_transformed():
        return None
    row = x.contiguous().numpy(force=True).ravel()
    return torch.from_numpy(_change(engine, row, PLANAR, plan, how).reshape(x.shape))


def _is_change(plan: Plan, how: How) -> bool:
    """Whether a plan moves images by noise, and what comes of that is added to them."""
    return plan.noise is not None and how.residual and not plan.makes_new


def _varied_batch(engine: Engine, pixels: Tensor, plan: Plan, how: How) -> Tensor:
    net, target = engine.net.fused, plan.target
    assert net is not None
    if plan.noise is not None:
        return net.vary_bytes(pixels, plan.noise, how.strength * engine.move.gain)
    if target is None:
        assert plan.seed is not None
        target = engine.move.target(net.mean_of_bytes(pixels), None, plan.seed)
    return as_pixels(net.decode_whitened(target).mul_(255), torch.uint8).view_as(pixels)


def _varied_pil(engine: Engine, image: PIL.Image.Image, plan: Plan, how: How) -> PIL.Image.Image | None:
    """A PIL image, of the model's size or larger."""
    size = engine.net.size
    is_same = image.size == (size, size)
    if not (is_same or how.resize) or (found := PilBytes.of(image, engine.net.channels)) is None:
        return None
    if is_same:
        return found.image_of(_varied_row(engine, found.row, found.pixel, plan, how))
    if not found.is_larger(size):
        return None
    row = found.shrunk(size)
    if plan.makes_new:
        return found.enlarged(_new(engine, row, found.pixel, plan), size)
    return found.with_change(_change(engine, row, found.pixel, plan, how), size)


def _varied_row(engine: Engine, row: Bytes, layout: int, plan: Plan, how: How) -> Bytes:
    """The bytes of one image of the model's size, varied."""
    if plan.makes_new:
        return _new(engine, row, layout, plan)
    change = _change(engine, row, layout, plan, how)
    np.multiply(change, 255, out=change)
    return _as_bytes(np.add(change, row, out=change))


def _change(engine: Engine, row: NDArray[Any], layout: int, plan: Plan, how: How) -> NDArray[np.float32]:
    """The change of one image of the model's size, bytes or float32 in [0, 1]."""
    assert engine.net.lone is not None
    assert plan.noise is not None
    return engine.net.lone.change(row, layout, plan.noise, how.strength * engine.move.gain)


def _new(engine: Engine, row: Bytes, layout: int, plan: Plan) -> Bytes:
    """A new image in the place of one of the model's size, which is read only for its class, if that is not known."""
    lone, target = engine.net.lone, plan.target
    assert lone is not None
    if target is None:
        assert plan.seed is not None
        target = engine.move.target(lone.mean(row, layout), None, plan.seed)
    image = lone.decoded(target, layout)
    return _as_bytes(np.multiply(image, 255, out=image))


def _as_bytes(values: NDArray[np.float32]) -> Bytes:
    """Clamp and round values to bytes. Overwrites them."""
    np.maximum(values, 0, out=values)
    np.minimum(values, 255, out=values)
    return np.rint(values, out=values).astype(np.uint8)
