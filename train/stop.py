"""Stop requests: Ctrl-C and SIGTERM end a run between two steps, so that its checkpoint is complete and up to date."""

import contextlib
import signal
from types import FrameType, TracebackType
from typing import Any, Self


class StopRequest:
    """A context in which `asked` turns True at the first SIGINT or SIGTERM; a second one interrupts at once.

    Args:
        ignore_repeats: further signals change nothing, also after the context. torchrun sends its own after that of the
            terminal or the scheduler, and kills processes that take too long to end.
    """

    def __init__(self, ignore_repeats: bool = False) -> None:
        self.asked, self._ignore_repeats = False, ignore_repeats
        self._handlers_before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # signals can only be caught in the main thread
                self._handlers_before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not (self._ignore_repeats and self.asked):
            self._restore_handlers()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if not self._ignore_repeats:
            self._restore_handlers()

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)
