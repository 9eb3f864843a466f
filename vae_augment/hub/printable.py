"""Text of strangers, shown: characters that a terminal would obey are escaped."""

MAX_SHOWN = 80  # characters of a value in a message


def printable(text: str) -> str:
    """Escape characters that move a terminal's cursor, change its colours or hide text: files come from strangers.

    Example:
        >>> print(printable("grey" + chr(27) + "[31m"))
        grey\\x1b[31m
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(value: object) -> str:
    """A value of a JSON file in a message, short and on one line."""
    try:
        return f"{value!r:.{MAX_SHOWN}}"
    except RecursionError:
        return "a nested value"
