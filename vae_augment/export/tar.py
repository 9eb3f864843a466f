"""Tar files of the form WebDataset, `.png`, `.cls` and `.json` for each sample, read in sequence, also over a network."""

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..atomic import atomic_write
from .contents import Contents, Shard
from .format import Format, by_shard, no_finish, shard_file


def _check() -> None:
    try:
        import webdataset  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"webdataset needs the library webdataset: pip install 'vae-augment[write]' ({error})"
        ) from None


def _marker(contents: Contents, shard: Shard) -> str:
    return shard_file(contents, shard, ".tar")


def _write(folder: Path, contents: Contents, shard: Shard, pngs: Sequence[bytes]) -> None:
    from webdataset import TarWriter

    file = io.BytesIO()
    with TarWriter(file, mtime=0) as writer:  # no time of writing: the same bytes each time
        for row, png in zip(range(shard.start, shard.stop), pngs, strict=True):
            writer.write(_sample(contents, row, png))
    path = folder / _marker(contents, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, file.getvalue())


def _sample(contents: Contents, row: int, png: bytes) -> dict[str, Any]:
    sample: dict[str, Any] = {"__key__": f"{row:06d}", "png": png, "json": contents.provenance(row)}
    if contents.targets is not None:
        sample["cls"] = int(contents.targets[row])
        sample["json"] = {"label": contents.label(row)} | sample["json"]
    return sample


def _read(folder: Path, contents: Contents, rows: Sequence[int]) -> list[bytes]:
    found: dict[int, bytes] = {}
    for shard, own in by_shard(contents, rows):
        with tarfile.open(folder / _marker(contents, shard)) as archive:
            for row in own:
                member = archive.extractfile(f"{row:06d}.png")
                assert member is not None
                found[row] = member.read()
    return [found[row] for row in rows]


def _reading(path: str, contents: Contents) -> str:
    last = len(contents.shards) - 1
    files = f"{path}/data/train-{{00000..{last:05d}}}-of-{last + 1:05d}.tar"
    label = "" if contents.targets is None else ', "cls"'
    return (
        "import webdataset\n\n"
        f"images = webdataset.WebDataset({json.dumps(files)}, shardshuffle=False)\n"
        f'images = images.decode("pil").to_tuple("png"{label}, "json")'
    )


TAR = Format(_check, _marker, _write, _read, no_finish, _reading)
