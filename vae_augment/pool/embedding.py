"""What a bank keeps of images, computed a batch at a time by any engine: worker processes, datasets, Ray Data."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..encoders import Embedding, Encoder
from ..images import as_floats, to_model
from ..numerics import float32_on_cpu
from ..vae import Codec
from .reading import CHUNK, as_bytes

PIXELS, LATENTS, FEATURES = "pixels", "latents", "features"


@float32_on_cpu()
def embed_images(vae: Codec, images: Sequence[Any], encoder: Encoder | None = None) -> dict[str, Tensor]:
    """Images -> what `LatentBank.from_embedded` makes a bank of. It depends on these images alone, and draws nothing.

    Args:
        images: of any kind and size, as the transform reads them.
        encoder: also compute its features, of the images at their own size.

    Returns:
        "pixels": uint8 `(N, C S S)`, as the VAE sees them; "latents": float16 `(N, L)`; "features": float16 `(N, D)`, with an
        encoder.

    Example:
        >>> from vae_augment import VAE, VAEConfig
        >>> found = embed_images(VAE(VAEConfig(latent_dim=8)), list(torch.rand(5, 1, 28, 28)))
        >>> found["pixels"].shape, found["latents"].shape
        (torch.Size([5, 784]), torch.Size([5, 8]))
    """
    seen = torch.cat([as_bytes(to_model(image, vae.channels, vae.size)[0]) for image in images])
    if len(seen) != len(images):
        raise ValueError(f"{len(images)} samples hold {len(seen)} images: expected one in each")
    latents = torch.cat([vae.encode(as_floats(part))[0].half() for part in seen.split(CHUNK)])
    found = {PIXELS: seen.flatten(1), LATENTS: latents.flatten(1)}
    if encoder is not None:
        embedding = Embedding(encoder)
        for image in images:
            embedding.add(image)
        found[FEATURES] = embedding.features().half()
    return found


@dataclass(frozen=True)
class EmbedBatch:
    """`embed_images` of a column of images, for `datasets.Dataset.map(batched=True)` and Ray Data's `map_batches`.

    Args:
        vae: that the bank is of. It is sent to worker processes.
        column: of the images: PIL images, arrays `(H, W)`, `(H, W, C)` uint8.

    Example:
        >>> from vae_augment import VAE, VAEConfig
        >>> batch = {"image": np.zeros((4, 28, 28), np.uint8)}
        >>> found = EmbedBatch(VAE(VAEConfig(latent_dim=8)))(batch)
        >>> found["pixels"].shape, found["latents"].dtype
        ((4, 784), dtype('float16'))
    """

    vae: Codec
    column: str = "image"

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
        found = embed_images(self.vae, [_as_image(image) for image in batch[self.column]])
        return {name: tensor.numpy() for name, tensor in found.items()}


def _as_image(image: Any) -> Any:
    """An array `(H, W)` or `(H, W, C)` as a tensor `(C, H, W)`; anything else as it is."""
    if not isinstance(image, np.ndarray):
        return image
    tensor = torch.from_numpy(np.ascontiguousarray(image))
    return tensor[None] if tensor.ndim == 2 else tensor.permute(2, 0, 1)


def embedded_pool(vae: Codec, parts: Iterable[Mapping[str, Any]]) -> tuple[Tensor, Tensor, Tensor | None]:
    """What `embed_images` returned for all parts of a pool -> images `(N, C, S, S)`, latents `(N, *latent_shape)`, features.

    Raises:
        ValueError: they are not of this VAE, or there are none.
    """
    columns: dict[str, list[Tensor]] = {}
    for part in parts:
        for name in (PIXELS, LATENTS, FEATURES):
            if name in part:
                columns.setdefault(name, []).append(torch.as_tensor(np.asarray(part[name])))
    if not {PIXELS, LATENTS} <= columns.keys():
        raise ValueError(
            "there are no embedded images: give what embed_images or EmbedBatch returned, a part for each batch"
        )
    shapes = {PIXELS: (vae.channels, vae.size, vae.size), LATENTS: tuple(vae.latent_shape)}
    dtypes = {PIXELS: torch.uint8, LATENTS: torch.float16, FEATURES: torch.float16}
    tables = {}
    for name in list(columns):
        tables[name] = torch.cat(
            [part.to(dtypes[name]) for part in columns.pop(name)]
        )  # one at a time: a pool may be large
    if len({len(table) for table in tables.values()}) != 1:
        raise ValueError(f"parts have different columns: {', '.join(f'{k} {len(v)}' for k, v in tables.items())} rows")
    try:
        images, latents = (tables[name].view(-1, *shape) for name, shape in shapes.items())
        if len(images) != len(latents):
            raise RuntimeError
    except RuntimeError:
        raise ValueError(
            f"these were embedded by another VAE than this: it has {shapes[PIXELS]} pixels and latents of {shapes[LATENTS]}"
        ) from None
    return images, latents, tables.get(FEATURES)
