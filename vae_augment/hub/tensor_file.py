"""Reading safetensors files of strangers: all that the header asks for is judged before any of it is allocated.

They are read, not mapped: a mapped file that is cut off while it is used ends the process. The format:
https://github.com/huggingface/safetensors#format.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from .printable import shown
from .reading import open_regular
from .weights import WeightsError

MAX_HEADER_BYTES = 1_000_000
MAX_DIMS = 8  # of a tensor
DTYPES = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
}


@dataclass(frozen=True)
class TensorInfo:
    """A tensor that a header announces; begin and end: its bytes in the data after the header."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """A header: texts, and tensors in the order of their bytes."""

    texts: Mapping[str, str]
    tensors: Mapping[str, TensorInfo]


class TensorFile:
    """An open safetensors file whose header was read, and nothing more of it; see `open_tensors`."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        length = int.from_bytes(start := file.read(min(size, 8)), "little")
        if size < 8 or length > MAX_HEADER_BYTES:
            raise _damaged(path, f"a header of {length} bytes in a file of {size}")
        text = file.read(min(length, size - 8))
        self._path, self._file, self._digest = path, file, hashlib.sha256(start + text)
        self.header = _parse_header(path, text, size - 8 - length)

    def read(self) -> tuple[dict[str, Tensor], str]:
        """Read the tensors, each into memory of its own, and the file's sha256."""
        tensors = {}
        for name, info in self.header.tensors.items():
            content = torch.empty(info.end - info.begin, dtype=torch.uint8, device="cpu")
            view = content.numpy().data
            if self._file.readinto(view) != len(content):  # type: ignore[attr-defined]  # buffered files have it
                raise _damaged(self._path, "it became shorter while it was read")
            self._digest.update(view)
            tensors[name] = content.view(info.dtype).view(info.shape)
        return tensors, self._digest.hexdigest()


@contextmanager
def open_tensors(path: Path) -> Iterator[TensorFile]:
    """Open a file to judge its header, and to read its tensors then.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it is damaged.
    """
    with open_regular(path) as (file, size):
        yield TensorFile(path, file, size)


def _parse_header(path: Path, text: bytes, data_bytes: int) -> Header:
    """Parse the header of a file with so many bytes of data after it, which its tensors must fill without a gap."""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise _damaged(path, "its header is not JSON") from None
    if not isinstance(header, dict):
        raise _damaged(path, "its header is no JSON object")
    texts = header.pop("__metadata__", {})
    if not (isinstance(texts, dict) and all(type(value) is str for value in texts.values())):
        raise _damaged(path, "its header holds other metadata than strings")
    tensors = {name: _tensor_info(path, name, entry) for name, entry in header.items()}
    ordered = sorted(tensors.items(), key=lambda item: item[1].begin)
    end = 0
    for name, info in ordered:
        if info.begin != end:
            raise _damaged(path, f"the bytes of {name} begin at {info.begin}, and not at {end}")
        end = info.end
    if end != data_bytes:
        raise _damaged(path, f"its tensors have {end} bytes, and {data_bytes} are there")
    return Header(texts, dict(ordered))


def _tensor_info(path: Path, name: str, entry: Any) -> TensorInfo:
    if not (isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"}):
        raise _damaged(path, f"its header does not describe {name}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise WeightsError(f"{path}: {name} must be finite floats of 16 or 32 bits, or integers, got {shown(dtype)}")
    numbers = [*shape, *offsets] if isinstance(shape, list) and isinstance(offsets, list) else [None]
    if not all(type(number) is int and number >= 0 for number in numbers) or len(offsets) != 2:
        raise _damaged(path, f"its header gives no shape and place of {name}")
    if len(shape) > MAX_DIMS or 0 in shape:
        raise _damaged(path, f"{name} has shape {shown(shape)}")
    if offsets[1] - offsets[0] != math.prod(shape) * DTYPES[dtype].itemsize:
        raise _damaged(path, f"{name} of shape {shown(shape)} does not fit its bytes")
    return TensorInfo(DTYPES[dtype], tuple(shape), *offsets)


def _damaged(path: Path, fault: str) -> WeightsError:
    return WeightsError(f"{path} is not a safetensors file of this program, or is cut off: {fault}. Get it again")
