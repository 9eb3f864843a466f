"""The options of `VAEAugment`: their types, and the numbers among them checked."""

from collections.abc import Mapping
from numbers import Real
from typing import Any, Literal, TypedDict

from .encoders import Features
from .images import ImageKey
from .jitter import LARGEST_FACTOR, Jitter
from .pool import LatentBank
from .vae import Codec

LARGEST_STRENGTH = LARGEST_FACTOR
OnGeometry = Literal["passthrough", "warn", "error"]


class Options(TypedDict, total=False):
    """The options of `VAEAugment`, as `from_pretrained` passes them on; see there for their meaning and defaults."""

    strength: float | None
    p: float
    jitter: Jitter | None
    residual: bool
    bank: LatentBank | None
    gain: float | None
    per_frame: bool
    resize: bool
    on_geometry: OnGeometry
    image_key: ImageKey
    novelty: float


class PretrainedOptions(Options, total=False):
    """The same, and two that `from_pretrained` makes a bank of.

    pool: unlabelled images, as of `LatentBank.from_images`.
    features: a network that compares them, or an array `(N, D)`; without a pool, the encoder of the weights' own bank.
    """

    pool: Any
    features: Features | None


def checked_number(name: str, value: float, high: float) -> float:
    """Return an option's value as a float. Raises ValueError, naming the option, for what is no number from 0 to `high`."""
    if isinstance(value, bool) or not isinstance(value, float | Real) or not 0 <= value <= high:
        raise ValueError(f"{name} must be a number from 0 to {high}, got {value!r}")
    return float(value)


def check_bank(bank: LatentBank, vae: Codec) -> None:
    """Raises TypeError for what is no LatentBank, and ValueError for one of another autoencoder."""
    if not isinstance(bank, LatentBank):
        raise TypeError(f"bank must be a LatentBank, got {type(bank).__name__}: LatentBank.from_images(vae, images)")
    bank.check_is_of(vae)


def check_options(options: Mapping[str, object]) -> None:
    """Raises TypeError for a name that is no option, before anything is loaded for it."""
    if unknown := sorted(set(options) - set(PretrainedOptions.__annotations__)):
        raise TypeError(f"from_pretrained() got an unexpected keyword argument {unknown[0]!r}")
    if options.get("pool") is not None and options.get("bank") is not None:
        raise TypeError("from_pretrained() takes pool, images to make a bank of, or bank, not both")


def with_bank(vae: Codec, stored: LatentBank | None, options: PretrainedOptions) -> tuple[LatentBank | None, Options]:
    """What `pool` and `features` say, carried out: the stored bank, maybe with its encoder, and the options of `VAEAugment`.

    Raises:
        ValueError: features without a bank that has such.
    """
    pool, features = options.pop("pool", None), options.pop("features", None)
    if pool is not None:
        options["bank"] = LatentBank.from_images(vae, pool, features=features, image_key=options.get("image_key"))
    elif features is not None and (bank := options.get("bank")) is not None:
        options["bank"] = bank.with_encoder(features)
    elif features is not None:
        if stored is None:
            raise ValueError("features compare the images of a pool, and there is none: pool=images, unlabelled ones")
        stored = stored.with_encoder(features)
    return stored, options
