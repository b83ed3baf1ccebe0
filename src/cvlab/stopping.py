"""Ctrl-C and SIGTERM: the first finishes the step and saves, a second Ctrl-C stops at once."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Terminated(BaseException):
    """SIGTERM outside of training. No KeyboardInterrupt, since typer would end that with 130."""


class StopRequest:
    """Watches for signals while a training runs.

    A thread reads them from a wake-up socket, since Python's own handlers wait until a long step of TensorFlow
    returns, and a second Ctrl-C must not wait.

    Attributes:
        exit_code: 130 or 143 once a stop was asked for, else None.
    """

    def __init__(self, *, on_first: Callable[[], None], on_second: Callable[[], None]) -> None:
        self.exit_code: int | None = None
        self._on_first, self._on_second = on_first, on_second

    def __enter__(self) -> StopRequest:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._handlers = {number: signal.signal(number, _leave_it_to_the_thread) for number in EXIT_CODES}
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._writer.close()
        self._thread.join()
        self._reader.close()

    @property
    def requested(self) -> bool:
        """Whether training should save and stop."""
        return self.exit_code is not None

    def _watch(self) -> None:
        while received := self._reader.recv(1):
            number = signal.Signals(received[0])
            if number not in EXIT_CODES:
                continue
            if self.exit_code is None:
                self.exit_code = EXIT_CODES[number]
                # A closed terminal must not take the second Ctrl-C away.
                with contextlib.suppress(Exception):
                    self._on_first()
            elif number == signal.SIGINT:
                with contextlib.suppress(Exception):
                    self._on_second()
                os._exit(self.exit_code)


def _leave_it_to_the_thread(number: int, frame: FrameType | None) -> None:
    """A Python handler must be set, or the system's own would end the process."""
