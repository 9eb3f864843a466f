"""The options of `VAEAugment`: their types, and the numbers among them checked."""

from collections.abc import Mapping
from numbers import Real
from typing import Literal, TypedDict

from .jitter import Jitter
from .pool import LatentBank
from .vae import Codec

LARGEST_STRENGTH = 1000.0  # no pixel changes further long before that, and floats still hold the latents
OnGeometry = Literal["passthrough", "warn", "error"]


class Options(TypedDict, total=False):
    """The options of `VAEAugment`, as `from_pretrained` passes them on; see there for their meaning and defaults."""

    strength: float
    p: float
    jitter: Jitter | None
    residual: bool
    bank: LatentBank | None
    gain: float | None
    per_frame: bool
    resize: bool
    on_geometry: OnGeometry


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
    if unknown := sorted(set(options) - set(Options.__annotations__)):
        raise TypeError(f"from_pretrained() got an unexpected keyword argument {unknown[0]!r}")
