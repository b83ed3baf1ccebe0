"""What a task tells a comparison: how its predictions are read and judged, and which tests fit its metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path as File
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from cvlab.document import Picture
from cvlab.metrics.replicates import Path, Resampling
from cvlab.report_record import RunRecord
from cvlab.run_folder import Json
from cvlab.statistics.delong import PairedDifference

AnyTable = TypeVar("AnyTable")
# How a value of a metric is written.
Show = Callable[[float], str]


class Table(Protocol):
    """A table of predictions of any task, a row a sample."""

    @property
    def sample_id(self) -> NDArray[np.object_]:
        """The id of each sample."""

    @property
    def group(self) -> NDArray[np.object_]:
        """The person, patient or whatever else must not be split."""


class Metric(NamedTuple):
    """A metric that is compared.

    Attributes:
        path: The keys that lead to it in `metrics.json`: `per_class`, `happy`, `recall`.
        label: What it is called.
        lower_is_better: Whether it is an error.
    """

    path: Path
    label: str
    lower_is_better: bool = False

    @property
    def key(self) -> str:
        """How it is named on the command line: `binary.sensitivity`."""
        return ".".join(self.path)


class NamedTest(NamedTuple):
    """A test of two models that fits one metric.

    Attributes:
        name: What it is called.
        p: Two-sided; None where it cannot be made.
        difference: With the interval that belongs to it; None where it has none of its own.
        independent: Whether it takes the samples to be independent, so that it does not hold where they have groups.
        note: On how many it rests.
    """

    name: str
    p: float | None
    difference: PairedDifference | None
    independent: bool
    note: str


class Canvas(Protocol):
    """Where a task has its figures drawn."""

    def of_classes(self, positive: str | None) -> list[Picture]:
        """ROC and precision-recall curves of classes, and confusion matrices."""

    def of_masks(self, *, grouped: bool) -> list[Picture]:
        """The Dice of each group, or of each image."""


class ComparedTask(Protocol):
    """What a comparison asks of a task."""

    @property
    def curves(self) -> Mapping[str, str]:
        """What each key of an epoch is called, whose values on validation are drawn."""

    def show(self, value: float) -> str:
        """A value of a metric as it is written."""

    def read(self, file: File) -> Any:
        """Reads and checks a table of predictions."""

    def outputs(self, table: Any) -> tuple[str, ...]:
        """The names of the classes or targets; empty where there is nothing to name."""

    def in_order(self, table: Any, outputs: Sequence[str]) -> Any:
        """The same table with its classes or targets in another order."""

    def truths(self, tables: Sequence[Any]) -> list[NDArray[np.object_]]:
        """What is true of each sample of each table, (n,) texts: equal for the same samples in all of them."""

    def values(self, table: Any, record: RunRecord, *, pooled: bool) -> Json:
        """Every metric, in the form of `metrics.json`; what was pooled from folds has no operating point."""

    def resampling(self, table: Any, record: RunRecord, *, pooled: bool) -> Resampling:
        """What there is to resample."""

    def metrics(self, found: Sequence[Json], outputs: Sequence[str], *, grouped: bool) -> list[Metric]:
        """What is compared of runs with these metrics: the one that ranks them, the second to speak of, the rest."""

    def draw(self, canvas: Canvas, found: Sequence[Json], *, grouped: bool) -> list[Picture]:
        """The figures that fit the task, of runs with these metrics."""

    def tests(self, metric: Metric, first: Any, second: Any) -> list[NamedTest]:
        """The tests of two tables of the same samples that fit a metric, the usual one first; none for most."""


def take(table: AnyTable, rows: NDArray[Any]) -> AnyTable:
    """Returns the rows of a table of predictions, in the order of `rows` (indices)."""
    assert is_dataclass(table)
    assert not isinstance(table, type)
    changed: dict[str, Any] = {}
    for field in fields(table):
        value = getattr(table, field.name)
        if isinstance(value, np.ndarray):
            changed[field.name] = value[rows]
        elif is_dataclass(value):
            changed[field.name] = take(value, rows)
    return replace(table, **changed)


def cell_at(metrics: Json, path: Path) -> Json | None:
    """Returns the cell of a metric; None where there is none."""
    found: Any = metrics
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) and "value" in found else None
