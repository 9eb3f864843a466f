"""What a fit knows of the classes: latents of a pool, drawn by class, or how labelled images of one class differ."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize

from .jitter import Traits
from .pool import LatentBank
from .pool.ridge import most_confident, with_linear_classifier
from .vae import Codec, Whitened

CHUNK = 500  # images encoded at a time
# What tells that a pool does not hold a class: its labelled images, three at least, are this unfamiliar on average, or somewhat
# and get fewer latents than this part of an even share. Classes of MNIST left out of a pool have 0.10 to 0.32 and 0.01 to 0.67,
# those in it 0.22 and 0.61 at least; shirts, which are diverse, 0.17 to a VAE of other garments. Most garments left out are too
# like others to be told.
STRANGE, UNUSUAL, SMALL_SHARE = 0.13, 0.4, 0.15


@dataclass(frozen=True, eq=False)
class ClassLatents:
    """Latents sorted by class, and as a jitter: one drawn from the class that an image's latent is nearest to.

    Args:
        latents: float16 `(M, *latent_shape)`, whitened, sorted by class.
        ends: int64 `(C,)`: where each class ends.
        members: int64 `(M,)`: their places in the bank, -1 for latents of labelled images.
        labelled: float16 `(N, *latent_shape)`, whitened: the labelled images themselves, to recognise a class by.
        labels: int64 `(N,)`: their classes.
    """

    latents: Tensor
    ends: Tensor
    members: Tensor
    labelled: Tensor
    labels: Tensor
    traits: ClassVar = Traits(reads_std=False, makes_new=True, is_checked=False)
    _directions: Tensor = field(init=False, repr=False)
    _counts: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_directions", normalize(self.labelled.float().flatten(1)))
        object.__setattr__(self, "_counts", _counts(self.ends))

    @classmethod
    @torch.no_grad()
    def from_bank(
        cls,
        vae: Codec,
        bank: LatentBank,
        images: Tensor,
        links: Sequence[Tensor],
        labels: Tensor,
        familiarity: Tensor,
        classes: int,
        keep: float,
    ) -> Self:
        """Spread the labels of a few images over a bank and keep the confident part of each class.

        A class that the bank does not seem to hold keeps the labelled images' own latents.

        Args:
            images: float32 `(N, C, S, S)` in [0, 1]; links: to the bank; labels: int64 `(N,)`, from 0 to classes - 1.
            familiarity: of the images to the bank, `(N,)`.
            keep: part of each class that is kept, the most confident.
        """
        scores = bank.spread(links, labels, classes)
        if (textures := bank.textures_alone) is not None:
            pool, known = normalize(textures.points.float()), normalize(textures.of(images))
            scores = with_linear_classifier(scores, pool, known, labels)
        confidence, predicted = scores.max(1)
        mean = torch.cat([vae.encode(part)[0] for part in images.split(CHUNK)])
        own = (mean - vae.latent_mean) / vae.latent_std
        parts, members = [], []
        for c in range(classes):
            best = most_confident(confidence, predicted, c, keep)
            familiar = familiarity[labels == c]
            few = ((predicted == c) & (confidence > 0)).sum() < SMALL_SHARE * len(bank) / classes
            if len(familiar) >= 3 and familiar.mean() < (UNUSUAL if few else STRANGE):
                best = best[:0]
            parts.append(bank.whitened(vae, best).half() if len(best) else own[labels == c].half())
            members.append(best if len(best) else torch.full((len(parts[-1]),), -1))
        ends = torch.tensor([len(part) for part in parts]).cumsum(0)
        return cls(torch.cat(parts), ends, torch.cat(members), own.half(), labels)

    def draw_latents(self, classes: Tensor, generator: Generator | None = None) -> Tensor:
        """int64 `(B,)` -> a whitened latent of each class, float32 `(B, *latent_shape)`."""
        return self.latents.index_select(0, _draw(self.ends, self._counts, classes, generator)).float()

    def nearest_class(self, mean: Tensor) -> Tensor:
        """Whitened latents `(B, *latent_shape)` -> the class of the nearest labelled image, int64 `(B,)`."""
        return self.labels.index_select(0, (mean.cpu().flatten(1) @ self._directions.T).argmax(1))

    def __call__(self, mean: Tensor, std: Tensor, generator: Generator | None = None) -> Tensor:
        return self.draw_latents(self.nearest_class(mean), generator).to(mean)

    def __repr__(self) -> str:
        return f"ClassLatents({len(self.latents)} latents of {len(self.ends)} classes)"


@dataclass(frozen=True, eq=False)
class ClassDifferences:
    """Without a pool: differences between labelled images of one class, added to other images' latents.

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
    _counts: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_counts", _counts(self.ends))

    @classmethod
    @torch.no_grad()
    def from_images(cls, vae: Codec, images: Tensor, labels: Tensor, classes: int) -> Self:
        """float32 images `(N, C, S, S)` in [0, 1] and their classes, int64 `(N,)`.

        Latents of images like the VAE's training images have mean square 1. Those of others lie farther out, where decoded
        differences show little of theirs, and cost a classifier half a point with five garments a class: the reach is
        divided by its square.
        """
        order = labels.argsort(stable=True)
        latents = torch.cat([Whitened(vae).whitened_mean(part) for part in images[order].split(CHUNK)])
        ends = torch.bincount(labels, minlength=classes).cumsum(0)
        far_out = max(1.0, float(latents.square().mean()))
        return cls(latents.half(), ends, images[order].half(), cls.reach / far_out**2)

    def draw_images(self, classes: Tensor, generator: Generator | None = None) -> Tensor:
        """int64 `(B,)` -> a labelled image of each class, float32 `(B, C, S, S)`."""
        return self.images[self._draw_places(classes, generator)].float()

    def _draw_places(self, classes: Tensor, generator: Generator | None = None) -> Tensor:
        """int64 `(B,)` -> the place of a labelled image of each class, int64 `(B,)`."""
        return _draw(self.ends, self._counts, classes, generator)

    def __call__(self, mean: Tensor, std: Tensor, generator: Generator | None = None) -> Tensor:
        any_image = torch.randint(len(self.latents), (len(mean),), generator=generator, device="cpu")
        a, b = any_image, self._draw_places(torch.searchsorted(self.ends, any_image, right=True), generator)
        t = torch.rand(len(mean), *[1] * (mean.ndim - 1), generator=generator, dtype=torch.float32, device="cpu").to(
            mean
        )
        return mean + self.reach * t * (self.latents[b] - self.latents[a]).to(mean)

    def __repr__(self) -> str:
        return f"ClassDifferences({len(self.latents)} labelled images of {len(self.ends)} classes)"


def _counts(ends: Tensor) -> Tensor:
    """Of each class's members, from where it ends: int64 `(C,)`."""
    return ends.diff(prepend=ends.new_zeros(1))


def _draw(ends: Tensor, counts: Tensor, classes: Tensor, generator: Generator | None) -> Tensor:
    """A random place within each class: int64 `(B,)`."""
    part = torch.rand(len(classes), generator=generator, dtype=torch.float32, device="cpu")
    count = counts.index_select(0, classes)  # for one class, a third of the time of counts[classes]
    return ends.index_select(0, classes) - count + (part * count).long()
