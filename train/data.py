"""Data sets, each held as one uint8 tensor: for small images, a DataLoader costs far more than training on them."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import PIL.Image
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset
from torchvision import datasets

from vae_augment.demo_data import fashion_sample
from vae_augment.images import Look, decode, hugging_face, look_at, to_model
from vae_augment.images import files as image_files
from vae_augment.source import ROOT_VARIABLE

from . import arrays, paths
from .recipes import RECIPE_FILE

OWN_IMAGES = ("folder:", "array:", "hf:")  # prefixes of data sets with any images, of any size
# classes with `data`, pixels (N, H, W) or (N, H, W, C), and `targets`, class numbers: also CIFAR100, KMNIST
TORCHVISION: dict[str, type[Any]] = {
    "mnist": datasets.MNIST,
    "fashion-mnist": datasets.FashionMNIST,
    "cifar10": datasets.CIFAR10,
}
# classes of image files in splits, opened one by one: splits to train on, and the one that is held out
TORCHVISION_FILES: dict[str, tuple[type[Any], tuple[str, ...], str]] = {
    "flowers": (datasets.Flowers102, ("train", "val"), "test"),
}


@dataclass(frozen=True)
class Data:
    """Images of a run. It trains on `train`, without labels; `test` and `test_labels` are only measured.

    Args:
        name: what the model card calls the images trained on.
        train, test: uint8 `(N, C, S, S)`.
        test_labels: class numbers `(N,)`, or None.
    """

    name: str
    train: Tensor
    test: Tensor
    test_labels: Tensor | None = None

    def provenance(self) -> dict[str, str | int]:
        """Return what the model card says of the images trained on: name, count, and sha256 of the pixels."""
        return {"name": self.name, "images": len(self.train), "sha256": self.sha256}

    @cached_property
    def sha256(self) -> str:
        """Hash of the pixels trained on."""
        return hashlib.sha256(self.train.contiguous().numpy().data).hexdigest()


def load(name: str, channels: int, size: int, root: str | None = None) -> Data:
    """Load the data set of a recipe, at the model's channels and size.

    Args:
        name: see `Recipe.data`.
        channels, size: of the model.
        root: where torchvision's data sets are, or are downloaded to; default $VAE_AUGMENT_DATA, else
            ~/.cache/vae-augment.

    Raises:
        FileNotFoundError: something is missing; the message says what, and how to get it.
        ValueError: there is no such data set, or its images cannot be read.
    """
    check_name(name)
    if name in TORCHVISION:
        return _resized(_torchvision(name, root_folder(root)), channels, size)
    if name in TORCHVISION_FILES:
        return _torchvision_files(name, channels, size, root_folder(root))
    if name == "sample":
        images, labels = fashion_sample()
        data = Data("Fashion-MNIST training images, shipped sample", images, images, labels)
        return _split(_resized(data, channels, size))
    if name.startswith("folder:"):
        return _folder(_path(name), channels, size, root_folder(root))
    if name.startswith("array:"):
        return _array(name, channels, size, root_folder(root))
    return _hugging_face(_hub_or_folder(name), channels, size, root_folder(root))


def check_name(name: str) -> None:
    """Raise ValueError if no data set has this name."""
    own = (*TORCHVISION, *TORCHVISION_FILES, "sample")
    if name in own or name.startswith(OWN_IMAGES):
        return
    hint = f". For the folder of that name write folder:{name}" if paths.expanded(name).is_dir() else ""
    raise ValueError(
        f"unknown data set {name!r}: choose one of {', '.join(own)}, folder:PATH, array:FILE, or hf:NAME{hint}"
    )


def detect_channels(name: str) -> int:
    """Return 1 if the images of `folder:PATH` or `hf:NAME` are grey, else 3; those of `array:FILE` have their own."""
    if name.startswith("array:"):
        return int(arrays.open_array(_path(name)).shape[1])
    if name.startswith("folder:"):
        return decode.detect_channels(_at_a_glance(name))
    dataset, column, _ = hugging_face.open_dataset(_hub_or_folder(name))
    return decode.detect_channels(range(len(dataset)), hugging_face.row_opener(dataset, column))


def look(name: str) -> Look:
    """Return what the images of `folder:PATH`, `array:FILE` or `hf:NAME` are like at a glance."""
    if name.startswith("array:"):
        return arrays.look_at_array(_path(name))
    if name.startswith("folder:"):
        return look_at(_at_a_glance(name))
    dataset, column, _ = hugging_face.open_dataset(_hub_or_folder(name))
    return look_at(range(len(dataset)), hugging_face.row_opener(dataset, column))


def short_name(name: str) -> str:
    """Return the last part of the PATH or NAME of images of one's own, `..` resolved; empty for other data sets."""
    last = paths.storable(os.path.basename(os.path.abspath(_path(name)))) if name.startswith(OWN_IMAGES) else ""
    return last.removesuffix(".npy") if name.startswith("array:") else last


def root_folder(root: str | None) -> Path:
    """Return where torchvision's data sets are: the flag, else $VAE_AUGMENT_DATA, else ~/.cache/vae-augment."""
    given = root or os.environ.get(ROOT_VARIABLE)
    return paths.expanded(given) if given else paths.cache_folder()


def _at_a_glance(name: str) -> list[Path]:
    """The images of `folder:PATH`, without a word on what is left out: whoever loads them is told."""
    return image_files.find_images(_path(name), skip_folders_with=RECIPE_FILE, tell=False)


def _path(name: str) -> Path:
    return paths.expanded(_after_colon(name))


def _hub_or_folder(name: str) -> str:
    """Return the NAME of hf:NAME, as a path if it is a folder's."""
    rest, path = _after_colon(name), _path(name)
    return str(path) if rest.startswith("~") or path.exists() else rest


def _after_colon(name: str) -> str:
    rest = name.partition(":")[2]
    if not rest:
        raise ValueError(
            f"{name} names no images: write folder:PATH, array:FILE or hf:NAME, folder:. for the current folder"
        )
    return rest


def _resized(data: Data, channels: int, size: int) -> Data:
    if data.train.shape[1:] == (channels, size, size):
        return data
    train, test = (_to_uint8(to_model(part, channels, size)[0]) for part in (data.train, data.test))
    return Data(data.name, train, test, data.test_labels)


def _to_uint8(x: Tensor) -> Tensor:
    return (x * 255).round().to(torch.uint8)


def _torchvision(name: str, root: Path) -> Data:
    train, test = (_downloaded(TORCHVISION[name], root, train=is_train) for is_train in (True, False))
    title = f"{type(train).__name__} training images"
    return Data(title, _channels_first(train.data), _channels_first(test.data), torch.as_tensor(test.targets))


def _channels_first(pixels: Any) -> Tensor:
    """Convert a tensor or ndarray `(N, H, W)` or `(N, H, W, C)` to a tensor `(N, C, H, W)`."""
    images: Tensor = torch.as_tensor(pixels)
    return images[:, None] if images.ndim == 3 else images.movedim(-1, 1).contiguous()


def _torchvision_files(name: str, channels: int, size: int, root: Path) -> Data:
    kind, train, test = TORCHVISION_FILES[name]
    splits = [_downloaded(kind, root, split=split) for split in (*train, test)]
    images: ConcatDataset[Any] = ConcatDataset(splits)
    labels = [str(label) for split in splits for label in split._labels]  # without opening an image
    held_out = range(len(images) - len(splits[-1]), len(images))

    title = f"{kind.__name__} training images"
    return _read_split(
        title, range(len(images)), labels, held_out, lambda i: images[i][0], channels, size, root, kind="image "
    )


def _downloaded(kind: type[Any], root: Path, **split: bool | str) -> Any:
    """The data set, downloaded if it is not there yet.

    Raises:
        FileNotFoundError: it cannot be, or a library that reads it is missing.
    """
    name = kind.__name__
    try:
        try:
            return kind(str(root), **split)
        except RuntimeError:  # not there yet
            return kind(str(root), **split, download=True)
    except ImportError as error:
        library = str(error.name).partition(".")[0]
        raise FileNotFoundError(
            f"torchvision's {name} is read with {library}, which is missing: pip install {library}"
        ) from None
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"{name} is not under {root} and could not be downloaded ({error}). On a machine with network run "
            f"`python -c \"import torchvision; torchvision.datasets.{name}('DIR', download=True)\"`, then pass --root DIR "
            f"or set {ROOT_VARIABLE}=DIR; `python -m train sample` needs no download"
        ) from None


def _folder(path: Path, channels: int, size: int, scratch: Path) -> Data:
    files = image_files.find_images(path, skip_folders_with=RECIPE_FILE)
    labels, test = image_files.labels_and_held_out(files, path)
    title = f"{'training ' if test else ''}images of {paths.storable(os.path.basename(os.path.abspath(path)))}"
    held_out = [test[i] for i in _fixed_permutation(len(test))] or _held_out_tenth(len(files))
    return _read_split(title, files, labels, held_out, decode.open_image, channels, size, scratch)


def _array(name: str, channels: int, size: int, scratch: Path) -> Data:
    images = arrays.read_array(_path(name), channels, size, scratch)
    return _split(Data(f"images of {short_name(name)}", images, images))


def _hugging_face(name: str, channels: int, size: int, scratch: Path) -> Data:
    dataset, column, label_column = hugging_face.open_dataset(name)
    rows = range(len(dataset))
    labels = [None] * len(rows) if label_column is None else [str(label) for label in dataset[label_column]]
    # the title is published; paths of this machine are not
    title = f"images of {short_name(f'hf:{name}')}" if Path(name).exists() else name
    held_out = _held_out_tenth(len(rows))
    open_row = hugging_face.row_opener(dataset, column)
    return _read_split(title, rows, labels, held_out, open_row, channels, size, scratch, kind="row ")


def _read_split(
    title: str,
    sources: Sequence[Any],
    labels: Sequence[str | None],
    held_out: Sequence[int],
    open_image: Callable[[Any], PIL.Image.Image],
    channels: int,
    size: int,
    scratch: Path,
    kind: str = "",
) -> Data:
    """Read images, and hold out those of these indices, in their order, with their labels."""
    used = sorted(set(range(len(sources))).difference(held_out))
    order = [*used, *held_out]
    images, kept, unreadable = decode.read_images(
        [sources[i] for i in order], open_image, channels, size, scratch, kind
    )
    decode.report_unreadable(unreadable, len(sources))
    kept_to_measure = [order[place] for place in kept if place >= len(used)]
    if not kept_to_measure:
        raise ValueError(f"{title}: none of the images held out to measure on can be read: mend them or add others")
    train, test = images.split([len(kept) - len(kept_to_measure), len(kept_to_measure)])
    return Data(title, train, test, _class_numbers([labels[i] for i in kept_to_measure]))


def _class_numbers(labels: list[str | None]) -> Tensor | None:
    """Number the classes; None if an image has no label, or all have the same."""
    classes = sorted({label for label in labels if label is not None})
    if None in labels or len(classes) < 2:
        return None
    return torch.tensor([classes.index(str(label)) for label in labels])


def _split(data: Data) -> Data:
    """Hold out a tenth of the training images, in place of a test set."""
    held_out = _held_out_tenth(len(data.train))
    is_used = torch.ones(len(data.train), dtype=torch.bool).index_fill(0, torch.tensor(held_out), False)
    labels = None if data.test_labels is None else data.test_labels[held_out]
    return Data(data.name, data.train[is_used], data.test[held_out], labels)


def _held_out_tenth(count: int) -> list[int]:
    """Return the indices of a tenth of the images, random but always the same."""
    return _fixed_permutation(count)[: (count + 9) // 10]


def _fixed_permutation(count: int) -> list[int]:
    order: list[int] = torch.randperm(count, generator=torch.Generator().manual_seed(0)).argsort().tolist()
    return order
