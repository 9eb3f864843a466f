"""Data sets, held as one uint8 tensor: for small images 91 times cheaper than a DataLoader."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision import datasets

from vae_augment.demo_data import fashion_sample
from vae_augment.images import files as image_files
from vae_augment.images import to_model

from . import hugging_face

ROOT_VARIABLE = "VAE_AUGMENT_DATA"
OF_ONES_OWN = ("folder:", "hf:")  # any images at any size
TORCHVISION = {"mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST}


@dataclass(frozen=True)
class Data:
    """uint8 images `(N, C, S, S)`. Training sees `train` without labels; `test` and `test_labels` are only measured."""

    name: str
    train: Tensor
    test: Tensor
    test_labels: Tensor | None = None

    def pool(self) -> dict[str, str | int]:
        """What the model card says of the images trained on."""
        return {"name": self.name, "images": len(self.train), "sha256": self.sha256}

    @cached_property
    def sha256(self) -> str:
        """Of the pixels trained on."""
        return hashlib.sha256(self.train.contiguous().numpy().data).hexdigest()


def load(name: str, channels: int, size: int, root: str | None = None) -> Data:
    """The data set of a recipe, at the model's channels and size.

    Args:
        name: see `Recipe.data`.
        root: where torchvision's data sets lie or are downloaded to; default $VAE_AUGMENT_DATA, else
            ~/.cache/vae-augment.

    Raises:
        FileNotFoundError: naming what is missing and how to get it.
        ValueError: an unknown name.
    """
    check_name(name)
    if name in TORCHVISION:
        return _resized(_torchvision(name, root_folder(root)), channels, size)
    if name == "sample":
        images, labels = fashion_sample()
        data = Data("Fashion-MNIST training images, shipped sample", images, images, labels)
        return _hold_out(_resized(data, channels, size))
    if name.startswith("folder:"):
        return _folder(_path(name), channels, size, root_folder(root))
    return _hugging_face(_after_colon(name), channels, size, root_folder(root))


def check_name(name: str) -> None:
    """Raises ValueError if no data set has this name."""
    if name in TORCHVISION or name == "sample" or name.startswith(OF_ONES_OWN):
        return
    meant = f". For the folder of that name write folder:{name}" if Path(name).expanduser().is_dir() else ""
    raise ValueError(
        f"unknown data set {name!r}: choose one of {', '.join(TORCHVISION)}, sample, folder:PATH, or hf:NAME{meant}"
    )


def channels_of(name: str) -> int:
    """1 or 3: the channels that the images of `folder:PATH` or `hf:NAME` have."""
    if name.startswith("folder:"):
        return image_files.detect_channels(image_files.find_images(_path(name), skip_folders_with="training.yaml"))
    dataset, column, _ = hugging_face.open_dataset(_after_colon(name))
    return hugging_face.channels_of(dataset, column)


def short_name(name: str) -> str:
    """The last part of the PATH or NAME of images of one's own, `..` resolved; empty for others."""
    return os.path.basename(os.path.abspath(_path(name))) if name.startswith(OF_ONES_OWN) else ""


def _path(name: str) -> Path:
    return Path(_after_colon(name)).expanduser()


def _after_colon(name: str) -> str:
    rest = name.partition(":")[2]
    if not rest:
        raise ValueError(f"{name} names no images: write folder:PATH or hf:NAME, folder:. for the current folder")
    return rest


def _resized(data: Data, channels: int, size: int) -> Data:
    """The images at the model's channels and size."""
    if data.train.shape[1:] == (channels, size, size):
        return data
    train, test = (_to_uint8(to_model(part, channels, size)[0]) for part in (data.train, data.test))
    return Data(data.name, train, test, data.test_labels)


def _to_uint8(x: Tensor) -> Tensor:
    return (x * 255).round().to(torch.uint8)


def root_folder(root: str | None) -> Path:
    """Where torchvision's data sets lie: the flag, else $VAE_AUGMENT_DATA, else ~/.cache/vae-augment."""
    return Path(root or os.environ.get(ROOT_VARIABLE) or "~/.cache/vae-augment").expanduser()


def _torchvision(name: str, root: Path) -> Data:
    train, test = (_downloaded(name, root, part) for part in (True, False))
    title = f"{type(train).__name__} training images"
    return Data(title, train.data[:, None], test.data[:, None], test.targets)


def _downloaded(name: str, root: Path, train: bool) -> datasets.MNIST:
    try:
        return TORCHVISION[name](str(root), train=train)
    except RuntimeError:  # not there yet
        pass
    try:
        return TORCHVISION[name](str(root), train=train, download=True)
    except (OSError, RuntimeError) as error:
        kind = TORCHVISION[name].__name__
        raise FileNotFoundError(
            f"{kind} is not under {root} and could not be downloaded ({error}). On a machine with network run "
            f"`python -c \"import torchvision; torchvision.datasets.{kind}('DIR', download=True)\"`, then pass --root DIR "
            f"or set {ROOT_VARIABLE}=DIR; `python -m train sample` needs no download"
        ) from None


def _folder(path: Path, channels: int, size: int, scratch: Path) -> Data:
    files = image_files.find_images(path, skip_folders_with="training.yaml")
    labels, test = image_files.labels_and_held_out(files, path)
    title = f"{'training ' if test else ''}images of {os.path.basename(os.path.abspath(path))}"
    held_out = [test[i] for i in _in_random_order(len(test))] or _held_out(len(files))
    return _parted(title, files, labels, held_out, Image.open, channels, size, scratch)


def _hugging_face(name: str, channels: int, size: int, scratch: Path) -> Data:
    dataset, column, labels = hugging_face.open_dataset(name)
    names = [None] * len(dataset) if labels is None else [str(label) for label in dataset[labels]]
    rows = range(len(dataset))
    # the title is published, the folders of this machine are not
    title = f"images of {short_name(f'hf:{name}')}" if Path(name).exists() else name
    return _parted(title, rows, names, _held_out(len(rows)), lambda row: dataset[row][column], channels, size, scratch)


def _parted(
    title: str,
    sources: Sequence[Any],
    names: Sequence[str | None],
    held_out: Sequence[int],
    open_image: Callable[[Any], Image.Image],
    channels: int,
    size: int,
    scratch: Path,
) -> Data:
    """The images, those of `held_out` in its order for measuring only; `names` are their labels, or None."""
    used = sorted(set(range(len(sources))).difference(held_out))
    train, _, broken = image_files.read_images([sources[i] for i in used], open_image, channels, size, scratch)
    test, kept, too = image_files.read_images([sources[i] for i in held_out], open_image, channels, size, scratch)
    image_files.report_unreadable(broken + too, len(sources))
    if not kept:
        raise ValueError(f"{title}: none of the images held out to measure on can be read: mend them or add others")
    return Data(title, train, test, _labels([names[held_out[i]] for i in kept]))


def _labels(names: list[str | None]) -> Tensor | None:
    """Class numbers; None where not every image has a class, or all have the same."""
    known = sorted({name for name in names if name is not None})
    if None in names or len(known) < 2:
        return None
    return torch.tensor([known.index(str(name)) for name in names])


def _hold_out(data: Data) -> Data:
    held_out = _held_out(len(data.train))
    used = torch.ones(len(data.train), dtype=torch.bool).index_fill(0, torch.tensor(held_out), False)
    labels = None if data.test_labels is None else data.test_labels[held_out]
    return Data(data.name, data.train[used], data.test[held_out], labels)


def _held_out(count: int) -> list[int]:
    """A tenth of the images, drawn at random but always the same, is for measuring only."""
    return _in_random_order(count)[: (count + 9) // 10]


def _in_random_order(count: int) -> list[int]:
    order: list[int] = torch.randperm(count, generator=torch.Generator().manual_seed(0)).argsort().tolist()
    return order
