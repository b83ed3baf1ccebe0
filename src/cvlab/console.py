"""What the user reads while a command runs: lines, warnings, progress; copied to the run's log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cvlab.text import printable_lines

PLAIN_PROGRESS_SECONDS = 10.0


class Console:
    """Prints for people on a terminal and plain lines elsewhere; keeps a copy in a log once there is one.

    Attributes:
        title: What progress is about, such as one of several trainings; empty where there is but one.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.title = ""
        self.rich = RichConsole(file=stream or sys.stdout, highlight=False, soft_wrap=True)
        self._log: Path | None = None
        self._kept: list[str] = []

    @property
    def is_terminal(self) -> bool:
        """Whether progress bars can be drawn."""
        return self.rich.is_terminal

    def say(self, text: str = "", *, style: str | None = None) -> None:
        """Prints `text` as it is (no markup, nothing that would steer a terminal) and logs it."""
        text = printable_lines(text)
        self.rich.print(escape(text), style=style)
        self.log(text)

    def warn(self, text: str) -> None:
        """Prints a warning that nobody overlooks."""
        self.say(f"WARNING: {text}", style="bold yellow")

    def log(self, text: str) -> None:
        """Adds `text` to the log only."""
        self._kept.append(text)
        self._write_log()

    def titled(self, label: str) -> str:
        """Returns what a line of progress begins with."""
        return f"{self.title}: {label}" if self.title else label

    def log_to(self, path: Path) -> None:
        """Logs to `path` from now on, starting with what was printed so far."""
        self._log = path
        self._write_log()

    def _write_log(self) -> None:
        """Writes what is kept; on a full disk it is kept for later, since no training may die of its log."""
        if self._log is None or not self._kept:
            return
        with suppress(OSError):
            with self._log.open("a", encoding="utf-8") as file:
                file.writelines(f"{text}\n" for text in self._kept)
            self._kept.clear()

    @contextmanager
    def track(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """Yields `advance(count)`; draws a bar on a terminal, a line now and then elsewhere."""
        label = self.titled(label)
        if not self.is_terminal:
            yield self._plain_advance(label, total)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.rich, transient=True) as progress:
            task = progress.add_task(escape(label), total=total)
            yield lambda count: progress.advance(task, count)

    def _plain_advance(self, label: str, total: int) -> Callable[[int], None]:
        done, last = 0, time.monotonic()

        def advance(count: int) -> None:
            nonlocal done, last
            done += count
            if time.monotonic() - last > PLAIN_PROGRESS_SECONDS:
                last = time.monotonic()
                self.say(f"{label}: {done:,} of {total:,}")

        return advance
