"""Text of strangers on a page: names of classes come from folders that somebody else has named."""

import html

LONGEST = 1000  # characters


def text(value: object) -> str:
    """Text as HTML shows it: no element, no attribute's end, no character that turns or hides others.

    Example:
        >>> text('<b onload="x">' + chr(0x202E))
        '&lt;b onload=&quot;x&quot;&gt;\\\\u202e'
    """
    said = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))
    return html.escape(said if len(said) <= LONGEST else f"{said[:LONGEST]}...")
