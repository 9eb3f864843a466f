"""Whether synthetic images may be trusted: five words, each with figures and pictures. It knows images and labels only."""

from .build import make_report
from .report import Report, checked_path
from .result import Pair, Score, Taught, Word
from .sets import ImageSet, Sets, as_pairs, common_look, read_samples, read_source

__all__ = [
    "ImageSet",
    "Pair",
    "Report",
    "Score",
    "Sets",
    "Taught",
    "Word",
    "as_pairs",
    "checked_path",
    "common_look",
    "make_report",
    "read_samples",
    "read_source",
]
