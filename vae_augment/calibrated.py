"""Calibrated: the part of `VAEAugment` that measures a user's own images, so that strength 1 is the same on any autoencoder."""

from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor

from . import hub
from .autoencoders import latent_statistics
from .engine import Engine
from .fit import Fit
from .images import ImageKey, has_exif_rotation, spread_places, to_model, untransformed_reader, warn_exif_rotation
from .jitter import traits_of
from .latent_move import LatentMove
from .pool import LatentBank
from .strength import calibrated_jitters, gain_name, solve_gain_soon
from .vae import Codec, FrozenVAE

MOST_IMAGES = 128  # that are measured


class Calibrated:
    """`calibrate`, for a transform that has an engine and weights.

    Args:
        image_key: of the transform.
    """

    image_key: ImageKey
    _engine: Engine
    _fit: Fit | None
    _saved: hub.Weights

    def calibrate(self, images: Any, *, image_key: ImageKey = None, device: str | torch.device = "cpu") -> Self:
        """Measure on images of yours: how latents spread, and how far they move at strength 1.

        `save_pretrained` keeps what was measured. An autoencoder of diffusers is whitened anew, and so is a codec of your own
        that has `with_statistics(statistics)`, which returns a copy of itself with `statistics.mean` and `statistics.std`. Other
        codecs, as the package's own VAE, state statistics of their training: these stay, and gains alone are solved.

        Call it before there is a bank, and before `fit`: both are of one set of statistics. A gain that was given is replaced.

        Args:
            images: at least two, better a hundred, labelled or not: a tensor `(N, C, H, W)`, or a map-style data set or list of
                images or samples, read before its own transform. At most 128, spread over all, are read.
            image_key: where a sample's image is, a key or a position. None: that of the transform.
            device: where to compute, as "cuda": a large network takes minutes on a CPU.

        Returns:
            The transform itself.

        Raises:
            RuntimeError: it was fitted.
            ValueError: it has a bank of latents that were whitened otherwise; or the images are too few, or all alike.

        Example:
            >>> from vae_augment import VAEAugment
            >>> from vae_augment.demo_data import fashion_sample
            >>> augment = VAEAugment.from_pretrained("fashion-mnist").calibrate(fashion_sample()[0])
            >>> 0 < augment.gain < 2
            True
        """
        self._check_can_calibrate()
        key = self.image_key if image_key is None else image_key
        net, move = self._engine.net, self._engine.move
        device = torch.device(device)
        x = _read(images, net, key)
        with torch.no_grad(), torch.device("cpu"), torch.autocast(device.type, enabled=False):
            x = x.to(device)
            if _is_measured(net.codec):
                on: Any = net.on(device)
                net = FrozenVAE(net.codec.with_statistics(latent_statistics(on.codec, x)))  # type: ignore[attr-defined]
            gains = _solved(net, x, self._saved.bank)
        kept = {} if net is not self._engine.net else dict(self._saved.gains)
        gain = gains.get(gain_name(move.jitter), move.gain) if move.traits.is_calibrated else move.gain
        self._saved = replace(self._saved, vae=net.codec, gains={**kept, **gains})  # type: ignore[arg-type]
        self._engine = Engine(net, LatentMove(move.jitter, gain))
        return self

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
        for jitter in jitters
        if has_std or not traits_of(jitter).reads_std
    }


def _read(images: Any, net: FrozenVAE, image_key: ImageKey) -> Tensor:
    """At most `MOST_IMAGES` of the images, spread over all, as the network sees them: float32 `(N, C, S, S)` in [0, 1]."""
    if (total := len(images)) < 2:
        raise ValueError(f"calibrate measures how images differ, got {total}: give two at least, better a hundred")
    count = min(total, MOST_IMAGES)
    places = spread_places(total, count).tolist()
    if isinstance(images, Tensor):
        x, _ = to_model(images[places], net.channels, net.size)
    else:
        reader, parts, turned = untransformed_reader(images, on_copies=True, image_key=image_key), [], 0
        for place in places:
            turned += has_exif_rotation(image := reader.image(place))
            parts.append(to_model(image, net.channels, net.size)[0])
        warn_exif_rotation(turned, "images to calibrate on")
        x = torch.cat(parts)
    x = x.detach().float().cpu().clamp(0, 1)
    if (x == x[:1]).all():
        raise ValueError(f"calibrate measures how images differ, and these {len(x)} are all alike: give others")
    return x
