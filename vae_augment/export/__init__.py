"""A data set of synthetic samples as files: images in folders, parquet or webdataset, with a card."""

from .contents import Contents, Making, Shard
from .labels import Classes
from .saving import MOST_IMAGES, Saving, identity_of
from .writer import FORMATS, PLAN, Maker, Writer, claim
from .written import check_whole, real_files

__all__ = [
    "FORMATS",
    "MOST_IMAGES",
    "PLAN",
    "Classes",
    "Contents",
    "Maker",
    "Making",
    "Saving",
    "Shard",
    "Writer",
    "check_whole",
    "claim",
    "identity_of",
    "real_files",
]
