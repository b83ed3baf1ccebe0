"""The table of predictions of a classification: one row a sample, written and checked here."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvlab.errors import RunFolderError

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
    lines = [_line([*FIXED_COLUMNS, *(SCORE_PREFIX + name for name in class_names)])]
    rows = zip(sample_id, group, target_index, exact.argmax(axis=1), exact.tolist(), strict=True)
    for one_id, one_group, target, predicted, row_scores in rows:
        fixed = [str(one_id), str(one_group), class_names[int(target)], class_names[int(predicted)]]
        lines.append(_line([*fixed, *map(repr, row_scores)]))
    return "".join(lines)


def _line(fields: Sequence[str]) -> str:
    # csv.writer leaves a lone carriage return unquoted before Python 3.13; the reader would end the row there.
    quoted = ('"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n') else text for text in fields)
    return ",".join(quoted) + "\n"


def read_predictions(path: Path) -> ClassificationPredictions:
    """Reads and checks a predictions table.

    Raises:
        RunFolderError: The file is missing, or something in it is wrong; the message names row and column
            (the header is row 1).
    """
    header, *rows = _read_rows(path)
    class_names = _class_names(path, header)
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise _damaged(path, f"row {number}", f"expected {len(header)} columns, received {len(row)}.")
    if not rows:
        raise _damaged(path, "row 2", "expected at least one sample, the file ends here.")
    ids, groups, targets, predicted = ([row[column] for row in rows] for column in range(len(FIXED_COLUMNS)))
    _check_unique(path, ids)
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


def _damaged(path: Path, where: str, problem: str) -> RunFolderError:
    return RunFolderError(f"{path}: {where}: {problem} `cvlab evaluate RUN_DIR` writes the file anew.")


def _read_rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except OSError as error:
        raise RunFolderError(
            f"{path}: cannot be read ({error.strerror}). Run `cvlab evaluate RUN_DIR` first."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise _damaged(path, "the file", f"expected UTF-8 CSV ({error}).") from error
    return rows or [[]]


def _class_names(path: Path, header: list[str]) -> tuple[str, ...]:
    fixed = len(FIXED_COLUMNS)
    for number, expected in enumerate(FIXED_COLUMNS):
        received = header[number] if number < len(header) else "nothing"
        if received != expected:
            problem = f"expected '{expected}', received '{received}'."
            raise _damaged(path, f"row 1 (the header), column {number + 1}", problem)
    for number, column in enumerate(header[fixed:], start=fixed + 1):
        if not column.startswith(SCORE_PREFIX) or column in header[fixed : number - 1]:
            problem = f"expected 'score:' and a new class name, received '{column}'."
            raise _damaged(path, f"row 1 (the header), column {number}", problem)
    if len(header) < fixed + 2:
        raise _damaged(path, "row 1 (the header)", "expected a score column for each of two or more classes.")
    return tuple(column.removeprefix(SCORE_PREFIX) for column in header[fixed:])


def _check_unique(path: Path, ids: list[str]) -> None:
    first: dict[str, int] = {}
    for number, sample_id in enumerate(ids, start=2):
        if sample_id in first:
            problem = f"expected unique ids, received '{sample_id}' again (first in row {first[sample_id]})."
            raise _damaged(path, f"row {number}, column 'sample_id'", problem)
        first[sample_id] = number


def _indices(path: Path, column: str, names: list[str], index: dict[str, int]) -> IntArray:
    for number, name in enumerate(names, start=2):
        if name not in index:
            problem = f"expected one of the classes of the header, received '{name}'."
            raise _damaged(path, f"row {number}, column '{column}'", problem)
    return np.array([index[name] for name in names], dtype=np.int64)


def _scores(path: Path, header: list[str], rows: list[list[str]]) -> NDArray[np.float64]:
    fixed = len(FIXED_COLUMNS)
    scores = np.empty((len(rows), len(header) - fixed))
    for number, row in enumerate(rows):
        for column, text in enumerate(row[fixed:]):
            try:
                scores[number, column] = float(text)
            except ValueError as error:
                where = f"row {number + 2}, column '{header[fixed + column]}'"
                raise _damaged(path, where, f"expected a number from 0 to 1, received '{text}'.") from error
    names = [name.removeprefix(SCORE_PREFIX) for name in header[fixed:]]
    if problem := _score_problem(scores, names):
        bad_row, where, text = problem
        raise _damaged(path, f"row {bad_row + 2}, {where}", text)
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
        raise _damaged(path, f"row {row + 2}, column 'predicted'", problem)
