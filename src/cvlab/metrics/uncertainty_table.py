"""The tables of uncertainties: one row a sample, with its truth; written and checked here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvlab.errors import RunFolderError
from cvlab.metrics.prediction_rows import (
    Rows,
    check_first_columns,
    check_rows,
    check_unique,
    csv_line,
    damaged,
    read_numbers,
    read_rows,
)
from cvlab.metrics.segmentation_calibration import BINS
from cvlab.run_folder import write_text

Values = NDArray[np.float64]
Indices = NDArray[np.int64]
Names = NDArray[np.object_]

SAMPLE_ID = "sample_id"
CLASS_COLUMNS = (SAMPLE_ID, "target", "predicted", "entropy", "mutual_information")
GAP_COLUMNS = tuple(f"gap:{number}" for number in range(1, BINS + 1))
MASK_COLUMNS = (SAMPLE_ID, "tp", "fp", "fn", "tn", "nll", "entropy", "mutual_information", *GAP_COLUMNS)
TARGET, MEAN, VARIANCE = "target:", "mean:", "variance:"


@dataclass(frozen=True)
class ClassUncertainty:
    """What T passes said of each of n samples, over k classes.

    Attributes:
        sample_id: (n,) unique strings.
        target: (n,) index of the true class.
        mean: (n, k) mean scores; each row sums to 1. The predicted class is the first highest one.
        variance: (n, k) variance of the scores over the passes.
        entropy: (n,) predictive entropy, in nats.
        mutual_information: (n,) in nats.
        class_names: k names, in the order of the run.
    """

    sample_id: Names
    target: Indices
    mean: Values
    variance: Values
    entropy: Values
    mutual_information: Values
    class_names: tuple[str, ...]

    def write(self, path: Path) -> None:
        """Writes the table as CSV.

        Raises:
            RunFolderError: A value is no finite number.
        """
        names = [self.class_names[index] for index in self.target]
        predicted = [self.class_names[index] for index in self.mean.argmax(axis=1)]
        columns = [*CLASS_COLUMNS[3:], *_named((MEAN, VARIANCE), self.class_names)]
        values = np.column_stack([self.entropy, self.mutual_information, self.mean, self.variance])
        fixed = list(zip(self.sample_id, names, predicted, strict=True))
        _write(path, CLASS_COLUMNS[:3], fixed, columns, values)

    @classmethod
    def read(cls, path: Path) -> ClassUncertainty:
        """Reads and checks a table.

        Raises:
            RunFolderError: The file is missing, or something in it is wrong.
        """
        header, rows = _read(path, CLASS_COLUMNS)
        names = _names(path, header, start=len(CLASS_COLUMNS), prefixes=(MEAN, VARIANCE))
        values = _numbers(path, header, rows, start=3)
        index = {name: place for place, name in enumerate(names)}
        for number, row in enumerate(rows, start=2):
            if row[1] not in index:
                raise damaged(path, f"row {number}, column 'target'", f"expected a class, received '{row[1]}'.")
        mean, variance = np.hsplit(values[:, 2:], 2)
        target = np.array([index[row[1]] for row in rows], dtype=np.int64)
        return cls(_ids(rows), target, mean, variance, values[:, 0], values[:, 1], names)


@dataclass(frozen=True)
class RegressionUncertainty:
    """What T passes said of each of n samples, for k targets.

    Attributes:
        sample_id: (n,) unique strings.
        target: (n, k) truth.
        mean: (n, k) mean over the passes.
        variance: (n, k) variance over the passes, multiplied by the scale that was chosen on validation.
        target_names: k names, in the order of the run.
    """

    sample_id: Names
    target: Values
    mean: Values
    variance: Values
    target_names: tuple[str, ...]

    def write(self, path: Path) -> None:
        """Writes the table as CSV.

        Raises:
            RunFolderError: A value is no finite number.
        """
        values = np.hstack([self.target, self.mean, self.variance])
        columns = _named((TARGET, MEAN, VARIANCE), self.target_names)
        _write(path, (SAMPLE_ID,), [(name,) for name in self.sample_id], columns, values)

    @classmethod
    def read(cls, path: Path) -> RegressionUncertainty:
        """Reads and checks a table.

        Raises:
            RunFolderError: The file is missing, or something in it is wrong.
        """
        header, rows = _read(path, (SAMPLE_ID,))
        names = _names(path, header, start=1, prefixes=(TARGET, MEAN, VARIANCE))
        target, mean, variance = np.hsplit(_numbers(path, header, rows, start=1), 3)
        return cls(_ids(rows), target, mean, variance, names)


@dataclass(frozen=True)
class MaskUncertainty:
    """What T passes said of each of n masks.

    Attributes:
        sample_id: (n,) unique strings.
        counts: (n, 4) pixels of the mean mask at the threshold that was chosen for it: tp, fp, fn, tn.
        nll: (n,) mean over the pixels of -ln(mean score of the truth).
        entropy: (n,) mean over the pixels of the predictive entropy, in nats.
        mutual_information: (n,) mean over the pixels, in nats.
        gaps: (n, 15) truth less probability, summed over the pixels of each bin (`segmentation_calibration`).
    """

    sample_id: Names
    counts: Indices
    nll: Values
    entropy: Values
    mutual_information: Values
    gaps: Values

    def write(self, path: Path) -> None:
        """Writes the table as CSV.

        Raises:
            RunFolderError: A value is no finite number.
        """
        fixed = [(name, *map(str, counts)) for name, counts in zip(self.sample_id, self.counts.tolist(), strict=True)]
        values = np.column_stack([self.nll, self.entropy, self.mutual_information, self.gaps])
        _write(path, MASK_COLUMNS[:5], fixed, MASK_COLUMNS[5:], values)

    @classmethod
    def read(cls, path: Path) -> MaskUncertainty:
        """Reads and checks a table.

        Raises:
            RunFolderError: The file is missing, or something in it is wrong.
        """
        header, rows = _read(path, MASK_COLUMNS)
        values = _numbers(path, header, rows, start=1)
        counts = values[:, :4].astype(np.int64)
        bad = np.argwhere((counts != values[:, :4]) | (counts < 0))
        if len(bad):
            row, column = map(int, bad[0])
            where = f"row {row + 2}, column '{MASK_COLUMNS[column + 1]}'"
            raise damaged(path, where, f"expected a number of pixels, received '{rows[row][column + 1]}'.")
        return cls(_ids(rows), counts, values[:, 4], values[:, 5], values[:, 6], gaps=values[:, 7:])


UncertaintyTable = ClassUncertainty | RegressionUncertainty | MaskUncertainty


def _named(prefixes: Sequence[str], names: Sequence[str]) -> list[str]:
    return [prefix + name for prefix in prefixes for name in names]


def _write(
    path: Path, first: Sequence[str], fixed: Sequence[Sequence[str]], columns: Sequence[str], values: Values
) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = map(int, bad[0])
        raise RunFolderError(
            f"Dropout injection, sample '{fixed[row][0]}', {columns[column]}: expected a finite number, received "
            f"{float(values[row, column])!r}. Try train.precision=float32, or other evaluate.dropout_injection.layers."
        )
    lines = [csv_line([*first, *columns])]
    for texts, numbers in zip(fixed, values.tolist(), strict=True):
        lines.append(csv_line([*texts, *map(repr, numbers)]))
    write_text(path, "".join(lines))


def _read(path: Path, first: Sequence[str]) -> tuple[list[str], Rows]:
    header, *rows = read_rows(path)
    check_first_columns(path, header, first)
    check_rows(path, header, rows)
    check_unique(path, [row[0] for row in rows])
    return header, rows


def _names(path: Path, header: Sequence[str], *, start: int, prefixes: Sequence[str]) -> tuple[str, ...]:
    """The names that every prefix stands before, in one order."""
    columns = header[start:]
    names = tuple(column.removeprefix(prefixes[0]) for column in columns if column.startswith(prefixes[0]))
    names = names[: len(columns) // len(prefixes)]
    check_first_columns(path, header, _named(prefixes, names), start=start)
    if not names or len(columns) != len(prefixes) * len(names):
        expected = " and ".join(f"'{prefix}...'" for prefix in prefixes)
        raise damaged(path, "row 1 (the header)", f"expected as many columns {expected}.")
    return names


def _numbers(path: Path, header: Sequence[str], rows: Rows, *, start: int) -> Values:
    values = read_numbers(path, header, rows, start=start)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = map(int, bad[0])
        where = f"row {row + 2}, column '{header[start + column]}'"
        raise damaged(path, where, f"expected a finite number, received '{rows[row][start + column]}'.")
    return values


def _ids(rows: Rows) -> Any:
    return np.array([row[0] for row in rows], dtype=object)
