"""LatentBank: a pool of unlabelled images, kept as latents beside the weights, with the views by which they are compared."""

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ..encoders import Encoder, Features, check_array, read_features
from ..images import ImageKey, checked_key
from ..numerics import float32_on_cpu
from ..progress import bars
from ..vae import Codec
from . import table
from .embedding import embedded_pool
from .encoder_features import PRECOMPUTED, EncoderFeatures, embed_pool, encoder_of
from .nearest import USUAL_SEARCH, Search
from .policy import FitPolicy, weighing_views
from .query import Query
from .reading import USUAL_BANK, Pool
from .text_seeds import ClassTexts, TextClasses
from .views import FeatureView, View

log = logging.getLogger("vae_augment")


@dataclass(frozen=True, eq=False)
class LatentBank:
    """Posterior means of a pool's images, and the views by which images are compared with these.

    It holds no labels, and never anything of a test set.

    Args:
        latents: float16 `(N, *latent_shape)`, in latent (not whitened) units.
        views: ways of comparing images, one at least. All vote when labels spread; by the first it is told whether images are
            of the pool's kind.
        policy: thresholds of a fit over this bank.
        of_vae: `VAE.fingerprint` of the VAE that encoded them; None if that is not known.
        index: int32 `(N,)`, ascending: the images' places among those that `from_images` was given; None if that is not known,
            as of banks of earlier versions.
        sources: paths of the files that the images lie in, if they came from a data set that lists such, as `ImageFolder`; None
            if not, and of a bank that was loaded: paths are not stored.

    Raises:
        ValueError: no view, two of one name, or a view or an index that is not of these latents.
    """

    latents: Tensor
    views: tuple[View, ...]
    policy: FitPolicy
    of_vae: str | None = None
    index: Tensor | None = None
    sources: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        names = [view.name for view in self.views]
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"a bank needs views, each of another name, got {names}: LatentBank.from_images makes some"
            )
        for view in self.views:
            if view.neighbours.ndim != 2 or len(view.neighbours) != len(self):
                raise ValueError(
                    f"the view {view.name!r} has neighbours {tuple(view.neighbours.shape)} for {len(self)} latents: "
                    "make it of the bank's own images"
                )
        for name, listed in (("index", self.index), ("sources", self.sources)):
            if listed is not None and len(listed) != len(self):
                raise ValueError(
                    f"the bank has {len(listed)} {name} for {len(self)} latents: give one for each, or none"
                )

    @classmethod
    def from_images(
        cls,
        vae: Codec,
        images: Any,
        size: int = USUAL_BANK,
        *,
        features: Features | None = None,
        progress: bool | None = None,
        cache: str | os.PathLike[str] | None = None,
        image_key: ImageKey = None,
        search: Search = USUAL_SEARCH,
    ) -> Self:
        """Make a bank of at most `size` of these images, spread over all of them, without near-duplicates.

        It knows which these are, `index`, and their files, `sources`. Up to 32,768 images are compared all with all. More are
        compared by an index of the library faiss, `pip install 'vae-augment[scale]'`, on as many threads as torch may have; how
        many of the true neighbours it finds is measured, and told to the logger `vae_augment`. See docs/scale.md.

        Of a clip give some frames, not all: where things move, they are no copies, and still each
        other's nearest neighbours, which pass on no label.

        Args:
            images: a tensor `(N, C, H, W)`, uint8 or floats in [0, 1], or a map-style data set or list of images, or of samples
                that hold one, read before its own transform. Other sizes and channels are converted as by the transform.
            size: 2 at least.
            features: also compare the images by what a pretrained network sees in them: a `vae_augment.encoders.Encoder`, a name
                ("efficientnet-lite0", "timm:NAME", "torchvision:NAME", "open_clip:NAME/TAG"), any function from batches
                `(B, 3, 224, 224)`, normalised as for ImageNet, to `(B, D)`, or an array `(N, D)`, a row for each of `images`.
            progress: bars on stderr, see `vae_augment.progress`. None: on a terminal, of what takes more than two seconds.
            cache: a file that keeps its features, so that the same images are not seen twice.
            image_key: where a sample's image is, if not where `VAEAugment` finds it: a key or a position.
            search: from how many images on an index is used, and how well it must find neighbours.

        Raises:
            TypeError, ValueError: fewer than two images, a size that no bank has, or no images; what computes no features; more
                images than are compared without faiss.

        Example:
            >>> import torch
            >>> from vae_augment import VAE, LatentBank, VAEConfig
            >>> len(LatentBank.from_images(VAE(VAEConfig()), torch.rand(20, 1, 28, 28)))
            20
        """
        checked_key(image_key)  # which a tensor has no use for
        source = None if features is None else read_features(features)
        if isinstance(source, Tensor) and len(source) != len(images):
            raise ValueError(
                f"there are {len(images)} images and {len(source)} rows of features: give a row for each image"
            )
        probe = source.probe() if isinstance(source, Encoder) else None  # at once, since it may fail
        with bars(progress):
            with float32_on_cpu():
                pool = Pool.read(vae, images, size, image_key, search)
                bank = cls.of_pool(pool)
            if isinstance(source, Tensor):
                bank = bank.with_features(source[pool.index.long()], search=search)
            elif source is not None and probe is not None:
                # on as many threads as the user has set
                embedded = embed_pool(source, probe, images, pool, cache, image_key)
                bank = bank._with_view(embedded, source, probe, search)
        names = ", ".join(view.name for view in bank.views)
        log.info("bank of %d latents, of %d images given, compared by %s", len(bank), len(images), names)
        return bank

    @classmethod
    def from_embedded(
        cls,
        vae: Codec,
        parts: Iterable[Mapping[str, Any]],
        *,
        encoder: Encoder | None = None,
        progress: bool | None = None,
        search: Search = USUAL_SEARCH,
    ) -> Self:
        """Make a bank of images that were embedded elsewhere, a part at a time: `vae_augment.pool.EmbedBatch`, `embed_images`.

        Its `index` counts the images of all parts.

        Args:
            parts: what those returned.
            encoder: that computed "features", if there are such; None: it is not known, and a fit is given features.
            progress, search: as of `from_images`.

        Raises:
            ValueError: they are of another VAE; or as of `from_images`.

        Example:
            >>> import torch
            >>> from vae_augment import VAE, LatentBank, VAEConfig
            >>> from vae_augment.pool import embed_images
            >>> vae = VAE(VAEConfig())
            >>> parts = (embed_images(vae, list(torch.rand(10, 1, 28, 28))) for _ in range(2))
            >>> len(LatentBank.from_embedded(vae, parts))
            20
        """
        images, latents, features = embedded_pool(vae, parts)
        probe = None if encoder is None or features is None else encoder.probe()
        with bars(progress), float32_on_cpu():
            pool = Pool.of_embedded(vae, images, latents, search)
            bank = cls.of_pool(pool)
            if features is not None:
                bank = bank._with_view(features[pool.index.long()], encoder, probe, search)
        return bank

    @classmethod
    def of_pool(cls, pool: Pool) -> Self:
        """Make a bank of images that were read and encoded."""
        views = []
        for kind in table.VIEWS:
            if (build := kind.builder(pool.vae)) is not None:
                views.append(view := build(kind, pool))
                if view.recall < 1:  # an index found them
                    log.info("%s: %.3f of the ten nearest are among the neighbours", kind.name, view.recall)
        return cls(pool.latents, tuple(views), table.policy_of(views), pool.vae.fingerprint(), pool.index, pool.sources)

    def with_features(
        self, features: Tensor | np.ndarray, encoder: Encoder | None = None, search: Search = USUAL_SEARCH
    ) -> Self:
        """The same bank, whose images are compared by these features, too.

        Args:
            features: `(N, D)`, a row for each of the bank's own images, in its order.
            encoder: what computed them; None: that is not known, and a fit is given features, too.
            search: as of `from_images`.

        Raises:
            ValueError: there are more or fewer rows than images, or features of an encoder before these.
        """
        features = check_array(torch.as_tensor(features))
        if len(features) != len(self) or self.encoder is not None:
            raise ValueError(
                f"a bank takes the features of one encoder, a row for each of its images: it has {len(self)} and those of "
                f"{self.encoder or 'none'}, got {len(features)} rows"
            )
        return self._with_view(features, encoder, None if encoder is None else encoder.probe(), search)

    @float32_on_cpu()
    def _with_view(
        self, features: Tensor, encoder: Encoder | None, probe: Tensor | None, search: Search = USUAL_SEARCH
    ) -> Self:
        extractor = EncoderFeatures.learn(PRECOMPUTED if encoder is None else encoder.name, features, probe, encoder)
        views = (*self.views, table.encoder_view(extractor, features, search))
        return replace(self, views=views, policy=weighing_views(self.policy))

    @property
    def encoder_features(self) -> EncoderFeatures | None:
        """What it knows of the encoder that one of its views is of; None without such a view."""
        return next((found for view in self.views if (found := encoder_of(view)) is not None), None)

    @property
    def encoder(self) -> str | None:
        """The name of that encoder, "precomputed features" if features were given in its place; None without such a view."""
        return None if self.encoder_features is None else self.encoder_features.name

    def with_encoder(self, encoder: Features) -> Self:
        """The same bank with the encoder of its features, which files do not hold.

        Raises:
            ValueError: it has no such view, or features of another encoder.
        """
        found, own = read_features(encoder), self.encoder_features
        if own is None:
            raise ValueError(
                "this bank has no features of an encoder: make one, LatentBank.from_images(vae, images, features=encoder)"
            )
        if not isinstance(found, Encoder):
            raise ValueError(
                "with_encoder takes an encoder, got precomputed features: give these to fit(..., features=array)"
            )
        extractor = own.with_encoder(found)
        views = (
            replace(v, extractor=extractor) if isinstance(v, FeatureView) and v.extractor is own else v
            for v in self.views
        )
        return replace(self, views=tuple(views))

    def check_is_of(self, vae: Codec) -> None:
        """Raises ValueError if the latents are of another autoencoder, or of this one before it learned more."""
        remedy = "it is of another, or of this one before it learned more; LatentBank.from_images(vae, images) makes one of this"
        if self.latents.shape[1:] != tuple(vae.latent_shape):
            raise ValueError(
                f"bank holds latents of shape {tuple(self.latents.shape[1:])}, and this VAE's are {vae.latent_shape}: {remedy}"
            )
        if self.of_vae is not None and self.of_vae != vae.fingerprint():
            raise ValueError(f"bank holds latents of other weights than this VAE's: {remedy}")

    def text_classes(self, classes: ClassTexts, encoder: Encoder | None = None) -> TextClasses:
        """Classes that texts describe, to be compared with the pool as labelled images are; see `pool.text_seeds`.

        Args:
            classes: a text, or several, for each class.
            encoder: of the bank, if it has it not.

        Raises:
            TypeError, ValueError: they are no texts; there is no view of an encoder, or this one knows no text.
        """
        own = self.encoder_features
        if own is None:
            raise ValueError(
                "texts are compared with images by an encoder that knows both, and this bank has none: "
                "LatentBank.from_images(vae, images, features=load_encoder('open_clip:NAME/TAG'))"
            )
        if encoder is None and not own.is_here:
            raise ValueError(
                f"texts are read by the encoder of the bank's features ({own.name}), which is not stored in it: give it back, "
                "fit(classes=..., features=encoder) or bank.with_encoder(encoder)"
            )
        here = own.here() if encoder is None else own.with_encoder(encoder).encoder
        assert here is not None
        pool = next(view.features for view in self.views if encoder_of(view) is own)
        return TextClasses.read(classes, here, own, pool)

    def query(self, vae: Codec, images: Tensor, features: Tensor | None = None) -> Query:
        """Compare images with the pool: what a fit asks of it is answered by the query, and computed once.

        Args:
            vae: the bank's.
            images: float32 `(M, C, S, S)` in [0, 1].
            features: of the images at their own size in the view of an encoder, see `LabelledFeatures`; None: they are computed
                of `images`.
        """
        given = {} if features is None or self.encoder is None else {self.encoder: features}
        return Query(vae, images, self.views, self.policy, given)

    def missing_views(self, vae: Codec) -> list[str]:
        """Names of the views that `from_images` would give it, and it has not, as it is of an earlier version."""
        names = {view.name for view in self.views}
        return [kind.name for kind in table.VIEWS if kind.builder(vae) is not None and kind.name not in names]

    def whitened(self, vae: Codec, places: Tensor | None = None) -> Tensor:
        """The latents, or those at some places, as jitters see them: float32 `(N, *latent_shape)`."""
        latents = self.latents if places is None else self.latents[places]
        return (latents.float() - vae.latent_mean) / vae.latent_std

    def __len__(self) -> int:
        return len(self.latents)

    def __repr__(self) -> str:
        return f"LatentBank({len(self)} latents of shape {tuple(self.latents.shape[1:])})"
