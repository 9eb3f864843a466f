"""Plan: everything that chance decides. Engine: the only place that draws one, and the only way to new pixels."""

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from .jitter import Noise
from .latent_move import LatentMove
from .tracing import is_transformed
from .vae import FrozenVAE, to_device


class How(NamedTuple):
    """The options of `VAEAugment` that a call goes by, as its user has set them."""

    strength: float = 1.0
    p: float = 1.0
    residual: bool = True
    per_frame: bool = False
    resize: bool = True

    @property
    def is_identity(self) -> bool:
        """Whether images stay as they are, whatever the plan."""
        return self.strength == 0 and self.residual


class Plan(NamedTuple):
    """How images come to be varied: replay it and get the same images.

    Args:
        chosen: bool, of the images' leading shape: which are varied; None: all. What follows is of those alone, B of them.
        noise: `(B, *latent_shape)`: by which latents move; or
        seed: of a jitter that draws for itself.
        target: `(B, *latent_shape)`: latents of the wanted classes, to which images move instead.
        source: `(B, C, S, S)`: labelled images of the wanted classes, which are varied instead.
        makes_new: whether the images that come out are new ones, and not changes of those that go in.
    """

    chosen: Tensor | None = None
    noise: Tensor | None = None
    seed: int | None = None
    target: Tensor | None = None
    source: Tensor | None = None
    makes_new: bool = False


class Engine:
    """A frozen network and how latents move: what `VAEAugment` computes with, of whatever its images come as.

    Args:
        net: the network.
        move: of the jitter, or of the classes that a fit knows.
    """

    def __init__(self, net: FrozenVAE, move: LatentMove) -> None:
        self.net, self.move = net, move

    def plan_once(self, shape: tuple[int, ...], how: How, generator: Generator | None) -> Plan:
        """As `plan_batch`; the plan of a lone image is to be carried out before the thread's next one is drawn."""
        jitter = self.move.jitter
        if shape or how.p != 1 or how.per_frame or type(jitter) is not Noise or is_transformed():
            return self.plan_batch(shape, how, generator)
        if self.net.lone is None:  # another codec is its user's code, which may draw between a plan and its end
            return self.plan_batch(shape, how, generator)
        return Plan(noise=jitter.draw((1, *self.net.latent_shape), generator, in_kept_memory=True))

    def plan_batch(self, shape: tuple[int, ...], how: How, generator: Generator | None) -> Plan:
        """Draw for images, or clips, of this leading shape. Noise is drawn for all, so that it does not depend on p."""
        if how.p == 1:
            return self.plan(math.prod(shape), how, generator)
        chosen = self._choose(shape, how.p, generator)
        plan = self.plan(math.prod(shape), how, generator)
        return plan._replace(chosen=chosen, noise=None if plan.noise is None else plan.noise[chosen.flatten()])

    def plan_classes(
        self, shape: tuple[int, ...], frames: int, classes: Tensor, how: How, generator: Generator | None
    ) -> Plan:
        """Draw for images, or clips of so many frames, of this leading shape and these classes, one each, int64 `(N,)`."""
        drawn = self._choose(shape, how.p, generator)  # also at p = 1: seeds count on it
        chosen = None if how.p == 1 or drawn.all() else drawn
        if how.is_identity or not (chosen is None or chosen.any()):
            return Plan(chosen)
        wanted = classes if chosen is None else classes[chosen.flatten()]
        if how.per_frame:
            wanted = wanted.repeat_interleave(frames)
        plan = self.plan(len(wanted), how, generator, wanted)
        return plan if chosen is None else plan._replace(chosen=chosen)

    def choose_places(self, count: int, how: How, generator: Generator | None) -> list[int]:
        """Draw which of the images of a list are varied."""
        places: list[int] = self._choose((count,), how.p, generator).nonzero()[:, 0].tolist()
        return places

    def plan(self, count: int, how: How, generator: Generator | None, classes: Tensor | None = None) -> Plan:
        """Draw how so many images move, all of which are varied.

        Args:
            classes: int64 `(count,)`: wanted classes, after a fit.
        """
        jitter, traits = self.move.jitter, self.move.traits
        source: Tensor | None = None
        if classes is not None:
            if traits.makes_new:
                return Plan(target=jitter.draw_latents(classes, generator), makes_new=True)  # type: ignore[attr-defined]
            source = jitter.draw_images(classes, generator)  # type: ignore[attr-defined]
        # how many frames will move on their own is not known here: they draw by a seed
        if traits.is_additive and not how.per_frame:
            noise: Tensor = jitter.draw((count, *self.net.latent_shape), generator)  # type: ignore[attr-defined]
            return Plan(noise=noise, source=source, makes_new=traits.makes_new)
        seed = int(torch.randint(2**62, (), generator=generator, device="cpu"))
        return Plan(seed=seed, source=source, makes_new=traits.makes_new)

    def _choose(self, shape: tuple[int, ...], p: float, generator: Generator | None) -> Tensor:
        """Each with probability p: bool of this shape."""
        return torch.rand(shape, generator=generator, dtype=torch.float32, device="cpu") < p

    def vary(self, x: Tensor | None, plan: Plan, how: How, frames: int = 1) -> Tensor:
        """Compute new images `decode(z')`, or with `residual` the change `decode(z') - decode(z)` to add to the old ones.

        Images that are new, and no change of those that go in, are decoded whatever `residual` says.

        Args:
            x: float32 `(B, C, S, S)` in [0, 1]; None: those that the plan has.
            how: `strength` is how far to move, toward a target 1 is the whole way.
            frames: so many consecutive images are a clip, and move as their mean does.

        Returns:
            float32 `(B, C, S, S)`.
        """
        strength, residual = how.strength, how.residual and not plan.makes_new
        if plan.target is not None and strength == 1 and frames == 1:  # nothing is left of the image: it is not encoded
            target = plan.target if x is None else to_device(plan.target, x.device)
            return self.net.on(target.device).decode_whitened(target)
        x = plan.source if x is None else x
        assert x is not None
        if x.requires_grad:  # detached, not inference_mode: the user's network trains on these pixels
            x = x.detach()
        net = self.net.on(x.device)
        reads_std = plan.target is None and self.move.traits.reads_std
        mean, std = net.encode_whitened(x) if reads_std else (net.whitened_mean(x), None)
        amount = 1.0 if plan.target is not None else strength * self.move.gain
        if plan.seed is not None and amount == 1 and frames == 1 and not residual:
            return net.decode_whitened(self.move.target(mean, std, plan.seed))  # there exactly, not by a difference
        of_clip, of_clip_std = mean, std
        if frames != 1:
            of_clip = mean.unflatten(0, (-1, frames)).mean(1)  # (B / frames, *latent_shape)
            of_clip_std = None if std is None else std.unflatten(0, (-1, frames)).mean(1)
        move = self._move(of_clip, of_clip_std, plan, strength)
        if frames != 1:
            move = move.repeat_interleave(frames, 0)
        if residual:
            return net.decoded_change(mean, move, amount)
        return net.decode_whitened(torch.add(mean, move, alpha=amount))

    def _move(self, mean: Tensor, std: Tensor | None, plan: Plan, strength: float) -> Tensor:
        """The way from latents to where the plan takes them; toward a target as much of it as the strength says."""
        if plan.target is not None:
            return strength * (to_device(plan.target, mean.device) - mean)
        if plan.noise is not None:
            return to_device(plan.noise, mean.device)
        assert plan.seed is not None
        return self.move.target(mean, std, plan.seed) - mean
