"""Values as a recipe's flags and its YAML file have them: sweeps write None for null, and 64.0 where an integer is meant."""

import contextlib
import dataclasses
import re
from typing import Any, get_type_hints

import yaml
from jsonargparse import get_loader, set_loader

from vae_augment import VAEConfig

from .recipes import Recipe

KINDS = {  # of a recipe's fields, by name: their types
    f"{prefix}{field.name}": get_type_hints(owner)[field.name]
    for prefix, owner in (("", Recipe), ("vae.", VAEConfig))
    for field in dataclasses.fields(owner)
}
# flags whose values are no text, with their types
SCALAR_FLAGS = {f"--{name}": kind for name, kind in KINDS.items() if kind in (int, float, bool, bool | None)}
RECIPE_MODE = "recipe"  # in which the parser reads values: as YAML, by `read_yaml`


def as_yaml_has_them(flags: list[str]) -> list[str]:
    """Write values of a recipe's flags as YAML has them: None as null, a whole float for an integer as that; sweeps send both.

    Example:
        >>> as_yaml_has_them(["--bf16=None", "--batch_size=64.0", "--steps", "1e3", "--lr=0.5", "--out=None"])
        ['--bf16=null', '--batch_size=64', '--steps', '1000', '--lr=0.5', '--out=None']
    """
    written, name = [], ""
    for flag in flags:
        own_name, equals, value = flag.partition("=")
        if equals and own_name in SCALAR_FLAGS:
            written.append(f"{own_name}={_as_yaml(value, SCALAR_FLAGS[own_name])}")
        else:
            written.append(_as_yaml(flag, SCALAR_FLAGS[name]) if name in SCALAR_FLAGS else flag)
        name = flag
    return written


def _as_yaml(value: str, kind: object) -> str:
    if value.lower() == "none":
        return "null"
    with contextlib.suppress(ValueError, OverflowError):
        if kind is int and not re.fullmatch(r"[-+]?\d+", value) and float(value).is_integer():
            return str(int(float(value)))
    return value


def read_yaml(text: str) -> Any:
    """Read YAML as `as_yaml_has_them` writes flags: in a recipe None is null, and a whole float for an integer is that.

    Raises:
        yaml.YAMLError: it is no YAML.

    Example:
        >>> read_yaml("{batch_size: 64.0, bf16: None, lr: 1e-2, vae: {width: 1.6e1}}")
        {'batch_size': 64, 'bf16': None, 'lr': 0.01, 'vae': {'width': 16}}
    """
    try:
        return _with_fields_as_flags(get_loader("yaml")(text), "--")
    except yaml.YAMLError:
        raise
    except Exception as error:  # of many kinds: a date that is none is a ValueError, what is deep a RecursionError
        raise yaml.YAMLError(f"{type(error).__name__}: {error}") from error


def _with_fields_as_flags(values: Any, prefix: str) -> Any:
    if not isinstance(values, dict):
        return values
    return {key: _as_field(value, f"{prefix}{key}") for key, value in values.items()}


def _as_field(value: Any, flag: str) -> Any:
    if flag not in SCALAR_FLAGS:
        return _with_fields_as_flags(value, f"{flag}.")
    if isinstance(value, str) and value.lower() == "none":
        return None
    return int(value) if SCALAR_FLAGS[flag] is int and isinstance(value, float) and value.is_integer() else value


set_loader(RECIPE_MODE, read_yaml, (yaml.YAMLError,))
