"""Data sets of the Hugging Face Hub, or folders in its format, through the library `datasets`."""

from pathlib import Path
from typing import Any

from vae_augment.images import files as image_files


def open_dataset(name: str) -> tuple[Any, str, str | None]:
    """A data set's training part, the name of its image column and of its label column, or None.

    Args:
        name: Hub id, a folder that `Dataset.save_to_disk` wrote, or one that `load_dataset` reads (parquet files, images).

    Raises:
        ValueError: `datasets` is not installed, or there is no column of images.
        OSError: it is neither here nor can it be fetched.
    """
    try:
        import datasets
    except ImportError:
        raise ValueError("hf: data sets need the library datasets: pip install 'vae-augment[hf]'") from None
    try:
        saved = any((Path(name) / file).is_file() for file in ("dataset_info.json", "dataset_dict.json"))
        found = datasets.load_from_disk(name) if saved else datasets.load_dataset(name)
    except (datasets.exceptions.DatasetsError, ConnectionError) as error:
        raise FileNotFoundError(f"no data set {name!r}, here or on the Hugging Face Hub: {error}") from None
    if isinstance(found, datasets.DatasetDict):
        found = found["train"] if "train" in found else next(iter(found.values()))
    images = [column for column, kind in found.features.items() if isinstance(kind, datasets.Image)]
    if not images:
        raise ValueError(f"{name!r} has no column of images, only {', '.join(found.features)}")
    labels = [column for column, kind in found.features.items() if isinstance(kind, datasets.ClassLabel)]
    return found, images[0], labels[0] if labels else None


def channels_of(dataset: Any, column: str, most: int = 200) -> int:
    """1 if the images are grey, judged by at most 200 of them spread over all, else 3."""
    some = range(0, len(dataset), len(dataset) // most + 1)
    return 1 if all(dataset[i][column].mode in image_files.GREY_MODES for i in some) else 3
