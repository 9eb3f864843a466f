"""Sources: the files that the images of a data set lie in, as far as it says."""

import os

import PIL.Image
from torchvision.datasets.folder import default_loader

from ..user_warning import warn
from .appearance import TooManyBitsError, check_bits
from .spread import spread_places
from .untransformed import Reader

LOOKED_AT = 8  # files of a data set, by which all are judged
LISTS = ("samples", "imgs")  # of torchvision's folders: lists of (path, class), or of paths


def source_of(reader: Reader, index: int) -> str | None:
    """Return the path of the file that holds a sample, None if its data set lists none; inside `Subset` and `ConcatDataset`, too.

    Example:
        >>> from vae_augment.images import untransformed_reader
        >>> class Files(list):
        ...     samples = [("photos/ant.png", 0), ("photos/bee.png", 1)]
        >>> source_of(untransformed_reader(Files(["ant", "bee"])), 1)
        'photos/bee.png'
    """
    leaf, place = reader.locate(index)
    for name in LISTS:
        listed = getattr(leaf, name, None)
        if isinstance(listed, list) and len(listed) == len(leaf):
            item = listed[place]
            path = item[0] if isinstance(item, tuple | list) and item else item
            if isinstance(path, str | os.PathLike):
                return os.fspath(path)
    return None


def warn_clipped(reader: Reader, count: int) -> None:
    """Warn where torchvision's loader makes white of nearly all values of an image, those above 255 of its 65,536.

    Args:
        reader: of a data set with so many samples; some of them are looked at.
    """
    told = next(
        filter(None, (_too_many_bits(reader, index) for index in spread_places(count, LOOKED_AT).tolist())), None
    )
    if told is not None:
        warn(f"torchvision's loader makes white of all values above 255: {told}, e.g. in ImageFolder(path, loader=...)")


def _too_many_bits(reader: Reader, index: int) -> TooManyBitsError | None:
    """What is wrong with the file of a sample that torchvision's loader reads; None also of what is no image."""
    leaf, _ = reader.locate(index)
    path = source_of(reader, index)
    if path is None or getattr(leaf, "loader", None) is not default_loader:
        return None
    try:
        if os.path.isfile(path):
            with PIL.Image.open(path) as image:  # reads its header alone
                check_bits(image, path)
    except TooManyBitsError as error:
        return error if image.mode.startswith("I") else None  # of floats the loader makes black
    except Exception:  # it is only looked at: whoever reads it is told what is wrong
        return None
    return None
