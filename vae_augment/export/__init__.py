"""A data set of synthetic samples as files: images in folders, parquet or webdataset, with a card."""

from .contents import Contents, Making, Shard
from .labels import Classes
from .saving import MOST_IMAGES, Saving, identity_of
from .writer import CARD, FORMATS, PLAN, Maker, Writer, claim

__all__ = [
    "CARD",
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
    "claim",
    "identity_of",
]
