"""Images in folders of their classes, `train/CLASS/000012.png`, with metadata.jsonl, as ImageFolder and `datasets` read them."""

import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from ..atomic import PART_SUFFIX, atomic_write, replace
from .contents import Contents, Shard
from .format import HIDDEN, Format
from .names import folder_names

SPLIT = "train"
TOKEN = secrets.token_hex(4)  # two processes may write one file: each has a temporary name of its own


def _check() -> None:
    """Nothing but PIL is needed."""


def _marker(contents: Contents, shard: Shard) -> str:
    return f"{HIDDEN}/shards/{shard.number:05d}"


def _files(contents: Contents, rows: Sequence[int]) -> list[str]:
    """The files of some rows, below `train/`."""
    if contents.targets is None:
        return [f"{row:06d}.png" for row in rows]
    names = folder_names(contents.classes)
    return [f"{names[contents.targets[row]]}/{row:06d}.png" for row in rows]


def _write(folder: Path, contents: Contents, shard: Shard, pngs: Sequence[bytes]) -> None:
    files = _files(contents, range(shard.start, shard.stop))
    for parent in {os.path.dirname(file) for file in files}:
        (folder / SPLIT / parent).mkdir(parents=True, exist_ok=True)
    for file, content in zip(files, pngs, strict=True):
        parent, name = os.path.split(file)
        path = os.path.join(folder, SPLIT, file)
        part = os.path.join(folder, SPLIT, parent, f".{name}.{os.getpid()}{TOKEN}{PART_SUFFIX}")
        try:
            with open(part, "wb") as opened:
                opened.write(content)
            replace(part, path)
        except OSError as error:
            error.filename = path
            raise
    marker = folder / _marker(contents, shard)
    marker.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(marker, b"")


def _read(folder: Path, contents: Contents, rows: Sequence[int]) -> list[bytes]:
    return [(folder / SPLIT / file).read_bytes() for file in _files(contents, rows)]


def _finish(folder: Path, contents: Contents) -> None:
    def line(row: int, file: str) -> str:
        label = {} if contents.targets is None else {"label": contents.label(row)}
        return json.dumps({"file_name": file} | label | contents.provenance(row)) + "\n"

    text = "".join(line(row, file) for row, file in enumerate(_files(contents, range(len(contents)))))
    atomic_write(folder / SPLIT / "metadata.jsonl", text.encode())


def _reading(path: str, contents: Contents) -> str:
    code = f'import datasets\n\nimages = datasets.load_dataset("imagefolder", data_dir={json.dumps(path)}, split="{SPLIT}")'
    if contents.targets is None:
        return code
    code += '\nimages = images.class_encode_column("label")  # names of classes -> numbers'
    return f"{code}\n\nimport torchvision\n\nimages = torchvision.datasets.ImageFolder({json.dumps(f'{path}/{SPLIT}')})"


IMAGE_FOLDER = Format(_check, _marker, _write, _read, _finish, _reading)
