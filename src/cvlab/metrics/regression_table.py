"""The table of predictions of a regression: one row a sample, written and checked here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvlab.errors import RunFolderError
from cvlab.metrics.prediction_rows import (
    check_first_columns,
    check_rows,
    check_unique,
    csv_line,
    damaged,
    read_numbers,
    read_rows,
)

FIXED_COLUMNS = ("sample_id", "group")
TARGET_PREFIX = "target:"
PREDICTED_PREFIX = "predicted:"
# What a network of float32 can take and give; squares of it stay finite in float64.
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class RegressionPredictions:
    """What a model said of each of n samples, for k targets.

    Attributes:
        sample_id: (n,) strings, unique.
        group: (n,) strings: the person, patient or whatever else must not be split.
        target: (n, k) float64, the truth.
        predicted: (n, k) float64.
        target_names: k names, in the order of the run.
    """

    sample_id: NDArray[np.object_]
    group: NDArray[np.object_]
    target: NDArray[np.float64]
    predicted: NDArray[np.float64]
    target_names: tuple[str, ...]


def predictions_csv(
    sample_id: Sequence[str] | NDArray[Any],
    group: Sequence[str] | NDArray[Any],
    target: NDArray[Any],
    predicted: NDArray[Any],
    target_names: Sequence[str],
) -> str:
    """Returns the text of a predictions table.

    Args:
        sample_id: n unique ids.
        group: n groups.
        target: (n, k) truth; written as the shortest text that reads back exactly, as is `predicted`.
        predicted: (n, k) outputs of the network.
        target_names: k unique names; any character is allowed.

    Raises:
        RunFolderError: A value is no finite number that float32 can hold.
    """
    exact = [np.asarray(values, dtype=np.float64) for values in (target, predicted)]
    shape = (len(sample_id), len(target_names))
    if any(values.shape != shape for values in exact):
        raise ValueError(f"Expected truth and prediction {shape}, received {exact[0].shape} and {exact[1].shape}.")
    values, columns = np.hstack(exact), _value_columns(target_names)
    if problem := _value_problem(values, columns):
        row, column, text = problem
        raise RunFolderError(f"Predictions of sample '{sample_id[row]}', {column}: {text}")
    lines = [csv_line([*FIXED_COLUMNS, *columns])]
    for one_id, one_group, row_values in zip(sample_id, group, values.tolist(), strict=True):
        lines.append(csv_line([str(one_id), str(one_group), *map(repr, row_values)]))
    return "".join(lines)


def _value_columns(target_names: Sequence[str]) -> list[str]:
    return [prefix + name for prefix in (TARGET_PREFIX, PREDICTED_PREFIX) for name in target_names]


def read_predictions(path: Path) -> RegressionPredictions:
    """Reads and checks a predictions table.

    Raises:
        RunFolderError: The file is missing, or something in it is wrong; the message names row and column
            (the header is row 1).
    """
    header, *rows = read_rows(path)
    names = _target_names(path, header)
    check_rows(path, header, rows)
    ids, groups = ([row[column] for row in rows] for column in range(len(FIXED_COLUMNS)))
    check_unique(path, ids)
    values = read_numbers(path, header, rows, start=len(FIXED_COLUMNS))
    if problem := _value_problem(values, _value_columns(names)):
        bad_row, where, text = problem
        raise damaged(path, f"row {bad_row + 2}, {where}", text)
    return RegressionPredictions(
        sample_id=np.array(ids, dtype=object),
        group=np.array(groups, dtype=object),
        target=values[:, : len(names)],
        predicted=values[:, len(names) :],
        target_names=names,
    )


def _target_names(path: Path, header: Sequence[str]) -> tuple[str, ...]:
    check_first_columns(path, header, FIXED_COLUMNS)
    fixed = len(FIXED_COLUMNS)
    columns = list(takewhile(lambda column: column.startswith(TARGET_PREFIX), header[fixed:]))
    for number, column in enumerate(columns):
        if column in columns[:number]:
            problem = f"expected a target of its own, received '{column}' again."
            raise damaged(path, f"row 1 (the header), column {fixed + number + 1}", problem)
    if not columns:
        received = header[fixed] if len(header) > fixed else "nothing"
        problem = f"expected 'target:' and the name of a target, received '{received}'."
        raise damaged(path, f"row 1 (the header), column {fixed + 1}", problem)
    names = tuple(column.removeprefix(TARGET_PREFIX) for column in columns)
    check_first_columns(path, header, _value_columns(names), start=fixed)
    if len(header) > fixed + 2 * len(names):
        place = fixed + 2 * len(names)
        problem = f"expected no further column, received '{header[place]}'."
        raise damaged(path, f"row 1 (the header), column {place + 1}", problem)
    return names


def _value_problem(values: NDArray[np.float64], columns: Sequence[str]) -> tuple[int, str, str] | None:
    bad = np.argwhere(~(np.abs(values) <= LARGEST))
    if not len(bad):
        return None
    row, column = map(int, bad[0])
    problem = f"expected a finite number (of at most {LARGEST:.3g}), received {float(values[row, column])!r}."
    return row, f"column '{columns[column]}'", problem
