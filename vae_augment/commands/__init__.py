"""The verbs of the command `vae-augment`, one module each.

A verb's docstring is its help. `add_arguments(parser)` declares its arguments; `run(options)` does its work and prints with
`show`. An OSError or a ValueError is one that a user can mend: `main` prints its message, which ends in the remedy. What is wrong
with the command itself, told before any work, is raised within `usage()`: the exit code is then 2, else 1.
A new verb is a module here, and nothing else.
"""

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..export import MOST_IMAGES
from ..hub import WeightsError, printable

__all__ = ["UsageError", "last_name", "plain_warnings", "printable", "process", "show", "usage", "whole"]


class UsageError(ValueError):
    """A command that cannot be meant as it is written."""


@contextlib.contextmanager
def usage() -> Iterator[None]:
    """Within, what is wrong is wrong with the command: values, and names of what is not there. Damaged files are not."""
    try:
        yield
    except WeightsError:
        raise
    except (FileNotFoundError, TypeError, ValueError) as error:
        raise UsageError(str(error)) from None


def show(line: str) -> None:
    """Print one line; characters that the terminal must not see or cannot write are escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    print(printable(line).encode(encoding, "backslashreplace").decode(encoding))


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Within, a warning is one line on stderr, each once, without the place in the code that gave it."""
    with warnings.catch_warnings():
        told: set[str] = set()

        def tell(message: Warning | str, *_: Any, **__: Any) -> None:
            text = printable(" ".join(str(message).split()))
            if text not in told:
                told.add(text)
                print(f"note: {text}", file=sys.stderr)

        warnings.showwarning = tell
        yield


def last_name(name: str) -> str:
    """Of a folder its last name: where it lies is nobody's business."""
    prefix = next((kind for kind in ("hf:", "folder:") if name.startswith(kind)), "")
    path = Path(name.removeprefix(prefix)).expanduser()
    return prefix + path.absolute().name if path.exists() or path.is_absolute() else name


def process() -> tuple[int, int]:
    """Which process this is, and of how many, as torchrun says."""
    given = [text for name in ("RANK", "WORLD_SIZE") if (text := os.environ.get(name)) is not None]
    if len(given) < 2:
        return 0, 1
    rank, size = (int(text) if text.isdecimal() else -1 for text in given)
    if not 0 <= rank < size:
        raise ValueError(
            f"RANK={given[0]} and WORLD_SIZE={given[1]} of the environment say no process of a run: start it with torchrun, or "
            "unset both"
        )
    return rank, size


def whole(text: str) -> int:
    """An argument that counts images."""
    if not text.isascii() or not text.isdecimal() or not 0 < int(text[:20]) <= MOST_IMAGES:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to {MOST_IMAGES}: write one, as 500")
    return int(text)
