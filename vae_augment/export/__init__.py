"""A data set of synthetic samples as files: images in folders, parquet or webdataset, with a card."""

from .contents import Contents, Making, Shard
from .saving import MOST_IMAGES, Saving, identity_of
from .writer import FORMATS, Maker, Writer

__all__ = ["FORMATS", "MOST_IMAGES", "Contents", "Maker", "Making", "Saving", "Shard", "Writer", "identity_of"]
