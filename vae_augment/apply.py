"""A plan carried out on images of any kind: read, computed by the engine, given back as what they were."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from . import shortcuts
from .engine import Engine, How, Plan
from .images import all_to_model, frames_of, is_empty, to_model, unpack
from .vae import to_device


def apply_plan(engine: Engine, image: Any, plan: Plan, how: How) -> Any:
    """An image, a batch or clips -> the same kind, those varied that the plan chose; the object itself if there are none."""
    if is_empty(image):
        return image
    chosen = plan.chosen
    if how.is_identity or (chosen is not None and not chosen.any()):
        to_model(image, engine.net.channels, engine.net.size, how.resize)  # mistakes are still told
        return image
    if chosen is None or chosen.all():
        new = new_image(engine, image, plan, how)
        return _connected(new, image) if plan.makes_new else new
    pixels, rebuild = unpack(image)
    flat = pixels.flatten(0, chosen.ndim - 1)
    places = to_device(chosen.flatten().nonzero()[:, 0], pixels.device)
    new, _ = unpack(new_image(engine, rebuild(flat.index_select(0, places)), plan, how))
    return rebuild(flat.clone().index_copy_(0, places, new).view(pixels.shape))  # a clone keeps the memory format


def _connected(new: Any, image: Any) -> Any:
    """New images, as a function of the old ones whose gradient is 0, if those ask for one: as where only some are replaced."""
    if not isinstance(image, Tensor) or not image.requires_grad:
        return new
    pixels, rebuild = unpack(image)
    return rebuild(unpack(new)[0] + 0 * pixels)


def new_image(engine: Engine, image: Any, plan: Plan, how: How) -> Any:
    """An image, a batch or clips -> the same kind, all varied."""
    if (new := shortcuts.varied_bytes(engine, image, plan, how)) is not None:
        return new
    x, restore = to_model(image, engine.net.channels, engine.net.size, how.resize)
    y = shortcuts.varied_alone(engine, x, plan, how)
    if y is None:
        y = engine.vary(x, plan, how, 1 if how.per_frame else frames_of(image))
    return restore(y, is_change=how.residual and not plan.makes_new)


def vary_list(
    engine: Engine, images: Sequence[Any], classes: Tensor | None, how: How, generator: Generator | None
) -> list[Any]:
    """Single images and clips of any kinds and sizes -> all varied, images in one pass of the network.

    Args:
        classes: int64, one for each, of which new images are wanted; None: they are varied.
    """
    if how.is_identity:
        return [apply_plan(engine, image, Plan(), how) for image in images]
    if len(images) == 1 and is_empty(images[0]):
        return list(images)
    # the frames of each clip move together, and what is empty cannot be stacked
    if len(images) > 1 and any(frames_of(image) != 1 or is_empty(image) for image in images):
        of_each = [None] * len(images) if classes is None else classes.split(1)
        pairs = zip(images, of_each, strict=True)
        return [new for image, one in pairs for new in vary_list(engine, [image], one, how, generator)]
    x, counts, restore = all_to_model(images, engine.net.channels, engine.net.size, how.resize)
    frames = 1 if how.per_frame else frames_of(images[0])  # a clip is alone here
    if classes is not None:
        classes = classes.repeat_interleave(torch.tensor(counts, device="cpu") // frames)
    plan = engine.plan(len(x) // frames, how, generator, classes)
    return restore(engine.vary(x, plan, how, frames), is_change=how.residual and not plan.makes_new)
