"""Data sets of the Hugging Face Hub, or folders in its format, read with the library `datasets`."""

import io
import tarfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL.Image import Image

from . import decode

HELD_OUT_SPLITS = ("test", "validation")


def open_dataset(name: str, *, test: bool = False) -> tuple[Any, str, str | None]:
    """Return a data set's training split, or its test split, the name of its image column, and that of its label column or None.

    Args:
        name: Hub id, a folder that `Dataset.save_to_disk` wrote, or one that `load_dataset` reads (parquet files, images).
        test: the split "test", or "validation".

    Raises:
        ValueError: `datasets` is not installed, or the data set has no column of images, or no such split.
        OSError: the data set is not here and cannot be downloaded.
    """
    try:
        import datasets
    except ImportError as error:
        raise ValueError(f"hf: data sets need the library datasets: pip install 'vae-augment[hf]' ({error})") from None
    try:
        is_saved = any((Path(name) / file).is_file() for file in ("dataset_info.json", "dataset_dict.json"))
        dataset = datasets.load_from_disk(name) if is_saved else datasets.load_dataset(name)
    except (datasets.exceptions.DatasetsError, ConnectionError) as error:
        raise FileNotFoundError(f"no data set {name!r}, here or on the Hugging Face Hub: {error}") from None
    if isinstance(dataset, datasets.DatasetDict):
        wanted = [split for split in (HELD_OUT_SPLITS if test else ("train", *dataset)) if split in dataset]
        if not wanted:
            raise ValueError(f"{name!r} has no split {' or '.join(HELD_OUT_SPLITS)}, only {', '.join(dataset)}")
        dataset = dataset[wanted[0]]
    elif test:
        raise ValueError(f"{name!r} has one split, and none that is held out: name the folder of that one")
    images = [column for column, feature in dataset.features.items() if isinstance(feature, datasets.Image)]
    if not images:
        raise _no_images(name, dataset.features)
    labels = [column for column, feature in dataset.features.items() if isinstance(feature, datasets.ClassLabel)]
    return dataset, images[0], labels[0] if labels else None


def open_shards(kind: str, paths: Sequence[Path]) -> tuple[Any, str]:
    """Return the data set in shards of a kind that `load_dataset` reads, "parquet" or "webdataset", and its image column.

    Raises:
        ValueError: `datasets` is not installed, or there is no column of images.
        OSError: a file is damaged.
    """
    try:
        import datasets
    except ImportError as error:
        needed = f"{kind} files are read by the library datasets: pip install 'vae-augment[hf]' ({error})"
        raise ValueError(needed) from None
    try:
        dataset = datasets.load_dataset(kind, data_files=[str(path) for path in paths], split="train")
    except (datasets.exceptions.DatasetsError, ValueError, tarfile.TarError) as error:
        raise FileNotFoundError(f"{paths[0]} and others are no {kind} files that can be read: {error}") from None
    images = [column for column, feature in dataset.features.items() if isinstance(feature, datasets.Image)]
    if not images:
        raise _no_images(str(paths[0].parent), dataset.features)
    return dataset, images[0]


def row_opener(dataset: Any, column: str) -> Callable[[int], Image]:
    """Return the function that opens the image of a row, as the files of a folder are opened: of the same formats only."""
    import datasets

    encoded = dataset.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    return partial(_open_row, encoded, column)  # which is sent to workers, as no function within this one is


def _open_row(encoded: Any, column: str, row: int) -> Image:
    import fsspec  # comes with datasets

    value = encoded[row][column]
    if value is None or (value["bytes"] is None and value["path"] is None):
        raise ValueError("it holds no image")
    if value["bytes"] is not None:
        image = decode.open_image(io.BytesIO(value["bytes"]))
    elif Path(value["path"]).is_file():
        image = decode.open_image(Path(value["path"]))
    else:
        with fsspec.open(value["path"], "rb") as file:
            image = decode.open_image(io.BytesIO(file.read()))
    if image.width * image.height <= decode.REDUCED_PIXELS:
        image.load()  # a JPEG too, at its whole size, as the library does
    return image


def _no_images(name: str, features: Mapping[str, Any]) -> ValueError:
    """Return the error that a data set has no column with one image a row."""
    import datasets

    for column, feature in features.items():
        inner = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", None)
        if isinstance(inner, datasets.Image):
            return ValueError(
                f"{name!r} has lists of images in its column {column!r}, and no column with one image a row: save a data set "
                "with one of them in each row, and name that"
            )
    return ValueError(f"{name!r} has no column of images, only {', '.join(features)}")
