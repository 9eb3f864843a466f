"""A bar for what takes more than two seconds, on a terminal or in a notebook, and nowhere else."""

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

VARIABLE = "VAE_AUGMENT_PROGRESS"  # 0 turns bars off everywhere, 1 shows them also where there is no terminal
DELAY = 2.0  # seconds


def progress(
    items: Iterable[T], what: str, total: int | None = None, *, unit: str = "it", show: bool = True
) -> Iterator[T]:
    """Go through the items, with a bar on stderr once two seconds have passed.

    Args:
        items: what to go through.
        what: what is being done, at the left of the bar: "embed".
        total: how many there are, if they have no length.
        unit: what one of them is called: "image".
        show: False: no bar.

    Example:
        >>> [number for number in progress(range(3), "count")]
        [0, 1, 2]
    """
    if not (show and is_wanted()):
        yield from items
        return
    from tqdm.auto import tqdm  # comes with huggingface-hub; `auto` has a bar of its own in a notebook

    yield from tqdm(items, desc=what, total=total, unit=unit, delay=DELAY, leave=False, dynamic_ncols=True)


def is_wanted() -> bool:
    """Whether bars are shown: on a terminal or in a notebook, or as $VAE_AUGMENT_PROGRESS says."""
    given = os.environ.get(VARIABLE, "")
    return given == "1" or (given != "0" and (sys.stderr.isatty() or "ipykernel" in sys.modules))
