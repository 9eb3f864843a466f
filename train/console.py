"""Standard output and error that cannot end a run: a closed pipe, a full disk, a character the terminal has not."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

STANDARD_DESCRIPTORS = (0, 1, 2)  # input, output, error


@contextlib.contextmanager
def lasting_streams() -> Iterator[None]:
    """Replace `sys.stdout` and `sys.stderr` within by streams whose failures change nothing."""
    _fill_closed_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (LastingStream(stream) for stream in before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


class LastingStream:
    """A text stream that drops what it cannot write any more, and replaces characters that it cannot encode.

    Args:
        stream: to write to; None, as Python has it for a closed one, drops everything.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = open(os.devnull, "w", encoding="utf-8") if stream is None else stream  # noqa: SIM115 (lives on)

    def write(self, text: str) -> int:
        """Write a text as far as that is possible, and return its length."""
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            return self.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except (OSError, ValueError):  # a ValueError: the stream is closed
            self._drop_the_rest()
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write several texts."""
        self.write("".join(lines))

    def flush(self) -> None:
        """Write what is buffered, as far as that is possible."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._drop_the_rest()

    def _drop_the_rest(self) -> None:
        """Lead the stream to nowhere, what it still holds too: the interpreter writes that at its end."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _fill_closed_descriptors() -> None:
    """Open the closed ones of the three standard descriptors to nowhere: a file of the run would get its number otherwise."""
    for descriptor in STANDARD_DESCRIPTORS:
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
