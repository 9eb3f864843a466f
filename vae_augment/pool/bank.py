"""LatentBank: what a pool of unlabelled images knows, kept beside the weights, and how a few labels spread over it."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..images import as_floats, extract_image, has_exif_rotation, to_model, untransformed_reader, warn_exif_rotation
from ..vae import Codec, check_codec
from .hog import outlines
from .label_spreading import agreement, spread_labels
from .latent_hog import CHUNK, REACH, most_alike, neighbours_of_all
from .near_duplicates import distinct
from .patch_features import Textures
from .ridge import told_apart

LARGEST_BANK = 10_000
BESIDE_LATENTS = 64  # dimensions of textures that are a second opinion; 128 label garments and digits no better
SOME = 1000  # images of a pool, enough to know how far apart they are
SAME = 0.01  # of the mean length: two points that are one image's, in float16
LINK_CHUNK = 50  # images at a time: a fit takes less than 50 MB


@dataclass(frozen=True, eq=False)
class LatentBank:
    """Posterior means of a pool's images, and graphs of which of these are alike.

    It holds no labels, and never anything of a test set.

    Args:
        latents: float16 `(N, *latent_shape)`, in latent (not whitened) units.
        neighbours: int16 `(N, k)`: for each, the k others that it resembles most, itself or slightly deformed, the
            nearest first; if the latent is spatial, by textures alone.
        textures: of the images. Banks of earlier versions have none.
        texture_neighbours: int16 `(N, k)`: a second graph, by textures, if the first is not.
        of_vae: `VAE.fingerprint` of the VAE that encoded them; None if that is not known.
    """

    latents: Tensor
    neighbours: Tensor
    textures: Textures | None = None
    texture_neighbours: Tensor | None = None
    of_vae: str | None = None

    @classmethod
    @torch.no_grad()
    def from_images(cls, vae: Codec, images: Any, size: int = LARGEST_BANK) -> Self:
        """A bank of at most `size` of these images, evenly spaced, without copies of one another, also re-encoded ones.

        10,000 images of 28x28 pixels take about 45 seconds of one core. Of a clip give some frames, not all: where things
        move, they are no copies, and still each other's nearest neighbours, which pass no label on.

        Args:
            images: a tensor `(N, C, H, W)`, uint8 or floats in [0, 1], or a map-style data set or list of images, or of samples
                that hold one, read before its own transform. Other sizes and channels are converted as by the transform.

        Raises:
            TypeError, ValueError: fewer than two images, a size that no bank has, or no images.
        """
        check_codec(vae)
        size = operator.index(size)
        chosen = _chosen(vae, images, size)
        latents = torch.cat([vae.encode(as_floats(part))[0] for part in chosen.split(CHUNK)])
        if len(vae.latent_shape) == 3:
            textures = Textures.learn(chosen)
            return cls(latents.half(), textures.neighbours().short(), textures, of_vae=vae.fingerprint())
        neighbours = neighbours_of_all(vae, chosen, normalize(latents.flatten(1))).short()
        textures = Textures.learn(chosen, BESIDE_LATENTS)
        by_textures = textures.neighbours(neighbours.shape[1]).short()
        return cls(latents.half(), neighbours, textures, by_textures, vae.fingerprint())

    @property
    def textures_alone(self) -> Textures | None:
        """What images are compared by if their latents, which are spatial, do not tell what they show; else None."""
        return self.textures if self.texture_neighbours is None else None

    @property
    def graphs(self) -> tuple[Tensor, ...]:
        """Neighbours by latents, and by textures where the bank knows them, or by textures alone: int16 `(N, k)` each."""
        return (self.neighbours,) if self.texture_neighbours is None else (self.neighbours, self.texture_neighbours)

    @torch.no_grad()
    def links(self, vae: Codec, images: Tensor) -> tuple[Tensor, ...]:
        """For images, float32 `(M, C, S, S)` in [0, 1], the latents that they resemble most: int64 `(M, k)` for each graph."""
        if self.textures is None:
            return (self._links_by_latents(vae, images),)
        by_textures = self.textures.nearest(self.textures.of(images), self.graphs[-1].shape[1])
        return (by_textures,) if len(self.graphs) == 1 else (self._links_by_latents(vae, images), by_textures)

    def _links_by_latents(self, vae: Codec, images: Tensor) -> Tensor:
        """They are compared with the pool's images as far as the bank holds them: decoded."""
        directions = normalize(self.latents.float().flatten(1))
        drawn = torch.empty(len(self), outlines(images[:1]).shape[1], dtype=torch.float16)
        for part, latents in zip(drawn.split(LINK_CHUNK), self.latents.split(LINK_CHUNK), strict=True):
            part.copy_(outlines(vae.decode(latents.float())))
        far = self.neighbours[::10, :REACH][:, -1].long()  # of a tenth, which is enough for a mean
        apart = [(1 - (of[::10].float() * of[far]).sum(1)).mean() for of in (directions, drawn)]
        scale = torch.stack(apart).clamp_min(1e-6)
        k = self.neighbours.shape[1]
        return torch.cat([most_alike(vae, part, directions, drawn, scale, k) for part in images.split(LINK_CHUNK)])

    @torch.no_grad()
    def familiarity(self, vae: Codec, images: Tensor) -> Tensor:
        """How much images are like the pool's: which part of these is farther from its nearest, float32 `(M,)`.

        Of images of the pool's kind about half are above 0.5. Copies of an image within the pool do not count.

        Args:
            images: float32 `(M, C, S, S)` in [0, 1].
        """
        if (textures := self.textures_alone) is not None:
            pool, own = textures.points.float(), textures.of(images)
        else:
            pool = normalize(self.latents.float().flatten(1))
            own = torch.cat([normalize(vae.encode(part)[0].flatten(1)) for part in images.split(LINK_CHUNK)])
        same = SAME * pool.norm(dim=1).mean()
        if textures is not None:  # neighbours are those by angle: here to the nearest point, of as many as tell
            apart = torch.cdist(pool[:: max(1, len(pool) // SOME)], pool)
            apart = apart.masked_fill_(apart <= same, torch.inf).amin(1)
        else:
            apart = (pool - pool[self.neighbours[:, 0].long()]).norm(dim=1)
            apart = apart[apart > same]
        nearest = torch.cat([torch.cdist(part, pool).amin(1) for part in own.split(LINK_CHUNK)])
        farther = 1 - torch.searchsorted(apart.sort().values, nearest) / max(1, len(apart))
        return torch.where(nearest > same, farther, 1)

    @torch.no_grad()
    def told_apart(self, images: Tensor) -> float:
        """How well the textures tell images from the pool's, from 0.5, not at all, to 1; 0.5 where not they alone count."""
        if (textures := self.textures_alone) is None:
            return 0.5
        return told_apart(normalize(textures.of(images)), normalize(textures.points.float()))

    def spread(self, links: Sequence[Tensor], labels: Tensor, classes: int, alpha: float | None = None) -> Tensor:
        """The labels of a few images, carried over the graphs -> scores of the bank's latents.

        The graphs err on different images: ten labels a class, spread over Fashion-MNIST's pool, are right for 81.2 % by
        latents and outlines, for 80.8 % by textures, and for 82.3 % by both.

        Args:
            links: of the labelled images; labels: int64 `(M,)`, from 0 to classes - 1.
            alpha: how far labels travel; None: the farther the fewer there are.

        Returns:
            float32 `(N, classes)`, rows that sum to 1, or are 0 where no label reaches.
        """
        if alpha is None:
            alpha = _alpha_for(labels, classes)
        return spread_labels(*self._joined(links, labels), classes, alpha)[: len(self)]

    def agreement(self, links: Sequence[Tensor], labels: Tensor, classes: int) -> float:
        """Part of these labels that the others give rightly, spread over the graphs and held out in turn; see `spread.agreement`.

        Args: as of `spread`.
        """
        return agreement(*self._joined(links, labels), classes, _alpha_for(labels, classes))

    def _joined(self, links: Sequence[Tensor], labels: Tensor) -> tuple[list[Tensor], Tensor]:
        """Graphs and labels of the bank's latents, whose labels are unknown, -1, and of the linked images."""
        joined = [torch.cat([graph.long(), linked]) for graph, linked in zip(self.graphs, links, strict=True)]
        return joined, torch.cat([labels.new_full((len(self),), -1), labels])

    def whitened(self, vae: Codec, places: Tensor | None = None) -> Tensor:
        """The latents, or those at some places, as jitters see them: float32 `(N, *latent_shape)`."""
        latents = self.latents if places is None else self.latents[places]
        return (latents.float() - vae.latent_mean) / vae.latent_std

    def __len__(self) -> int:
        return len(self.latents)

    def __repr__(self) -> str:
        return f"LatentBank({len(self)} latents of shape {tuple(self.latents.shape[1:])})"


def _alpha_for(labels: Tensor, classes: int) -> float:
    """0.99 up to 5 labels a class, 0.95 from 25 on."""
    return 1 - 0.01 * min(max(len(labels) / classes / 5, 1), 5)


def _chosen(vae: Codec, images: Any, size: int) -> Tensor:
    """At most `size` of the images, evenly spaced, as the VAE sees them: `(M, C, S, S)`, uint8 if they are."""
    if isinstance(images, Tensor) and images.ndim != 4:
        raise ValueError(f"images must be one tensor (N, C, H, W), or a data set of them, got {tuple(images.shape)}")
    reader = None if isinstance(images, Tensor) else untransformed_reader(images, on_copies=True)
    if not 2 <= size <= LARGEST_BANK or len(images) < 2:
        raise ValueError(f"a bank holds from 2 to {LARGEST_BANK} images, got size={size} and {len(images)} images")
    c, count = vae, min(size, len(images))
    places = torch.arange(count) * len(images) // count
    if reader is None:
        chosen: Tensor = images[places].cpu()
        if chosen.dtype == torch.uint8 and chosen.shape[1:] == (c.channels, c.size, c.size):
            return chosen[distinct(chosen)]
        parts = [to_model(part, c.channels, c.size)[0] for part in chosen.split(CHUNK)]
    else:
        parts, turned = [], 0
        for i in places.tolist():
            image, _ = extract_image(reader.read(i)[0])
            turned += has_exif_rotation(image)
            parts.append(to_model(image, c.channels, c.size)[0])
        warn_exif_rotation(turned, "pool's images")
    if len(seen := torch.cat(parts)) != count:
        raise ValueError(f"{count} samples hold {len(seen)} images: expected one in each")
    seen.clamp_(0, 1)
    return seen[distinct(seen)]
