"""The verbs of the command `vae-augment`, one module each.

A verb's docstring is its help. `add_arguments(parser)` declares its arguments; `run(options)` does its work and prints with
`show`. An OSError or a ValueError is one that a user can mend: `main` prints its message, which ends in the remedy. What is wrong
with the command itself, told before any work, is raised within `usage()`: the exit code is then 2, else 1.
A new verb is a module here, and nothing else.
"""

import contextlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from ..hub import WeightsError, printable

__all__ = ["UsageError", "plain_warnings", "printable", "show", "usage"]


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
