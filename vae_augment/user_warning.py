"""Warnings at the line of a user's code that led to them, however deep in the package they are given."""

import contextlib
import os
import sys
import warnings
from pathlib import Path

import torch
import torchvision

OURS = tuple(str(Path(__file__).parents[1] / package) + os.sep for package in ("vae_augment", "train"))
BETWEEN = (contextlib.__file__, *(library.__path__[0] + os.sep for library in (torch, torchvision)))


def warn(message: str) -> None:
    """Warn at the first line outside of this package, of torch and torchvision, and of decorators."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith((*OURS, *BETWEEN)):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
