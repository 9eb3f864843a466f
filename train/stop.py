"""Stop requests: signals end a run between two steps, so that its checkpoint is complete and up to date."""

import contextlib
import signal
from types import FrameType, TracebackType
from typing import Any, Self

PRESSED = ("SIGINT", "SIGTERM", "SIGBREAK")  # Ctrl-C, a scheduler, Ctrl-Break on Windows
HANGUP = (
    "SIGHUP"  # the terminal or the ssh connection has gone; it often comes twice, from the shell and from the system
)


class StopRequest:
    """A context in which `asked` turns True at the first SIGINT, SIGTERM or SIGHUP; another one interrupts at once.

    Nobody is there to send a second SIGHUP on purpose: repeats of it change nothing. A process that ignores one of them, as
    SIGHUP under nohup and SIGINT behind & in a script, goes on ignoring it.

    Args:
        ignore_repeats: further signals change nothing, also after the context. torchrun sends its own after that of the
            terminal or the scheduler, and kills processes that take too long to end.
    """

    def __init__(self, ignore_repeats: bool = False) -> None:
        self.asked, self._ignore_repeats = False, ignore_repeats
        self._is_hung_up = False
        self._handlers_before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for name in (*PRESSED, HANGUP):
            number = getattr(signal, name, None)  # no system has all of them
            if number is None or signal.getsignal(number) == signal.SIG_IGN:
                continue
            with contextlib.suppress(ValueError):  # signals can only be caught in the main thread
                self._handlers_before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not (self._ignore_repeats and self.asked):
            self._restore_handlers(but_hangup=self._is_hung_up)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._is_hung_up = self._is_hung_up or signal.Signals(number).name == HANGUP
        if not self._ignore_repeats:
            self._restore_handlers(but_hangup=True)

    def _restore_handlers(self, but_hangup: bool) -> None:
        for number, handler in self._handlers_before.items():
            if not (but_hangup and number.name == HANGUP):
                signal.signal(number, handler)
