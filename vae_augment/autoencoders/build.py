"""A network of diffusers from its config, by whoever it is written: what it says is judged before anything is built."""

import importlib.util
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from .table import KINDS, Kind

LARGEST_NUMBER = 2**16  # of a config: channels, sizes, embeddings
MOST_LAYERS, LONGEST_LIST, LONGEST_TEXT = 64, 32, 200
MOST_POSITIONS = 2**27  # numbers of a table of positions, which a network computes when it is built
POSITIONS = {  # what that table's size follows from, and what AutoencoderRAE has where a config is silent
    "encoder_input_size": 224,
    "encoder_patch_size": 14,
    "decoder_hidden_size": 512,
    "encoder_hidden_size": 768,
}
PER_LATENT = ("latents_mean", "latents_std")  # may be as large as a latent


def known_classes() -> str:
    """Names of the classes that are known, to be read."""
    return ", ".join(KINDS)


def kind_of(name: Any) -> Kind:
    """The row of a class. Raises ValueError for one that is not in the table."""
    if not isinstance(name, str) or name not in KINDS:
        raise ValueError(
            f"{name!r:.80} is no autoencoder of diffusers that is known here. Known are {known_classes()}; wrap another one as "
            "a vae_augment.vae.Codec"
        )
    return KINDS[name]


def check_config(config: Mapping[str, Any]) -> None:
    """Refuse a config that is not of a known class, or whose numbers would fill memory or time.

    Raises:
        ValueError: it is refused.

    Example:
        >>> check_config({"_class_name": "AutoencoderKL", "block_out_channels": [8, 16]})
    """
    kind_of(config.get("_class_name"))
    for key, value in config.items():
        if key not in PER_LATENT:
            _check_value(key, value, MOST_LAYERS if "layers" in key or "num_blocks" in key else LARGEST_NUMBER)
    size, patch, *widths = (_whole_number(config, key, usual) for key, usual in POSITIONS.items())
    if (size // patch) ** 2 * max(widths) > MOST_POSITIONS:
        raise ValueError(f"encoder_input_size {size} and encoder_patch_size {patch} ask for too many patches")


def _whole_number(config: Mapping[str, Any], key: str, usual: int) -> int:
    value = config.get(key)
    if value is None:
        return usual
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{key} must be an integer of 1 or more, got {value!r:.40}")
    return value


def _check_value(key: str, value: Any, most: int) -> None:
    if isinstance(value, list):
        if len(value) > LONGEST_LIST:
            raise ValueError(f"{key:.80} has {len(value)} entries, and no more than {LONGEST_LIST} are built")
        for item in value:
            _check_value(key, item, most)
    elif isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise ValueError(f"{key:.80} has {len(value)} characters, and no more than {LONGEST_TEXT} are read")
    elif value is not None and not (isinstance(value, int | float) and abs(value) <= most):
        shown = f"{value!r:.40}" if isinstance(value, int | float) else type(value).__name__
        raise ValueError(f"{key:.80} must be a number of at most {most}, got {shown}")


def build_network(config: Mapping[str, Any], device: str = "cpu") -> nn.Module:
    """A network of this config with random weights, in eval mode; on the device "meta" without any.

    Raises:
        ImportError: diffusers, or a library that this class needs, is not installed, or older than the class.
        ValueError: the config is refused, or diffusers can build nothing of it.
    """
    check_config(config)
    name = config["_class_name"]
    cls = _class_of(name, kind_of(name))
    with torch.random.fork_rng(devices=[]), torch.device(device):  # random weights shall not move a user's generator
        try:
            net: nn.Module = cls.from_config(dict(config))
        except Exception as error:  # whatever a wrong value leads to
            raise ValueError(f"diffusers builds no {name} of this config: {type(error).__name__}: {error}") from error
    return net.eval()


def _class_of(name: str, kind: Kind) -> Any:
    try:
        import diffusers
    except ImportError as error:
        raise ImportError(f"{name} is a class of diffusers: pip install 'vae-augment[diffusers]' ({error})") from error
    if kind.needs is not None and importlib.util.find_spec(kind.needs) is None:
        raise ImportError(f"{name} needs {kind.needs}: pip install {kind.needs}")
    if not hasattr(diffusers, name):
        raise ImportError(f"diffusers {diffusers.__version__} has no {name}: pip install -U diffusers")
    return getattr(diffusers, name)
