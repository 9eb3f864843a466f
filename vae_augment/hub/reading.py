"""Reading files of strangers: regular ones only, their size known before a byte of them is read."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .weights import WeightsError

# a pipe without a writer is opened at once, and refused, instead of waited for; Windows has neither flag
FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


@contextmanager
def open_regular(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """A regular file, opened, and its size in bytes: files that a system makes up, as in /proc, have none.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it is no regular file, or cannot be read.
    """
    try:
        descriptor = _opened(path)
        try:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise WeightsError(f"{path} is no regular file: put the file itself there")
            with open(descriptor, "rb", closefd=False) as file:
                yield file, about.st_size
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"there is no file {path}") from None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from None


def _opened(path: Path) -> int:
    try:
        return os.open(path, FLAGS)
    except ValueError:  # no file can have such a name
        raise FileNotFoundError from None


def read_regular(path: Path, most: int) -> bytes:
    """Content of a regular file of at most so many bytes; errors as of `open_regular`, and WeightsError for a larger one."""
    with open_regular(path) as (file, size):
        if size > most:
            raise WeightsError(f"{path} has {size} bytes, more than the {most} that are read here")
        return file.read(size)


def refuse_link(path: Path) -> None:
    """Raise WeightsError if a file is a link: what it leads to may be private, and would be published with the folder."""
    if path.is_symlink():
        raise WeightsError(
            f"{path} is a symbolic link, and what it leads to would be published: put the file itself there, or remove it"
        )
