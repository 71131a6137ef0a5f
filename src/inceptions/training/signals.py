"""Ctrl-C and SIGTERM as requests: the loop finishes its step and saves before it leaves."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

from inceptions.progress import log


class Stop:
    """While entered, the first SIGINT or SIGTERM is noted in `signal`; a second one acts as it would have before.

    Signals reach Python's main thread only; entered in another thread it notes nothing and changes nothing.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def leave(self) -> NoReturn:
        """Ends the program as the noted signal would have: KeyboardInterrupt (130), or SystemExit 143 for SIGTERM."""
        if self.signal == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()
        log.info("%s: finishing this step and saving; once more stops at once", signal.Signals(number).name)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            # None: the handler was set by C code, which Python cannot put back
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}
