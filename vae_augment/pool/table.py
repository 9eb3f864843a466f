"""The table of views: which views a bank is built with, and how they are stored.

A new view is a row here, and a file with its extractor: `embed`, and to be stored `shapes`, `tensors` and `from_tensors`, see
`StoredExtractor`. No two rows name a tensor alike: a bank's file holds those of all its views.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, Self

import torch
from torch import Tensor

from ..vae import Codec
from .encoder_features import EncoderFeatures, encoder_of
from .latent_hog import LatentHogView, latent_hog_neighbours
from .nearest import PART, USUAL_SEARCH, Search, as_places
from .patch_features import PatchFeatures
from .policy import CLUSTERED, PHOTOGRAPHS, FitPolicy, weighing_views
from .reading import Pool
from .views import Extractor, FeatureView, View

Shapes = Mapping[str, tuple[int | None, ...]]  # of tensors, by name; None: any length


@dataclass(frozen=True)
class ViewKind:
    """A row of the table: a kind of view.

    Args:
        name, weight: of its views.
        policy: of a bank whose first view is of this kind.
        of_vectors: builds the view of a pool whose latents are vectors; None: banks of such latents have none.
        of_maps: builds that of a pool whose latents are spatial, or None.
        tensors: what is stored of it beside its neighbours.
        graph: the tensor of its neighbours in a bank that has another view before it; those of the first are "neighbours".
    """

    name: str
    weight: float
    policy: FitPolicy
    of_vectors: "Build | None"
    of_maps: "Build | None"
    tensors: "ViewTensors"
    graph: str

    def builder(self, vae: Codec) -> "Build | None":
        """What builds this view for such latents as the VAE's."""
        return self.of_maps if len(vae.latent_shape) == 3 else self.of_vectors


Build = Callable[[ViewKind, Pool], View]


class ViewTensors(Protocol):
    """A view as tensors, without its neighbours."""

    def shapes(self, channels: int) -> Shapes:
        """Names and shapes of the tensors, where images have so many channels."""

    def write(self, view: View) -> dict[str, Tensor]:
        """A view -> its tensors.

        Raises:
            TypeError: the view is of another kind.
        """

    def read(self, kind: ViewKind, tensors: Mapping[str, Tensor], latents: Tensor, neighbours: Tensor) -> View:
        """Tensors of these shapes, the bank's latents and the view's neighbours -> the view.

        Raises:
            ValueError: the tensors do not fit one another.
        """


class NoTensors:
    """The view by latents and HOG: the bank's latents and its neighbours are all of it."""

    def shapes(self, channels: int) -> Shapes:
        """None at all."""
        return {}

    def write(self, view: View) -> dict[str, Tensor]:
        """None at all, of a `LatentHogView`."""
        if not isinstance(view, LatentHogView):
            raise TypeError("expected a LatentHogView")
        return {}

    def read(self, kind: ViewKind, tensors: Mapping[str, Tensor], latents: Tensor, neighbours: Tensor) -> View:
        """The view of these latents and neighbours."""
        return LatentHogView(kind.name, kind.weight, latents, neighbours)


class StoredExtractor(Extractor, Protocol):
    """An extractor that is kept as tensors."""

    @property
    def dimensions(self) -> int:
        """D, of its features."""

    @staticmethod
    def shapes(channels: int) -> Shapes:
        """Names and shapes of its tensors, where images have so many channels. No other row of the table has these names."""

    def tensors(self) -> dict[str, Tensor]:
        """Itself as tensors."""

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The extractor that these tensors are."""


@dataclass(frozen=True)
class FeatureTensors:
    """A `FeatureView`: its extractor's tensors, and the pool's features under a name of their own."""

    extractor: type[StoredExtractor]
    features: str

    def shapes(self, channels: int) -> Shapes:
        """Those of the extractor's tensors and of the features."""
        return {**self.extractor.shapes(channels), self.features: (None, None)}

    def write(self, view: View) -> dict[str, Tensor]:
        """The extractor's tensors and the features."""
        if not isinstance(view, FeatureView) or not isinstance(view.extractor, self.extractor):
            raise TypeError(f"expected a FeatureView of {self.extractor.__name__}")
        return {**view.extractor.tensors(), self.features: view.features}

    def read(self, kind: ViewKind, tensors: Mapping[str, Tensor], latents: Tensor, neighbours: Tensor) -> View:
        """The view, if there are features of each latent, as wide as the extractor's."""
        features = tensors[self.features]
        own = {name: tensor for name, tensor in tensors.items() if name != self.features}
        extractor = self.extractor.from_tensors(own)
        if features.shape != (expected := (len(latents), extractor.dimensions)):
            raise ValueError(
                f"{self.features} must be {expected}, as latents and {', '.join(own)} are, got {tuple(features.shape)}"
            )
        return FeatureView(kind.name, kind.weight, extractor, features, neighbours)


@dataclass(frozen=True)
class EncoderTensors(FeatureTensors):
    """The `FeatureView` of an encoder, which has the encoder's name."""

    def read(self, kind: ViewKind, tensors: Mapping[str, Tensor], latents: Tensor, neighbours: Tensor) -> View:
        """The view, without the encoder."""
        view = super().read(kind, tensors, latents, neighbours)
        assert isinstance(view, FeatureView)
        return replace(view, extractor=replace(view.extractor, name=kind.name))  # type: ignore[type-var]


def _latent_hog(kind: ViewKind, pool: Pool) -> View:
    near, recall = latent_hog_neighbours(pool.vae, pool.images, pool.means, pool.how)
    return LatentHogView(kind.name, kind.weight, pool.latents, as_places(near, len(near)), recall)


def _patch_features(kind: ViewKind, pool: Pool, dimensions: int, k: int) -> View:
    extractor, features = PatchFeatures.learn(pool.images, dimensions, pool.how)
    return FeatureView.of_pool(kind.name, kind.weight, extractor, features, k, pool.how)


# In the order in which banks have them. Patch features beside latents need half the dimensions and as many neighbours as these.
VIEWS = (
    ViewKind(
        name="latents and HOG",
        weight=2.0,
        policy=CLUSTERED,
        of_vectors=_latent_hog,
        of_maps=None,
        tensors=NoTensors(),
        graph="neighbours",
    ),
    ViewKind(
        name="patch features",
        weight=1.0,
        policy=PHOTOGRAPHS,
        of_vectors=partial(_patch_features, dimensions=64, k=13),
        of_maps=partial(_patch_features, dimensions=128, k=20),
        tensors=FeatureTensors(PatchFeatures, "points"),
        graph="texture_neighbours",  # the name of earlier versions
    ),
    ViewKind(
        name="encoder",  # that of its views is the encoder's
        weight=1.0,
        policy=PHOTOGRAPHS,
        of_vectors=None,  # it is made where images are given with features
        of_maps=None,
        tensors=EncoderTensors(EncoderFeatures, "encoder_features"),
        graph="encoder_neighbours",
    ),
)
ENCODER = VIEWS[-1]
ENCODER_NEIGHBOURS = 20


def kind_of(view: View) -> ViewKind | None:
    """The row that a view is of; None if there is none."""
    if encoder_of(view) is not None:
        return ENCODER
    return next((kind for kind in VIEWS if kind.name == view.name and kind is not ENCODER), None)


def encoder_view(extractor: EncoderFeatures, embedded: Tensor, how: Search = USUAL_SEARCH) -> View:
    """The view of a pool whose images have these features of an encoder, float16 or float32 `(N, D)`."""
    features = torch.cat([extractor.projected(part.float()).half() for part in embedded.split(PART)])
    return FeatureView.of_pool(extractor.name, ENCODER.weight, extractor, features, ENCODER_NEIGHBOURS, how)


def policy_of(views: Sequence[View]) -> FitPolicy:
    """Of a bank with these views: that of the first, or, if an encoder's is among them, the one of such banks."""
    first = kind_of(views[0])
    assert first is not None
    return weighing_views(first.policy) if any(map(encoder_of, views)) else first.policy
