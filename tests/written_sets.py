"""Written data sets: what they hold, and a source whose labels are whatever a test wants."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.transforms import v2

FORMATS = ("imagefolder", "parquet", "webdataset")


class Garments(torch.utils.data.Dataset[Any]):
    """Pairs of an image and a label, as a user's data set has them, with a transform."""

    def __init__(self, pairs: list[Any]) -> None:
        self.pairs, self.transform = pairs, v2.Resize(9)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Any:
        return self.transform(self.pairs[index][0]), self.pairs[index][1]


def metadata(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "train" / "metadata.jsonl").read_text().splitlines()]


def new_by_class(folder: Path) -> Counter[str]:
    return Counter(row["label"] for row in metadata(folder) if row["synthetic"])


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def load(*names: Any, cache: Path, **options: Any) -> Any:
    """The training split of a data set, as `datasets` reads it."""
    datasets = pytest.importorskip("datasets")
    datasets.config.HF_HUB_OFFLINE = True
    datasets.disable_progress_bars()
    return datasets.load_dataset(*map(str, names), split="train", cache_dir=str(cache), **options)
