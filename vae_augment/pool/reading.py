"""Pool: images in any form, read as a VAE sees them, without near-duplicates, and encoded."""

import operator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from ..images import (
    ImageKey,
    as_floats,
    has_exif_rotation,
    source_of,
    spread_places,
    to_model,
    untransformed_reader,
    warn_clipped,
    warn_exif_rotation,
)
from ..numerics import evaluating, in_one, in_threads
from ..progress import progress
from ..vae import Codec, check_codec
from .near_duplicates import drop_near_duplicates
from .nearest import USUAL_SEARCH, Search, import_faiss

USUAL_BANK = 10_000  # images
CHUNK = 500  # images at a time


@dataclass(frozen=True, eq=False)
class Pool:
    """The images that a bank is made of.

    Args:
        vae: that encoded them.
        images: `(N, C, S, S)`, uint8 or floats in [0, 1].
        means: float32 `(N, *latent_shape)`: of their posteriors, in latent (not whitened) units.
        latents: the same in float16, as a bank keeps them.
        index: int32 `(N,)`: their places among the images that were given.
        sources: the files that they lie in, if the data set lists such.
        how: neighbours among them are sought.
    """

    vae: Codec
    images: Tensor
    means: Tensor
    latents: Tensor
    index: Tensor
    sources: tuple[str, ...] | None = None
    how: Search = USUAL_SEARCH

    @classmethod
    @torch.no_grad()
    def read(cls, vae: Codec, images: Any, size: int, image_key: ImageKey = None, how: Search = USUAL_SEARCH) -> Self:
        """Read at most `size` images, spread over all, and encode those that are no near-duplicates.

        Of a large pool means are float16, too, and images are bytes: there is no second copy.

        Args and errors: as of `LatentBank.from_images`.
        """
        check_codec(vae)
        chosen, index = _read(vae, images, _as_size(size), image_key, how)
        others = drop_near_duplicates(chosen, how)
        if len(others) < len(chosen):
            chosen, index = chosen[others], index[others]
        with evaluating(vae):
            if len(chosen) <= how.exact:
                parts = progress(chosen.split(CHUNK), "encode images")
                means = torch.cat([vae.encode(as_floats(part))[0] for part in parts])
            else:
                means = encoded(vae, chosen)
        return cls(vae, chosen, means, means.half(), index.int(), _sources(images, index), how)

    @classmethod
    @torch.no_grad()
    def of_embedded(cls, vae: Codec, images: Tensor, latents: Tensor, how: Search = USUAL_SEARCH) -> Self:
        """Of images that were read and encoded before, uint8 and float16, those that are no near-duplicates.

        Raises:
            ValueError: fewer than two images, or faiss is not installed, and they are many.
        """
        check_codec(vae)
        if len(images) < 2:
            raise ValueError(f"a bank holds 2 images at least, got {len(images)}")
        if len(images) > how.exact:
            import_faiss()
        others = drop_near_duplicates(images, how)
        if len(others) < len(images):
            images, latents = images[others], latents[others]
        means = latents if len(images) > how.exact else latents.float()
        return cls(vae, images, means, latents, others.int(), None, how)


def encoded(vae: Codec, images: Tensor) -> Tensor:
    """Posterior means of many images `(N, C, S, S)`, float16 `(N, *latent_shape)`, on as many threads as there are."""
    parts = images.split(CHUNK)
    means = in_threads(lambda part: vae.encode(as_floats(part))[0].half(), parts)
    return in_one(progress(means, "encode images", len(parts)), len(images))


def _as_size(size: Any) -> int:
    """Raises TypeError for what is no integer."""
    try:
        return operator.index(size)
    except TypeError:
        raise TypeError(f"size of a bank must be an integer of at least 2, got {size!r}") from None


def _sources(images: Any, index: Tensor) -> tuple[str, ...] | None:
    """The files of these samples; None if one lies in no file, or its data set does not say in which."""
    if isinstance(images, Tensor):
        return None
    reader = untransformed_reader(images, on_copies=True)
    found: list[str] = []
    for i in index.tolist():
        if (source := source_of(reader, i)) is None:
            return None
        found.append(source)
    return tuple(found)


def _read(vae: Codec, images: Any, size: int, image_key: ImageKey, how: Search) -> tuple[Tensor, Tensor]:
    """At most `size` of the images, spread over all, as the VAE sees them `(M, C, S, S)`, uint8 if they are; their places."""
    if isinstance(images, Tensor) and images.ndim != 4:
        raise ValueError(f"images must be one tensor (N, C, H, W), or a data set of them, got {tuple(images.shape)}")
    is_tensor = isinstance(images, Tensor)
    reader = None if is_tensor else untransformed_reader(images, on_copies=True, image_key=image_key)
    if size < 2 or len(images) < 2:
        raise ValueError(f"a bank holds 2 images at least, got size={size} and {len(images)} images")
    if (count := min(size, len(images))) > how.exact:
        import_faiss()  # told before hours are spent
    places = spread_places(len(images), count)
    is_large = count > how.exact
    kept = as_bytes if is_large else as_they_are
    if reader is None:
        chosen: Tensor = (images if count == len(images) else images[places]).cpu()
        if chosen.dtype == torch.uint8 and chosen.shape[1:] == (vae.channels, vae.size, vae.size):
            return chosen, places
        parts = [kept(to_model(part, vae.channels, vae.size)[0]) for part in chosen.split(CHUNK)]
    else:
        parts, turned = [], 0
        for i in progress(places.tolist(), "read images", unit=" images"):
            image = reader.image(i)
            turned += has_exif_rotation(image)
            parts.append(kept(to_model(image, vae.channels, vae.size)[0]))
        warn_exif_rotation(turned, "pool's images")
        warn_clipped(reader, len(images))
    if len(seen := torch.cat(parts)) != count:
        raise ValueError(f"{count} samples hold {len(seen)} images: expected one in each")
    return (seen if is_large else seen.clamp_(0, 1)), places


def as_bytes(x: Tensor) -> Tensor:
    """Floats in [0, 1], or a little beyond, -> uint8, as a large pool is held."""
    return x.mul(255).round_().clamp_(0, 255).byte()


def as_they_are(x: Tensor) -> Tensor:
    """The same: a small pool is held as its VAE sees it."""
    return x
