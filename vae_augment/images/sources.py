"""Sources: the files that the images of a data set lie in, as far as it says."""

import contextlib
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
    for index in spread_places(count, LOOKED_AT).tolist():
        leaf, _ = reader.locate(index)
        path = source_of(reader, index)
        if path is None or getattr(leaf, "loader", None) is not default_loader:
            continue
        with contextlib.suppress(Exception):  # it is only looked at: whoever reads it is told what is wrong
            if os.path.isfile(path) and (told := _told_of_bits(path)):
                warn(
                    f"torchvision's loader makes white of all values above 255: {told}, e.g. in ImageFolder(path, loader=...)"
                )
                return


def _told_of_bits(path: str) -> str:
    with PIL.Image.open(path) as image:  # reads its header alone
        if not image.mode.startswith("I"):
            return ""
        try:
            check_bits(image, path)
        except TooManyBitsError as error:
            return str(error)
    return ""
