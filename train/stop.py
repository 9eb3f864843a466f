"""Ctrl-C and SIGTERM end a run between two steps, so that its checkpoint is whole and up to date."""

import contextlib
import signal
from types import FrameType, TracebackType
from typing import Any, Self


class StopRequest:
    """A context in which `asked` turns True at the first SIGINT or SIGTERM; a second one interrupts at once.

    `patient`: further ones change nothing, also after the context. torchrun sends its own after that of the terminal or
    the scheduler, and kills whom it waited for too long.
    """

    def __init__(self, patient: bool = False) -> None:
        self.asked, self._patient = False, patient
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # signals can only be caught in the main thread
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not (self._patient and self.asked):
            self._give_back()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if not self._patient:
            self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
