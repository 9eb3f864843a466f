"""The two jitters that a fit gives: latents of a pool by class, or differences between labelled images of one class."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize

from .jitter import Traits
from .neighbourhoods import USUAL_NOVELTY, Neighbourhoods
from .pool import LatentBank
from .vae import Codec, Whitened

CHUNK = 500  # images encoded at a time


class Spans(NamedTuple):
    """Where the members of each class are, when they are sorted by class: int64 `(C,)`."""

    starts: Tensor
    counts: Tensor

    @classmethod
    def of(cls, ends: Tensor) -> Self:
        """From where each class ends."""
        counts = ends.diff(prepend=ends.new_zeros(1))
        return cls(ends - counts, counts)

    def draw(self, classes: Tensor, generator: Generator | None) -> Tensor:
        """A random place within each class: int64 `(B,)`."""
        part = torch.rand(len(classes), generator=generator, dtype=torch.float32, device="cpu")
        # for one class much sooner than counts[classes]
        return (part * self.counts.index_select(0, classes)).long().add_(self.starts.index_select(0, classes))


@dataclass(frozen=True, eq=False)
class ClassLatents:
    """Latents of a pool, sorted by class. As a jitter it draws one of the class of the labelled image nearest to a latent.

    Args:
        latents: float16 `(M, *latent_shape)`, whitened, sorted by class.
        ends: int64 `(C,)`: where each class ends.
        members: int64 `(M,)`: their places in the bank, -1 for latents of labelled images.
        labelled: float16 `(N, *latent_shape)`, whitened: the labelled images themselves, to recognise a class by, and those of
            the pool that stand for such.
        labels: int64 `(N,)`: their classes.
        novelty: from 0 to 1: how far new latents lie from those of the pool, see `Neighbourhoods`.
    """

    latents: Tensor
    ends: Tensor
    members: Tensor
    labelled: Tensor
    labels: Tensor
    novelty: float = USUAL_NOVELTY
    traits: ClassVar = Traits(reads_std=False, makes_new=True, is_checked=False)
    _directions: Tensor = field(init=False, repr=False)
    _spans: Spans = field(init=False, repr=False)
    _around: Neighbourhoods = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_directions", normalize(self.labelled.float().flatten(1)))
        object.__setattr__(self, "_spans", Spans.of(self.ends))
        object.__setattr__(self, "_around", Neighbourhoods(self.latents, self.ends))

    def with_novelty(self, novelty: float) -> Self:
        """The same classes, whose new latents lie so far from those of the pool."""
        new = copy.copy(self)  # and not `replace`, which would look for neighbours again
        object.__setattr__(new, "novelty", novelty)
        return new

    @classmethod
    @torch.no_grad()
    def from_bank(
        cls,
        vae: Codec,
        bank: LatentBank,
        members: Sequence[Tensor],
        images: Tensor,
        labels: Tensor,
        seeds: Tensor | None = None,
    ) -> Self:
        """Take the latents of a bank that stand for each class; a class without any keeps the labelled images' own.

        Args:
            members: for each class the places of its latents in the bank, int64; see `Query.class_members`.
            images: the labelled ones, float32 `(N, C, S, S)` in [0, 1]; labels: int64 `(N,)`, from 0 to classes - 1.
            seeds: classes of images of the bank that count as labelled, see `Query`.
        """
        own = [Whitened(vae).whitened_mean(part) for part in images.split(CHUNK) if len(part)]
        own_places = torch.full((len(images),), -1)
        if seeds is not None:
            own.append(bank.whitened(vae, of_bank := (seeds >= 0).nonzero()[:, 0]))
            own_places, labels = torch.cat([own_places, of_bank]), torch.cat([labels, seeds[of_bank]])
        known, latents, places = torch.cat(own), [], []
        for c, of_class in enumerate(members):
            latents.append(bank.whitened(vae, of_class).half() if len(of_class) else known[labels == c].half())
            places.append(of_class if len(of_class) else own_places[labels == c])
        ends = torch.tensor([len(part) for part in latents]).cumsum(0)
        return cls(torch.cat(latents), ends, torch.cat(places), known.half(), labels)

    def draw_latents(self, classes: Tensor, generator: Generator | None = None) -> Tensor:
        """Classes, int64 `(B,)` -> a random whitened latent of each, float32 `(B, *latent_shape)`."""
        places = self._spans.draw(classes, generator)
        if self.novelty == 0:
            return self.latents.index_select(0, places).float()
        return self._around.draw(places, self.novelty, generator)

    def nearest_class(self, mean: Tensor) -> Tensor:
        """Whitened latents `(B, *latent_shape)` -> the class of the nearest labelled image, int64 `(B,)`."""
        return self.labels.index_select(0, (mean.cpu().flatten(1) @ self._directions.T).argmax(1))

    def __call__(self, mean: Tensor, std: Tensor, generator: Generator | None = None) -> Tensor:
        return self.draw_latents(self.nearest_class(mean), generator).to(mean)

    def __repr__(self) -> str:
        return f"ClassLatents({len(self.latents)} latents of {len(self.ends)} classes, novelty={self.novelty:g})"


@dataclass(frozen=True, eq=False)
class ClassDifferences:
    """Differences between labelled images of one class, added to other images' latents: what is left without a pool.

    `z = mean + t * (b - a)`, t ~ U(0, reach), a and b two labelled latents of a class drawn at random: what varies within
    one class mostly varies within the others too (Schwartz et al., Delta-encoder, NeurIPS 2018).

    Args:
        latents: float16 `(N, *latent_shape)`, whitened, sorted by class.
        ends: int64 `(C,)`: where each class ends.
        images: float16 `(N, C, S, S)` in [0, 1]: the labelled images, which `VAEAugment.sample` varies.
        reach: largest part of a difference that is added.
    """

    latents: Tensor
    ends: Tensor
    images: Tensor
    reach: float = 0.25
    traits: ClassVar = Traits(reads_std=False, is_checked=False)
    _spans: Spans = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_spans", Spans.of(self.ends))

    @classmethod
    @torch.no_grad()
    def from_images(cls, vae: Codec, images: Tensor, labels: Tensor, classes: int) -> Self:
        """Take the latents of labelled images.

        Latents of images like the VAE's training images have mean square 1. Those of others lie farther out, where decoded
        differences show little of theirs: the reach is divided by the square of that mean square.

        Args:
            images: float32 `(N, C, S, S)` in [0, 1]; labels: int64 `(N,)`, from 0 to classes - 1.
        """
        order = labels.argsort(stable=True)
        latents = torch.cat([Whitened(vae).whitened_mean(part) for part in images[order].split(CHUNK)])
        ends = torch.bincount(labels, minlength=classes).cumsum(0)
        far_out = max(1.0, float(latents.square().mean()))
        return cls(latents.half(), ends, images[order].half(), cls.reach / far_out**2)

    def with_novelty(self, novelty: float) -> Self:
        """The same: there is no pool, and each image is a new one already."""
        return self

    def draw_images(self, classes: Tensor, generator: Generator | None = None) -> Tensor:
        """Classes, int64 `(B,)` -> a random labelled image of each, float32 `(B, C, S, S)` in [0, 1]."""
        return self.images[self._spans.draw(classes, generator)].float()

    def __call__(self, mean: Tensor, std: Tensor, generator: Generator | None = None) -> Tensor:
        any_image = torch.randint(len(self.latents), (len(mean),), generator=generator, device="cpu")
        same_class = torch.searchsorted(self.ends, any_image, right=True)
        a, b = any_image, self._spans.draw(same_class, generator)
        t = torch.rand(len(mean), *[1] * (mean.ndim - 1), generator=generator, dtype=torch.float32, device="cpu").to(
            mean
        )
        return mean + self.reach * t * (self.latents[b] - self.latents[a]).to(mean)

    def __repr__(self) -> str:
        return f"ClassDifferences({len(self.latents)} labelled images of {len(self.ends)} classes)"
