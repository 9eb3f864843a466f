"""Data sets of the Hugging Face Hub, or folders in its format, read with the library `datasets`."""

from pathlib import Path
from typing import Any

from vae_augment.images import files as image_files


def open_dataset(name: str) -> tuple[Any, str, str | None]:
    """Return a data set's training split, the name of its image column, and that of its label column or None.

    Args:
        name: Hub id, a folder that `Dataset.save_to_disk` wrote, or one that `load_dataset` reads (parquet files, images).

    Raises:
        ValueError: `datasets` is not installed, or the data set has no column of images.
        OSError: the data set is not here and cannot be downloaded.
    """
    try:
        import datasets
    except ImportError:
        raise ValueError("hf: data sets need the library datasets: pip install 'vae-augment[hf]'") from None
    try:
        is_saved = any((Path(name) / file).is_file() for file in ("dataset_info.json", "dataset_dict.json"))
        dataset = datasets.load_from_disk(name) if is_saved else datasets.load_dataset(name)
    except (datasets.exceptions.DatasetsError, ConnectionError) as error:
        raise FileNotFoundError(f"no data set {name!r}, here or on the Hugging Face Hub: {error}") from None
    if isinstance(dataset, datasets.DatasetDict):
        dataset = dataset["train"] if "train" in dataset else next(iter(dataset.values()))
    images = [column for column, feature in dataset.features.items() if isinstance(feature, datasets.Image)]
    if not images:
        raise ValueError(f"{name!r} has no column of images, only {', '.join(dataset.features)}")
    labels = [column for column, feature in dataset.features.items() if isinstance(feature, datasets.ClassLabel)]
    return dataset, images[0], labels[0] if labels else None


def detect_channels(dataset: Any, column: str) -> int:
    """Return 1 if the images are grey, else 3; at most 200 of them, spread over all, are read."""
    indices = range(0, len(dataset), len(dataset) // image_files.CHANNEL_CHECK_IMAGES + 1)
    return 1 if all(dataset[i][column].mode in image_files.GREY_MODES for i in indices) else 3
