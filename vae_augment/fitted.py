"""Fitted: the half of `VAEAugment` that makes new images: of classes, from a few labelled images and a pool, or of none."""

import logging
import operator
import os
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from . import hub
from .encoders import Encoder, Features
from .engine import Engine, How
from .fit import Fit
from .fit_report import FitReport
from .images import ImageKey, LabelAt, Labels, checked_key, pair_up, plain_key
from .latent_move import LatentMove
from .numerics import CPU, float32_on_cpu
from .pool import ClassTexts, LatentBank
from .pool_labels import PoolLabels
from .prior import Exemplars, Prior
from .progress import bars
from .report import ImageSet, Report, Sets, common_look, make_report, read_samples
from .seeding import global_seed, thread_generator
from .vae import Codec

log = logging.getLogger("vae_augment")


class Fitted:
    """`fit` and what it makes possible, and `generate`, for a transform that has an engine and options.

    Args:
        strength, residual, image_key, novelty: of the transform.
    """

    strength: float
    _strength: float | None  # None: the default
    residual: bool
    image_key: ImageKey
    novelty: float
    _engine: Engine
    _fit: Fit | None
    _labels_at: LabelAt
    _is_default_jitter: bool
    _prior: tuple[hub.Weights, Prior] | None = None

    @property
    def vae(self) -> Codec:
        """The frozen model, on the CPU."""
        return self._engine.net.codec

    @property
    def bank(self) -> LatentBank | None:
        """Latents of the pretraining pool, if the weights came with them."""
        return self._weights().bank

    def _weights(self) -> hub.Weights:
        raise NotImplementedError

    @property
    def _how(self) -> How:
        raise NotImplementedError

    @property
    def can_fit(self) -> bool:
        """Whether `fit` would replace nothing that was chosen: there is a bank, and how images move is the default."""
        is_default = self._is_default_jitter and self._strength in (None, 1) and self.residual
        return self.bank is not None and is_default and self._fit is None

    @property
    def classes(self) -> tuple[Any, ...] | None:
        """Labels of the classes that `fit` has seen, sorted; None before it."""
        return None if self._fit is None else self._fit.labels

    @property
    def fit_report(self) -> FitReport | None:
        """What `fit` found out: how right labels are, by which view, and what was kept of the pool. `print` shows it.

        None before a fit, without a bank, and after `load_fit`.
        """
        return None if self._fit is None else self._fit.report

    @float32_on_cpu()
    def fit(
        self,
        labelled: Any = None,
        labels: Labels = None,
        *,
        image_key: ImageKey = None,
        keep: float | None = None,
        features: Features | None = None,
        classes: ClassTexts | None = None,
        progress: bool | None = None,
    ) -> Self:
        """Learn classes from a few labelled images, or from texts, so that new images of a class can be made.

        The labels are spread over the kNN graphs of the bank (label spreading, Zhou et al., NeurIPS 2004; over photographs,
        ridge regression on patch features votes too, Coates et al., AISTATS 2011), and the most confident part of each
        class is kept. From then on an image is replaced by a decoded latent of its class, at strength 1 wholly: mix such
        images with real ones (p=0.5, or `SyntheticDataset`), and put a classical policy after them.

        An image's class is the label beside it: `augment(image, label)`, `augment(images, labels)`, or "label" or "labels"
        in a dict. An image alone, as in a v1 pipeline, gets the class of the nearest labelled image. That is right for
        the labelled images themselves, before any policy, and often wrong for others.

        Two warnings tell when there is no bank to use: it holds no images like these, or the labels do not spread over it
        (judged by cross-validation). Then, as without a bank, a labelled image's latent is moved a little along a
        difference between two labelled images of one class (`ClassDifferences`), which rarely helps a classifier.

        Texts take the place of labelled images, or stand beside them, where the bank compares images by an encoder that knows
        text, as CLIP: the few images of the pool that each text names most surely count as labelled (see `pool.text_seeds`).
        An image alone then gets the class of the nearest of these.

        Args:
            labelled: map-style data set or list of samples `(image, label, ...)`, read before their own transforms;
                labels are integers or strings. With `labels`, one for each image, a tensor, array or list of images. None: there
                are texts alone.
            labels: labels beside images, as in scikit-learn's `fit(X, y)`; or where a sample has its label, if not there or
                under "label" or "labels": a key, a field or position, or a function of the sample. Later calls look there, too.
            image_key: where a sample's image is, a key or a position; the transform keeps it. None: the one it has.
            keep: part of each class that is kept, in (0, 1]. None: the bank's own, see `vae_augment.pool.FitPolicy`.
            features: of the labelled images, an array `(N, D)`, or their encoder, if the bank compares images by such and has
                it not; see `LatentBank.from_images`.
            classes: for each label a text, or several, that say what its images show, `{"ant": "a photo of an ant", ...}`; or
                a list of names, which are the labels. Name the classes that are in the pool, and no others.
            progress: bars on stderr, see `vae_augment.progress`. None: on a terminal, of what takes more than two seconds.

        Returns:
            The transform itself.

        Raises:
            ValueError: there are fewer than two classes; or texts, and no encoder that knows such.

        Example:
            >>> from vae_augment import VAEAugment
            >>> from vae_augment.demo_data import fashion_sample
            >>> images, labels = fashion_sample()
            >>> augment = VAEAugment.from_pretrained("fashion-mnist").fit(list(zip(images[:100], labels[:100])))
            >>> augment.sample([9, 9, 0]).shape
            torch.Size([3, 1, 28, 28])
        """
        image_key = self.image_key if image_key is None else checked_key(image_key)
        pairs, at, key = pair_up(labelled, labels, image_key)
        with bars(progress):
            fit = Fit.learn(self.vae, self.bank, pairs, keep, at, features, classes, key)
        log.info("fit: %s", "; ".join(map(str.strip, str(fit.report or "no pool").splitlines())))
        self._set_fit(fit, at, image_key)
        return self

    def pool_labels(self) -> PoolLabels:
        """Which image of the bank got which label, how surely, and which are kept to draw samples from.

        Raises:
            RuntimeError: `fit` was not called, spread no labels, or was read from a file.

        Example:
            >>> from vae_augment import LatentBank, VAEAugment, load_weights
            >>> from vae_augment.demo_data import fashion_sample
            >>> images, labels = fashion_sample()
            >>> bank = LatentBank.from_images(load_weights("fashion-mnist").vae, images)
            >>> fitted = VAEAugment.from_pretrained("fashion-mnist", bank=bank).fit(images[:100], labels[:100])
            >>> sure = fitted.pool_labels().kept()
            >>> images[sure.index].shape[1:], len(sure.label) == len(sure), sure.distribution.shape[1]
            (torch.Size([1, 28, 28]), True, 10)
        """
        if self._fit is None:
            raise RuntimeError("there are no labels of a pool: call fit(labelled) first")
        return self._fit.pool_labels()

    def save_fit(self, path: str | os.PathLike[str]) -> None:
        """Write the result of `fit` to one safetensors file, which `load_fit` reads. The weights are not in it, nor p.
        Without a bank, it holds the labelled images themselves. `pool_labels` are not in it.

        Raises:
            RuntimeError: `fit` was not called.
        """
        if self._fit is None:
            raise RuntimeError("there is nothing to save: call fit(labelled) first")
        hub.save_fit(path, self._fit, self.vae)

    @float32_on_cpu()
    def load_fit(self, path: str | os.PathLike[str], labels: LabelAt = None, *, image_key: ImageKey = None) -> Self:
        """Read a file of `save_fit`, and be as after that `fit`; the labelled images and the bank are not needed.

        Args:
            labels, image_key: where a sample's label and image are, as of `fit`; the file does not say.

        Raises:
            FileNotFoundError: there is no such file.
            WeightsError: it is damaged, or was fitted with other weights.

        Example:
            >>> import tempfile
            >>> from vae_augment import VAEAugment
            >>> from vae_augment.demo_data import fashion_sample
            >>> images, labels = fashion_sample()
            >>> augment = VAEAugment.from_pretrained("fashion-mnist").fit(list(zip(images[:100], labels[:100])))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     augment.save_fit(f"{folder}/garments.safetensors")
            ...     again = VAEAugment.from_pretrained("fashion-mnist").load_fit(f"{folder}/garments.safetensors")
            >>> again.sample([9, 9, 0]).shape
            torch.Size([3, 1, 28, 28])
        """
        image_key = self.image_key if image_key is None else checked_key(image_key)
        self._set_fit(hub.load_fit(path, self.vae), plain_key(labels), image_key)
        return self

    def _set_fit(self, fit: Fit, labels_at: LabelAt, image_key: ImageKey) -> None:
        self._labels_at, self.image_key, self._fit = labels_at, image_key, fit
        self._draw_anew()

    def _draw_anew(self) -> None:
        """Draw latents of classes as new as `novelty` says; without a fit nothing is drawn by it."""
        if self._fit is not None:
            move = LatentMove(self._fit.jitter.with_novelty(self.novelty), 1.0)
            self._engine = Engine(self._engine.net, move)

    def generate(self, count: int, *, prior: Prior | None = None) -> Tensor:
        """Make new images of no class in particular, float32 `(count, C, S, S)` in [0, 1], on the CPU. It needs no fit.

        Args:
            count: how many, at least 0.
            prior: where their latents come from, a callable `(count, generator) -> z`, whitened, as those of
                `vae_augment.prior`. None: beside latents of the bank, as new as `novelty` says; without a bank the mixture that
                was stored; without either N(0, I), which shows images hardly ever.

        Raises:
            ValueError: `count` is no number of images, or the prior draws no latents of this autoencoder.

        Example:
            >>> from vae_augment import VAEAugment
            >>> VAEAugment.from_pretrained("mnist").generate(3).shape
            torch.Size([3, 1, 28, 28])
        """
        if isinstance(count, bool) or (wanted := _index(count)) is None or wanted < 0:
            raise ValueError(f"count must be a number of images, got {count!r}")
        net = self._engine.net
        if wanted == 0:
            return torch.empty(0, net.channels, net.size, net.size, dtype=torch.float32, device=CPU)
        prior = self._own_prior() if prior is None else prior
        with torch.no_grad(), torch.autocast("cpu", enabled=False), CPU:
            z = prior(wanted, thread_generator())
            return net.on(CPU).decode_whitened(_checked_latents(z, (wanted, *net.latent_shape), prior))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_prior": None}  # it is made again sooner than it is sent to a worker

    @float32_on_cpu()
    def _own_prior(self) -> Prior:
        """The prior of these weights, made once, as new as `novelty` says."""
        weights = self._weights()
        if self._prior is None or self._prior[0] is not weights:
            self._prior = (weights, weights.usual_prior())
        prior = self._prior[1]
        return prior.with_novelty(self.novelty) if isinstance(prior, Exemplars) else prior

    def sample(self, labels: Sequence[Any] | Tensor) -> Tensor:
        """Make new images of these classes, float32 `(B, C, S, S)` in [0, 1], on the CPU. Call `fit` first.

        Raises:
            RuntimeError: `fit` was not called.
            TypeError: a lone label.
            ValueError: a label that it has not seen.
        """
        if self._fit is None:
            raise RuntimeError("samples of a class need classes: call fit(labelled) first")
        if not len(wanted := self._fit.index_all(labels)):
            return torch.empty(0, self.vae.channels, self.vae.size, self.vae.size, dtype=torch.float32, device="cpu")
        plan = self._engine.plan(len(wanted), self._how, thread_generator(), wanted)
        if plan.source is None:
            return self._engine.vary(None, plan, How(strength=1))
        y = self._engine.vary(None, plan, self._how)
        return (plan.source + y).clamp(0, 1) if self.residual else y

    def report(
        self,
        real: Any,
        labels: Labels = None,
        *,
        synthetic: Any = 1000,
        held_out: Any = None,
        features: Features | None = None,
        seed: int = 0,
    ) -> Report:
        """Say whether synthetic images may be trusted: unrealistic, unvaried, copied, missing, label truth, and a verdict.

        `print` shows it, `report.save("report.html")` writes a page with pictures. Needs `pip install 'vae-augment[report]'`.

        Args:
            real: images for training, a data set of `(image, label)`, or images beside `labels`.
            labels: of the images, if these are not samples.
            synthetic: how many to sample here, of the classes of `real` as frequent as there; or synthetic images of any
                origin, a data set of `(image, label)` or a tuple `(images, labels)`.
            held_out: real images that no fit has seen, in the same form. None: a fifth of `real` is held out.
            features: what images are compared by: an `Encoder`, a name, a function of float32 `(B, C, S, S)` in [0, 1], or
                "bank", the views of the bank. None: a small classifier, trained here on `real`.
            seed: of all chance.

        Raises:
            RuntimeError: images are to be sampled, and `fit` was not called.
            ValueError: there are too few images, or no class in common.

        Example:
            >>> from vae_augment import VAEAugment
            >>> from vae_augment.demo_data import fashion_sample
            >>> images, labels = fashion_sample()
            >>> augment = VAEAugment.from_pretrained("fashion-mnist").fit(images[:100], labels[:100])
            >>> report = augment.report(images[:200], labels[:200], held_out=(images[200:], labels[200:]), synthetic=200)
            >>> report.verdict in ("use", "look", "do not use"), report.word("copied").status
            (True, 'ok')
        """
        own = real if labels is None else (real, labels)
        given = [own] + ([] if held_out is None else [held_out])
        count = None if isinstance(synthetic, bool) else _index(synthetic)
        channels, side = common_look(given if count is not None else [*given, synthetic])
        side = side if count is None else min(side, self.vae.size)
        known = read_samples(own, channels, side)
        made = read_samples(synthetic if count is None else self._sampled(*known, count, seed), channels, side)
        kept = None if held_out is None else read_samples(held_out, channels, side)
        return make_report(Sets.of(known, made, kept), features=self._views(features), seed=seed)

    def _sampled(self, known: ImageSet, names: Sequence[str], count: int, seed: int) -> tuple[Tensor, list[Any]]:
        """Samples of the classes of these images, as frequent as there, and their labels."""
        own = {str(label): label for label in self.classes or ()}
        wanted = [own[name] for name in (names[i] for i in known.labels.tolist()) if name in own]
        if self._fit is not None and not (wanted and count >= 1):
            raise ValueError(
                f"there is nothing to sample: {count} images of the classes {', '.join(names[:5])}, where the fit knows "
                f"{', '.join(list(own)[:5])}"
            )
        with global_seed(seed):
            order = torch.randperm(max(1, len(wanted))).tolist()
            labels = [wanted[order[i % len(order)]] for i in range(count)] if wanted else [0]
            return self.sample(labels), labels

    def _views(self, features: Any) -> Any:
        """ "bank" as an encoder of the bank's views; all else as it is."""
        if not (isinstance(features, str) and features == "bank"):
            return features
        if (bank := self.bank) is None:
            raise ValueError("these weights have no bank, whose views compare images: leave features out")
        vae, name = self.vae, " and ".join(view.name for view in bank.views)
        plain = (0.0,) * vae.channels, (1.0,) * vae.channels
        return Encoder(
            lambda x: torch.cat([view.embed(vae, x) for view in bank.views], 1), vae.size, name, vae.channels, *plain
        )


def _index(count: Any) -> int | None:
    try:
        return operator.index(count)
    except TypeError:
        return None


def _checked_latents(z: Any, shape: tuple[int, ...], prior: Prior) -> Tensor:
    """What a prior gives, float32. Raises ValueError for what are no finite latents of this shape."""
    if isinstance(z, Tensor) and z.is_floating_point() and z.shape == shape and bool((z := z.float()).isfinite().all()):
        return z
    got = f"{z.dtype} {tuple(z.shape)}" if isinstance(z, Tensor) else type(z).__name__
    raise ValueError(f"a prior must give finite latents of shape {shape}, got {got}: {prior!r}")
