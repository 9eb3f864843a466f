"""Labelled images by the name that a user types: a folder of classes, a data set of torchvision or of the Hugging Face Hub."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import torchvision
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as F

from .demo_data import FASHION_CLASSES, fashion_sample
from .images import as_seen, decode, files, hugging_face

ROOT_VARIABLE = "VAE_AUGMENT_DATA"
SAMPLE = "sample"


class LabelledImages(Dataset[tuple[Image, int]]):
    """Images that are read one by one, with their classes: samples `(PIL image, class number)`, images as they are to be seen.

    Args:
        name: what a data card may call them: no path of this machine.
        opened: opens the image of an index.
        targets: class number of each image.
        classes: their names.
    """

    def __init__(
        self, name: str, opened: Callable[[int], Image], targets: Sequence[int], classes: Sequence[str]
    ) -> None:
        self.name, self._opened, self.targets, self.classes = name, opened, list(targets), list(classes)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image, int]:
        return as_seen(self._opened(range(len(self))[index])), self.targets[index]

    @classmethod
    def named(cls, name: str, labels: Sequence[str | None], opened: Callable[[int], Image]) -> Self:
        """Images whose labels are names, classes in the order of these.

        Raises:
            ValueError: an image has no label.
        """
        if None in labels:
            raise ValueError(
                f"{name}: {labels.count(None)} images have no class: put each into a folder of its class, and those without "
                "labels elsewhere; or name the folder that holds the folders of classes"
            )
        classes = sorted({str(label) for label in labels})
        numbers = {label: number for number, label in enumerate(classes)}
        return cls(name, opened, [numbers[str(label)] for label in labels], classes)


def open_source(source: str, root: str | os.PathLike[str] | None = None, *, test: bool = False) -> LabelledImages:
    """Open labelled images by their name.

    Args:
        source: a folder with one folder of images a class, also below train/ and test/, `DIR` or `folder:DIR`; a class of
            torchvision.datasets, `FashionMNIST`; `hf:NAME`, a data set of the Hugging Face Hub or a folder in its format; or
            `sample`, the 500 images of Fashion-MNIST that come with the package.
        root: where torchvision's data sets are; None: $VAE_AUGMENT_DATA, else ~/.cache/vae-augment. Nothing is downloaded.
        test: the images that are held out, where the source has such; False: those to train on.

    Raises:
        FileNotFoundError: there is no such folder or data set.
        ValueError: it has no labelled images; or none that are held out.

    Example:
        >>> images = open_source("sample")
        >>> len(images), images[0][0].size, images.classes[images[0][1]]
        (500, (28, 28), 'T-shirt')
    """
    if source == SAMPLE:
        return _sample(test)
    if source.startswith("hf:"):
        return _hugging_face(source.removeprefix("hf:"), test)
    folder = Path(os.path.expanduser(source.removeprefix("folder:")))  # ~ stays where no home folder is known
    if source.startswith("folder:") or folder.is_dir():
        return _folder(folder, test)
    if isinstance(getattr(torchvision.datasets, source, None), type):
        given = root or os.environ.get(ROOT_VARIABLE) or "~/.cache/vae-augment"
        return _torchvision(source, Path(os.path.expanduser(given)), test)
    raise FileNotFoundError(
        f"there is no data set {source!r}: write a folder with one folder of images a class, a name of torchvision.datasets as "
        "FashionMNIST, hf:NAME for one of the Hugging Face Hub, or sample"
    )


SHARDS = {".parquet": "parquet", ".tar": "webdataset"}  # ends of names, and what `datasets` calls such files


class Images(Dataset[Image]):
    """Images that are read one by one, as they are to be seen, whatever their labels.

    Args:
        name: what a card may call them: no path of this machine.
        count: how many there are.
        opened: opens the image of an index.
    """

    def __init__(self, name: str, count: int, opened: Callable[[int], Image]) -> None:
        self.name, self._count, self._opened = name, count, opened

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Image:
        return as_seen(self._opened(range(self._count)[index]))


def open_images(source: str, root: str | os.PathLike[str] | None = None) -> Images:
    """Open images, labelled or not, by their name: those to train on, where the source has others.

    Args:
        source: as of `open_source`; also a folder of images in any folders, or of parquet files or webdataset tars, or one such
            file (`pip install 'vae-augment[hf]'`).
        root: as of `open_source`.

    Raises:
        FileNotFoundError: there is no such folder, file or data set.
        ValueError: it has no images; a library is missing.

    Example:
        >>> images = open_images("sample")
        >>> len(images), images[0].size
        (500, (28, 28))
    """
    if source.startswith("hf:"):
        name = source.removeprefix("hf:")
        dataset, column, _ = hugging_face.open_dataset(name)
        return Images(_title(name), len(dataset), hugging_face.row_opener(dataset, column))
    path = Path(os.path.expanduser(source.removeprefix("folder:")))
    if path.is_dir() or source.startswith("folder:") or path.suffix in SHARDS:
        return _shards(path) or _any_folder(path)
    labelled = open_source(source, root)
    return Images(labelled.name, len(labelled), partial(_image_of, labelled))


def _shards(path: Path) -> Images | None:
    """The images in a parquet file or a tar, or in those of a folder; None of other folders."""
    for suffix, kind in SHARDS.items():
        shards = sorted(path.rglob(f"*{suffix}")) if path.is_dir() else [path] if path.suffix == suffix else []
        if shards:
            if not shards[0].is_file():
                raise FileNotFoundError(f"there is no file {shards[0]}: write a folder, or a file that is there")
            dataset, column = hugging_face.open_shards(kind, shards)
            return Images(_title(str(path)), len(dataset), hugging_face.row_opener(dataset, column))
    return None


def _any_folder(folder: Path) -> Images:
    found = files.find_images(folder)
    held_out = set(files.labels_and_held_out(found, folder)[1])
    chosen = [file for i, file in enumerate(found) if i not in held_out]
    return Images(_title(str(folder)), len(chosen), partial(open_whole, chosen))


def _title(name: str) -> str:
    """Of a path its last name."""
    return os.path.basename(os.path.abspath(name)) if Path(name).exists() else name


def _sample(test: bool) -> LabelledImages:
    if test:
        raise ValueError("sample has no images that are held out: name a data set that has")
    images, labels = fashion_sample()
    opened = partial(_picture, images)  # partial functions can be sent to workers
    return LabelledImages("Fashion-MNIST, the shipped sample", opened, labels.tolist(), FASHION_CLASSES)


def _picture(images: Tensor, index: int) -> Any:
    # a clone, since the memory of all images moves when they are sent to a worker
    return F.to_pil_image(images[index].clone())


def _folder(folder: Path, test: bool) -> LabelledImages:
    found = files.find_images(folder)
    labels, held_out = files.labels_and_held_out(found, folder)
    chosen = held_out if test else sorted(set(range(len(found))).difference(held_out))
    if not chosen:
        raise ValueError(f"{folder} has no folder of images that are held out, as test/: name the folder itself")
    name = os.path.basename(os.path.abspath(folder))
    return LabelledImages.named(name, [labels[i] for i in chosen], partial(open_whole, [found[i] for i in chosen]))


def open_whole(files: Sequence[Path], index: int) -> Image:
    """Read one of these image files. Raises OSError, which names it, if it is damaged."""
    try:
        image = decode.open_image(files[index])
        image.load()  # closes the file
    except (OSError, SyntaxError, ValueError) as error:
        raise OSError(f"{files[index]} cannot be read ({error}): mend it, or take it out of the folder") from None
    return image


def _torchvision(name: str, root: Path, test: bool) -> LabelledImages:
    kind: Any = getattr(torchvision.datasets, name)
    part: dict[str, Any]
    for part in ({"train": not test}, {"split": "test" if test else "train"}):
        try:
            dataset = kind(str(root), **part)
            break
        except TypeError:  # it has no such argument
            continue
        except (RuntimeError, OSError):
            argument = ", ".join(f"{key}={value!r}" for key, value in part.items())
            raise FileNotFoundError(
                f"{name} is not under {root}: name its folder with --root or {ROOT_VARIABLE}, or download it with "
                f"`python -c \"import torchvision; torchvision.datasets.{name}('DIR', {argument}, download=True)\"`"
            ) from None
    else:
        raise ValueError(f"torchvision's {name} has no images of classes to train on: name another data set")
    targets = getattr(dataset, "targets", getattr(dataset, "_labels", None))
    if targets is None:
        raise ValueError(f"torchvision's {name} says no class of its images: name another data set")
    numbers = [int(target) for target in targets]
    classes = getattr(dataset, "classes", None) or list(map(str, range(max(numbers) + 1)))
    return LabelledImages(name, partial(_image_of, dataset), numbers, classes)


def _image_of(dataset: Any, index: int) -> Any:
    image = dataset[index][0]
    # of MNIST it views the memory of all images, which moves when they are sent to a worker
    return image.copy() if getattr(image, "readonly", False) else image


def _hugging_face(name: str, test: bool) -> LabelledImages:
    dataset, column, label_column = hugging_face.open_dataset(name, test=test)
    if label_column is None:
        raise ValueError(f"{name!r} has no column of class labels: cast one with `cast_column(NAME, ClassLabel(...))`")
    opened, feature = hugging_face.row_opener(dataset, column), dataset.features[label_column]
    return LabelledImages(_title(name), opened, dataset[label_column][:], feature.names)
