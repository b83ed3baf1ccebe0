"""A process of its own for each part of a repetition: signals go on to it, and it stops when its parent is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import IO

# From this one on a signal ends the process as nothing else does.
LAST_RESORT = 3


@dataclass(frozen=True)
class Outcome:
    """How a process ended.

    Attributes:
        code: Its exit status; negative for the signal that ended it.
        stopped_by: The signal that this process received meanwhile, if any.
    """

    code: int
    stopped_by: signal.Signals | None

    @property
    def exit_code(self) -> int:
        """The code as a shell gives it: 128 more than the signal that ended the process."""
        return self.code if self.code >= 0 else 128 - self.code

    @property
    def killed_by(self) -> str:
        """The name of the signal that ended the process; empty if it ended by itself."""
        return "" if self.code >= 0 else signal.Signals(-self.code).name


def run_part(words: Sequence[str], *, lock: IO[str]) -> Outcome:
    """Runs `cvlab WORDS` as `run` does: the same cvlab from the same places, whatever lies in the working directory."""
    return run([sys.executable, "-P", "-m", "cvlab", *words], lock=lock)


def run(command: Sequence[str], *, lock: IO[str]) -> Outcome:
    """Runs a command in a process of its own, on this one's terminal, and waits for it.

    Ctrl-C and SIGTERM are passed on, the first as SIGTERM (finish the step and save), a second as it is; a third kills.

    Args:
        command: The command; it finds Python's modules where this process does.
        lock: The locked file of the parent's folder. The process holds it too, so that nobody else goes on with the
            folder while a part is still at work whose parent was killed.
    """
    received: list[signal.Signals] = []
    process: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        if process is not None:
            _send(process, received)

    # The end of this pipe tells the process that its parent is gone, whatever ended it.
    end, beginning = os.pipe()
    try:
        with _handled_by(pass_on):
            process = subprocess.Popen(
                command,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                stdin=end,
                pass_fds=[lock.fileno()],
                # Ctrl-C on a terminal goes to a whole group: the process is to receive it once, from here.
                start_new_session=True,
            )
            if received:
                _send(process, received)
            code = process.wait()
    finally:
        os.close(end)
        os.close(beginning)
    return Outcome(code, received[0] if received else None)


def _send(process: subprocess.Popen[bytes], received: Sequence[signal.Signals]) -> None:
    if len(received) >= LAST_RESORT:
        process.kill()
    else:
        process.send_signal(signal.SIGTERM if len(received) == 1 else received[-1])


@contextmanager
def _handled_by(handler: signal._HANDLER) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def stop_with_parent() -> None:
    """Makes this process stop as by SIGTERM when the one that started it is gone; the end of its input tells."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
