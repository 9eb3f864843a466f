"""Format: what a way of writing has to say; files are written whole, and are there once they are."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from .contents import Contents, Shard

HIDDEN = ".vae-augment"  # folder of what is no sample; readers of data sets pass hidden ones over


class Format(NamedTuple):
    """A way to write shards.

    Args:
        check: raises ValueError if a library is missing.
        marker: file of the folder that is there once a shard is whole.
        write: PNG files of a shard, in the order of its rows.
        read: PNG files of some rows, as they were written.
        finish: writes what is of all shards.
        reading: Python code that reads the folder at this path.
    """

    check: Callable[[], None]
    marker: Callable[[Contents, Shard], str]
    write: Callable[[Path, Contents, Shard, Sequence[bytes]], None]
    read: Callable[[Path, Contents, Sequence[int]], list[bytes]]
    finish: Callable[[Path, Contents], None]
    reading: Callable[[str, Contents], str]


def shard_file(contents: Contents, shard: Shard, suffix: str) -> str:
    """Path of a shard in the Hub's form, `data/train-00000-of-00012.parquet`."""
    return f"data/train-{shard.number:05d}-of-{len(contents.shards):05d}{suffix}"


def by_shard(contents: Contents, rows: Sequence[int]) -> list[tuple[Shard, list[int]]]:
    """Some rows, sorted by the shards that hold them."""
    found = [(shard, [row for row in rows if shard.start <= row < shard.stop]) for shard in contents.shards]
    return [(shard, own) for shard, own in found if own]


def no_finish(folder: Path, contents: Contents) -> None:
    """Shards are all there is."""
