"""Warnings at the line of a user's code that led to them, however deep in the package they are given."""

import sys
import warnings

# this package, and what calls it for its user
BETWEEN = {__name__.partition(".")[0], "contextlib", "torch", "torchvision", "imblearn", "sklearn"}


def warn(message: str) -> None:
    """Warn at the first line outside of this package, of torch and its like, and of decorators."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
