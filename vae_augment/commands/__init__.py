"""The verbs of the command `vae-augment`, one module each.

A verb's docstring is its help. `add_arguments(parser)` declares its arguments; `run(options)` does its work and prints with
`show`. An OSError or a ValueError is one that a user can mend: `main` prints its message, which ends in the remedy.
A new verb is a module here and its name in `VERBS` of `vae_augment/__main__.py`.
"""

import sys


def printable(text: str) -> str:
    """Escape characters that move a terminal's cursor, change its colours or hide text: files come from strangers.

    Example:
        >>> print(printable("grey" + chr(27) + "[31m"))
        grey\\x1b[31m
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def show(line: str) -> None:
    """Print one line; characters that the terminal must not see or cannot write are escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    print(printable(line).encode(encoding, "backslashreplace").decode(encoding))
