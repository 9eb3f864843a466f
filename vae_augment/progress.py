"""A bar for what takes more than two seconds, on a terminal or in a notebook, and nowhere else.

Where a function has `progress=`: None shows bars so, True always and from the start, False never. `VAE_AUGMENT_PROGRESS=0` in the
environment turns them off everywhere, 1 shows them also where there is no terminal. They go to stderr.
"""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

VARIABLE = "VAE_AUGMENT_PROGRESS"  # 0 turns bars off everywhere, 1 shows them also where there is no terminal
DELAY = 2.0  # seconds

_asked: ContextVar[bool | None] = ContextVar("vae_augment_progress", default=None)


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

    is_asked = _asked.get() is True
    delay = 0.0 if is_asked else DELAY
    yield from tqdm(items, desc=what, total=total, unit=unit, delay=delay, leave=is_asked, dynamic_ncols=True)


@contextlib.contextmanager
def bars(show: bool | None) -> Iterator[None]:
    """Within, bars are shown always, never, or for None as it is outside.

    Example:
        >>> with bars(False):
        ...     is_wanted()
        False
    """
    token = _asked.set(_asked.get() if show is None else show)
    try:
        yield
    finally:
        _asked.reset(token)


def is_wanted() -> bool:
    """Whether bars are shown: as was asked for, or on a terminal or in a notebook, or as $VAE_AUGMENT_PROGRESS says."""
    if (asked := _asked.get()) is not None:
        return asked
    given = os.environ.get(VARIABLE, "")
    is_terminal = sys.stderr is not None and sys.stderr.isatty()  # None: a Windows program without a console
    return given == "1" or (given != "0" and (is_terminal or "ipykernel" in sys.modules))
