"""Parquet files with images and classes, as `datasets.load_dataset` reads them: features are in the schema's metadata."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..atomic import atomic_write
from .contents import Contents, Shard
from .format import Format, by_shard, no_finish, shard_file

ROWS_PER_GROUP = 256  # of which a reader takes one at a time
KINDS = {bool: "bool", int: "int64", float: "float64", str: "string"}


def _check() -> None:
    try:
        import datasets  # noqa: F401
    except ImportError as error:
        raise ValueError(f"parquet needs the library datasets: pip install 'vae-augment[write]' ({error})") from None


def _marker(contents: Contents, shard: Shard) -> str:
    return shard_file(contents, shard, ".parquet")


def _features(contents: Contents) -> Any:
    import datasets

    columns: dict[str, Any] = {"image": datasets.Image()}
    if contents.targets is not None:
        columns["label"] = datasets.ClassLabel(names=list(contents.classes))
    kinds = {name: datasets.Value(KINDS[type(value)]) for name, value in contents.provenance(0).items()}
    return datasets.Features(columns | kinds)


def _write(folder: Path, contents: Contents, shard: Shard, pngs: Sequence[bytes]) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = range(shard.start, shard.stop)
    known = [contents.provenance(row) for row in rows]
    columns: dict[str, Any] = {
        "image": [{"bytes": png, "path": f"{row:06d}.png"} for row, png in zip(rows, pngs, strict=True)]
    }
    if contents.targets is not None:
        columns["label"] = contents.targets[shard.start : shard.stop]
    columns |= {name: [each[name] for each in known] for name in known[0]}
    table = pyarrow.table(columns, schema=_features(contents).arrow_schema)
    file = io.BytesIO()
    parquet.write_table(table, file, row_group_size=ROWS_PER_GROUP)
    path = folder / _marker(contents, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, file.getvalue())


def _read(folder: Path, contents: Contents, rows: Sequence[int]) -> list[bytes]:
    from pyarrow import parquet

    found: dict[int, bytes] = {}
    for shard, own in by_shard(contents, rows):
        images = parquet.read_table(folder / _marker(contents, shard), columns=["image"])["image"]
        found |= {row: images[row - shard.start]["bytes"].as_py() for row in own}
    return [found[row] for row in rows]


def _reading(path: str, contents: Contents) -> str:
    return f'import datasets\n\nimages = datasets.load_dataset({json.dumps(path)}, split="train")'


PARQUET = Format(_check, _marker, _write, _read, no_finish, _reading)
