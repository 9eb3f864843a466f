"""Calibrated: the part of `VAEAugment` that measures a user's own images, so that strength 1 is the same on any autoencoder."""

import logging
from dataclasses import replace
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import Subset

from . import hub
from .autoencoders import latent_statistics
from .engine import Engine
from .fit import Fit
from .images import (
    ImageKey,
    Labels,
    has_exif_rotation,
    pair_up,
    read_labelled,
    spread_places,
    to_model,
    untransformed_reader,
    warn_exif_rotation,
)
from .jitter import traits_of
from .latent_move import LatentMove
from .options import LARGEST_STRENGTH, checked_number
from .pool import LabelProbe, LatentBank
from .progress import bars, progress
from .strength import calibrated_jitters, gain_name, solve_gain_soon
from .survival import (
    USUAL_SURVIVAL,
    Survival,
    checked_survival,
    measure_survival,
    probe_of,
    warn_of,
    without_survival,
)
from .vae import Codec, FrozenVAE

MOST_IMAGES = 128  # that are measured
MOST_LABELLED = 1000  # that a probe learns from and judges

log = logging.getLogger("vae_augment")


class Calibrated:
    """`calibrate`, for a transform that has an engine and weights.

    Args:
        image_key, residual: of the transform.
    """

    image_key: ImageKey
    residual: bool
    _engine: Engine
    _fit: Fit | None
    _saved: hub.Weights
    _is_default_jitter: bool
    _strength: float | None  # None: as measured
    _survival: Survival | None
    _survives_residual: bool  # what `residual` was when it was measured

    @property
    def strength(self) -> float:
        """How far to move. May be changed between epochs, as `p`: workers started afterwards follow."""
        if self._strength is not None:
            return self._strength
        return 1.0 if self.survival is None or self._fit is not None else self.survival.strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._strength = checked_number("strength", value, high=LARGEST_STRENGTH)

    @property
    def survival(self) -> Survival | None:
        """What part of labels survives at which strength, by `calibrate` with labels; `print` shows it. None: not measured.

        It is of how images move here: a transform that is given a jitter, a gain or `residual=False` has none of its weights.
        """
        return self._survival if self.residual == self._survives_residual else None

    def calibrate(
        self,
        images: Any,
        labels: Labels = None,
        *,
        survival: float | None = None,
        image_key: ImageKey = None,
        device: str | torch.device = "cpu",
        progress: bool | None = None,
    ) -> Self:
        """Measure on images of yours: how latents spread, and how far they move at strength 1; with labels, up to which
        strength these survive.

        `save_pretrained` keeps what was measured. An autoencoder of diffusers is whitened anew, and so is a codec of your own
        that has `with_statistics(statistics)`, which returns a copy of itself with `statistics.mean` and `statistics.std`. Other
        codecs, as the package's own VAE, state statistics of their training: these stay, and gains alone are solved.

        Call it before there is a bank, and before `fit`: both are of one set of statistics. A gain that was given is replaced.

        With `survival`, or `labels`, images are varied at several strengths, and a probe that the labelled images teach says
        which keep their label. `strength` is then that at which this part of labels survives, until you set another or call
        `fit`, and `print(augment.survival)` shows the curve. `save_pretrained` keeps it, if jitter and `residual` are the
        defaults, and `from_pretrained` takes that strength where none is given.

        Args:
            images: at least two, better a hundred, labelled or not: a tensor `(N, C, H, W)`, or a map-style data set or list of
                images or samples, read before its own transform. At most 128, spread over all, are read; of labelled ones at most
                1,000, chosen at random and always the same, and at least 50.
            labels: beside the images, or where a sample has its label, as of `fit`. With them, survival is 0.95 unless given.
            survival: part of the labels that shall survive, as 0.95. None without `labels`: no label is read.
            image_key: where a sample's image is, a key or a position. None: that of the transform.
            device: where to compute, as "cuda": a large network takes minutes on a CPU.
            progress: bars on stderr, see `vae_augment.progress`. None: on a terminal, of what takes more than two seconds.

        Returns:
            The transform itself.

        Raises:
            RuntimeError: it was fitted.
            ValueError: it has a bank of latents that were whitened otherwise; or the images are too few, or all alike; or a
                probe tells their labels no better than chance.
            TypeError: a sample has no label, where such are asked for.

        Example:
            >>> from vae_augment import VAEAugment
            >>> from vae_augment.demo_data import fashion_sample
            >>> augment = VAEAugment.from_pretrained("fashion-mnist").calibrate(fashion_sample()[0])
            >>> 0 < augment.gain < 2
            True
            >>> augment = augment.calibrate(*fashion_sample(), survival=0.95)
            >>> 0.5 < augment.strength < 2, augment.survival.images
            (True, 500)
        """
        self._check_can_calibrate()
        if survival is None and labels is not None:
            survival = USUAL_SURVIVAL
        with bars(progress):
            self._measure(images, labels, survival, image_key, torch.device(device))
        log.info("calibrated: gains %s, strength %s", self._saved.gains, self.strength)
        return self

    def _measure(
        self, images: Any, labels: Labels, survival: float | None, image_key: ImageKey, device: torch.device
    ) -> None:
        key = self.image_key if image_key is None else image_key
        net, move = self._engine.net, self._engine.move
        probe = None
        if survival is None:
            x = _read(images, net, key)
        else:
            survival = checked_survival(survival)
            labelled, probe = _read_labelled(images, labels, net, key)
            x = _checked(labelled[_places(len(labelled))])
        with torch.no_grad(), torch.device("cpu"), torch.autocast(device.type, enabled=False):
            x = x.to(device)
            if _is_measured(net.codec):
                on: Any = net.on(device)
                net = FrozenVAE(net.codec.with_statistics(latent_statistics(on.codec, x)))  # type: ignore[attr-defined]
            gains = _solved(net, x, self._saved.bank)
            gain = gains.get(gain_name(move.jitter), move.gain) if move.traits.is_calibrated else move.gain
            engine, found = Engine(net, LatentMove(move.jitter, gain)), None
            if probe is not None and survival is not None:
                found = measure_survival(engine, self.residual, labelled, probe, survival, device)
        kept = {} if net is not self._engine.net else dict(self._saved.gains)
        self._keep(engine, {**kept, **gains}, found)

    def _keep(self, engine: Engine, gains: dict[str, float], found: Survival | None) -> None:
        """All that was measured, at once; what was known of labels is of the gain before."""
        metrics = without_survival(self._saved.metrics)
        if found is not None:
            warn_of(found)
            self._strength = None
            if self._is_default_jitter and self.residual:  # as `from_pretrained` without options has it
                metrics |= found.to_metrics()
        self._saved = replace(self._saved, vae=engine.net.codec, gains=gains, metrics=metrics)  # type: ignore[arg-type]
        self._engine, self._survival, self._survives_residual = engine, found, self.residual

    def _check_can_calibrate(self) -> None:
        if self._fit is not None:
            raise RuntimeError(
                "a fit is of the statistics that it was made with: calibrate a transform that was not fitted, and fit it then"
            )
        has_bank = self._saved.bank is not None or self._engine.move.traits.needs_bank
        if has_bank and _is_measured(self._engine.net.codec):
            raise ValueError(
                "a bank is of the statistics that it was made with: calibrate a transform without one, and give it a bank then, "
                "augment.with_bank(LatentBank.from_images(augment.vae, images))"
            )


def _is_measured(codec: Codec) -> bool:
    """Whether a codec takes statistics that were measured of its latents."""
    return hasattr(codec, "with_statistics")


def _solved(net: FrozenVAE, x: Tensor, bank: LatentBank | None) -> dict[str, float]:
    """Gains of the jitters that this network and the bank allow."""
    on = net.on(x.device)
    has_std = on.encode_whitened(x[:1])[1] is not None
    jitters = calibrated_jitters(None if bank is None else bank.whitened(net.codec))
    return {
        gain_name(jitter): solve_gain_soon(on, jitter, x)
        for jitter in progress(jitters, "solve gains")
        if has_std or not traits_of(jitter).reads_std
    }


def _read(images: Any, net: FrozenVAE, image_key: ImageKey) -> Tensor:
    """At most `MOST_IMAGES` of the images, spread over all, as the network sees them: float32 `(N, C, S, S)` in [0, 1]."""
    if (total := len(images)) < 2:
        raise ValueError(f"calibrate measures how images differ, got {total}: give two at least, better a hundred")
    places = _places(total)
    if isinstance(images, Tensor):
        x, _ = to_model(images[places], net.channels, net.size)
    else:
        reader, parts, turned = untransformed_reader(images, on_copies=True, image_key=image_key), [], 0
        for place in progress(places, "read images", unit=" images"):
            turned += has_exif_rotation(image := reader.image(place))
            parts.append(to_model(image, net.channels, net.size)[0])
        warn_exif_rotation(turned, "images to calibrate on")
        x = torch.cat(parts)
    return _checked(x.detach().float().cpu().clamp(0, 1))


def _read_labelled(images: Any, labels: Labels, net: FrozenVAE, image_key: ImageKey) -> tuple[Tensor, LabelProbe]:
    """At most `MOST_LABELLED` of labelled images as the network sees them, float32 `(N, C, S, S)`, and a probe of them."""
    pairs, at, key = pair_up(images, labels, image_key)
    untransformed_reader(pairs)  # which tells what cannot be read
    if len(pairs) > MOST_LABELLED:
        order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0), device="cpu")
        pairs = Subset(pairs, order[:MOST_LABELLED].sort().values.tolist())
    through = partial(progress, what="read images", unit=" images")
    x, own = read_labelled(pairs, net.channels, net.size, at, image_key=key, through=through)
    return x, probe_of(x, own)


def _places(total: int) -> list[int]:
    """At most `MOST_IMAGES` of so many, spread over all."""
    return spread_places(total, MOST_IMAGES).tolist()


def _checked(x: Tensor) -> Tensor:
    if (x == x[:1]).all():
        raise ValueError(f"calibrate measures how images differ, and these {len(x)} are all alike: give others")
    return x
