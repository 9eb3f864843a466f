"""Sources: the files that the images of a data set lie in, as far as it says."""

import os

from .untransformed import Reader

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
