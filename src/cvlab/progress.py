"""What is shown while a stage trains: a live line on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cvlab.console import Console
from cvlab.text import duration

PLAIN_SECONDS = 30.0
NO_METRICS = ("stage", "epoch", "learning_rate", "seconds", "images_per_second", "waiting", "features", "best")


class EpochProgress:
    """Shows steps and epochs of one stage."""

    def __init__(self, console: Console, *, stage: str, epochs: int, batch_size: int) -> None:
        self.console = console
        self.stage, self.epochs, self.batch_size = stage, epochs, batch_size
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._said = time.monotonic()
        self._started = time.monotonic()
        self._first = 0
        self._epochs_timed: list[float] = []

    @contextmanager
    def epoch(self, number: int, *, first: int, batches: int) -> Iterator[None]:
        """Shows one epoch (counted from 1), of which `first` of `batches` steps are done already."""
        self._label = self.console.titled(f"{self.stage} {number}/{self.epochs}")
        self._started = self._said = time.monotonic()
        self._first, self._batches = first, batches
        if not self.console.is_terminal:
            yield
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[values]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console.rich, transient=True) as self._bar:
            self._task = self._bar.add_task(self._label, total=batches, completed=first, values="starting")
            yield
        self._bar = None

    def step(self, done: int, values: Mapping[str, float]) -> None:
        """Shows that `done` steps of the epoch are done, with the running values."""
        now = time.monotonic()
        rate = (done - self._first) * self.batch_size / max(now - self._started, 1e-9)
        text = "  ".join(f"{name} {value:.4f}" for name, value in values.items()) + f"  {rate:.0f} images/s"
        if done == self._batches:
            text += "  validating"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, values=text)
        elif now - self._said > PLAIN_SECONDS:
            self._said = now
            self.console.say(f"{self._label}  step {done}/{self._batches}  {text}")

    def finished(self, record: Mapping[str, Any]) -> None:
        """Prints the line of a finished epoch, with the time that the stage has left at most."""
        self._epochs_timed.append(record["seconds"])
        left = (self.epochs - record["epoch"]) * sum(self._epochs_timed) / len(self._epochs_timed)
        values = "  ".join(f"{name} {value:.4f}" for name, value in record.items() if name not in NO_METRICS)
        best = "  best" if record["best"] else ""
        self.console.say(
            f"{self._label}  {values}  {record['images_per_second']:.0f} images/s  {duration(record['seconds'])}"
            f"  {duration(left)} left{best}"
        )
