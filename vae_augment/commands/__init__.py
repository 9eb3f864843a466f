"""The verbs of the command `vae-augment`, one module each.

A verb's docstring is its help. `add_arguments(parser)` declares its arguments; `run(options)` does its work and prints with
`show`. An OSError or a ValueError is one that a user can mend: `main` prints its message, which ends in the remedy.
A new verb is a module here, and nothing else.
"""

import sys

from ..hub import printable

__all__ = ["printable", "show"]


def show(line: str) -> None:
    """Print one line; characters that the terminal must not see or cannot write are escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    print(printable(line).encode(encoding, "backslashreplace").decode(encoding))
