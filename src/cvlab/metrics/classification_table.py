"""The table of predictions of a classification: one row a sample, written and checked here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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

IntArray = NDArray[np.int64]

FIXED_COLUMNS = ("sample_id", "group", "target", "predicted")
SCORE_PREFIX = "score:"
SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ClassificationPredictions:
    """What a model said of each of n samples, over k classes.

    Attributes:
        sample_id: (n,) strings, unique.
        group: (n,) strings: the person, patient or whatever else must not be split.
        target: (n,) int64, index of the true class.
        predicted: (n,) int64, index of the class with the highest score.
        scores: (n, k) float64 in 0..1; each row sums to 1.
        class_names: k names, in the order of the run.
    """

    sample_id: NDArray[np.object_]
    group: NDArray[np.object_]
    target: IntArray
    predicted: IntArray
    scores: NDArray[np.float64]
    class_names: tuple[str, ...]


def predictions_csv(
    sample_id: Sequence[str] | NDArray[Any],
    group: Sequence[str] | NDArray[Any],
    target_index: Sequence[int] | NDArray[Any],
    scores: NDArray[Any],
    class_names: Sequence[str],
) -> str:
    """Returns the text of a predictions table; the predicted class is the arg max, the first one on ties.

    Args:
        sample_id: n unique ids.
        group: n groups.
        target_index: n indices into `class_names`.
        scores: (n, k) in 0..1, each row sums to 1; written as the shortest text that reads back exactly.
        class_names: k unique names; any character is allowed.

    Raises:
        RunFolderError: A score is no number from 0 to 1, or a row does not sum to 1.
    """
    exact = np.asarray(scores, dtype=np.float64)
    if exact.shape != (len(sample_id), len(class_names)):
        raise ValueError(f"Expected scores {(len(sample_id), len(class_names))}, received {exact.shape}.")
    if problem := _score_problem(exact, class_names):
        row, column, text = problem
        raise RunFolderError(f"The model's output for sample '{sample_id[row]}', {column}: {text}")
    lines = [csv_line([*FIXED_COLUMNS, *(SCORE_PREFIX + name for name in class_names)])]
    rows = zip(sample_id, group, target_index, exact.argmax(axis=1), exact.tolist(), strict=True)
    for one_id, one_group, target, predicted, row_scores in rows:
        fixed = [str(one_id), str(one_group), class_names[int(target)], class_names[int(predicted)]]
        lines.append(csv_line([*fixed, *map(repr, row_scores)]))
    return "".join(lines)


def read_predictions(path: Path) -> ClassificationPredictions:
    """Reads and checks a predictions table.

    Raises:
        RunFolderError: The file is missing, or something in it is wrong; the message names row and column
            (the header is row 1).
    """
    header, *rows = read_rows(path)
    class_names = _class_names(path, header)
    check_rows(path, header, rows)
    ids, groups, targets, predicted = ([row[column] for row in rows] for column in range(len(FIXED_COLUMNS)))
    check_unique(path, ids)
    index = {name: number for number, name in enumerate(class_names)}
    predictions = ClassificationPredictions(
        sample_id=np.array(ids, dtype=object),
        group=np.array(groups, dtype=object),
        target=_indices(path, "target", targets, index),
        predicted=_indices(path, "predicted", predicted, index),
        scores=_scores(path, header, rows),
        class_names=class_names,
    )
    _check_predicted(path, predictions)
    return predictions


def _class_names(path: Path, header: list[str]) -> tuple[str, ...]:
    fixed = len(FIXED_COLUMNS)
    check_first_columns(path, header, FIXED_COLUMNS)
    for number, column in enumerate(header[fixed:], start=fixed + 1):
        if not column.startswith(SCORE_PREFIX) or column in header[fixed : number - 1]:
            problem = f"expected 'score:' and a new class name, received '{column}'."
            raise damaged(path, f"row 1 (the header), column {number}", problem)
    if len(header) < fixed + 2:
        raise damaged(path, "row 1 (the header)", "expected a score column for each of two or more classes.")
    return tuple(column.removeprefix(SCORE_PREFIX) for column in header[fixed:])


def _indices(path: Path, column: str, names: list[str], index: dict[str, int]) -> IntArray:
    for number, name in enumerate(names, start=2):
        if name not in index:
            problem = f"expected one of the classes of the header, received '{name}'."
            raise damaged(path, f"row {number}, column '{column}'", problem)
    return np.array([index[name] for name in names], dtype=np.int64)


def _scores(path: Path, header: list[str], rows: list[list[str]]) -> NDArray[np.float64]:
    fixed = len(FIXED_COLUMNS)
    scores = read_numbers(path, header, rows, start=fixed, expected="a number from 0 to 1")
    names = [name.removeprefix(SCORE_PREFIX) for name in header[fixed:]]
    if problem := _score_problem(scores, names):
        bad_row, where, text = problem
        raise damaged(path, f"row {bad_row + 2}, {where}", text)
    return scores


def _score_problem(scores: NDArray[np.float64], names: Sequence[str]) -> tuple[int, str, str] | None:
    bad = np.argwhere(~((scores >= 0) & (scores <= 1)))
    if len(bad):
        row, column = map(int, bad[0])
        problem = f"expected a number from 0 to 1, received {float(scores[row, column])!r}."
        return row, f"column '{SCORE_PREFIX}{names[column]}'", problem
    sums = scores.sum(axis=1)
    off = np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE)
    if len(off):
        return int(off[0]), "columns 'score:...'", f"expected a sum of 1, received {float(sums[off[0]])!r}."
    return None


def _check_predicted(path: Path, p: ClassificationPredictions) -> None:
    rows = np.arange(len(p.predicted))
    wrong = np.flatnonzero(p.scores[rows, p.predicted] < p.scores.max(axis=1))
    if len(wrong):
        row = int(wrong[0])
        best, received = (p.class_names[i] for i in (p.scores[row].argmax(), p.predicted[row]))
        problem = f"expected '{best}', which has the highest score, received '{received}'."
        raise damaged(path, f"row {row + 2}, column 'predicted'", problem)
