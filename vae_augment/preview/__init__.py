"""A look at what a transform does: images beside what becomes of them, as a grid of pictures and as a figure.

`VAEAugment.preview` is the way in. matplotlib is imported when a figure is drawn, and not before.
"""

from .cells import as_cell, fit_within
from .columns import allowed_jitters
from .previewed import Previewed, check_can_draw

__all__ = ["Previewed", "allowed_jitters", "as_cell", "check_can_draw", "fit_within"]
