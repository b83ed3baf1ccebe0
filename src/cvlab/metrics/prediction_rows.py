"""The rows of a predictions table: written and read, and what is damaged named by row and column."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvlab.bounded_file import read_bounded
from cvlab.errors import RunFolderError
from cvlab.spreadsheet import as_text, as_written

MAX_BYTES = 1_000_000_000
Rows = list[list[str]]


def csv_line(fields: Sequence[str]) -> str:
    """Returns one row as CSV text, in which no cell is a formula."""
    cells = map(as_text, fields)
    # csv.writer leaves a lone carriage return unquoted before Python 3.13; the reader would end the row there.
    quoted = ('"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n') else text for text in cells)
    return ",".join(quoted) + "\n"


def damaged(path: Path, where: str, problem: str) -> RunFolderError:
    """Returns the error for a table in which something is wrong."""
    return RunFolderError(f"{path}: {where}: {problem} `cvlab evaluate RUN_DIR` writes the file anew.")


def read_rows(path: Path) -> Rows:
    """Reads all rows, the header first; an empty file has one row without columns.

    Raises:
        RunFolderError: The file is missing or is no UTF-8 CSV.
    """
    try:
        text = read_bounded(path, MAX_BYTES).decode("utf-8")
        rows = [[*map(as_written, row)] for row in csv.reader(io.StringIO(text, newline=""), strict=True)]
    except OSError as error:
        raise RunFolderError(
            f"{path}: cannot be read ({error.strerror}). Run `cvlab evaluate RUN_DIR` first."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise damaged(path, "the file", f"expected UTF-8 CSV ({error}).") from error
    return rows or [[]]


def check_first_columns(path: Path, header: Sequence[str], expected: Sequence[str], *, start: int = 0) -> None:
    """Checks that the columns from `start` on (counted from 0) begin with those `expected`."""
    for number, name in enumerate(expected, start=start):
        received = header[number] if number < len(header) else "nothing"
        if received != name:
            problem = f"expected '{name}', received '{received}'."
            raise damaged(path, f"row 1 (the header), column {number + 1}", problem)


def check_rows(path: Path, header: Sequence[str], rows: Rows) -> None:
    """Checks that there is a row below the header, and that all are as long as it."""
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise damaged(path, f"row {number}", f"expected {len(header)} columns, received {len(row)}.")
    if not rows:
        raise damaged(path, "row 2", "expected at least one sample, the file ends here.")


def check_unique(path: Path, ids: Sequence[str]) -> None:
    """Checks that no sample stands there twice."""
    first: dict[str, int] = {}
    for number, sample_id in enumerate(ids, start=2):
        if sample_id in first:
            problem = f"expected unique ids, received '{sample_id}' again (first in row {first[sample_id]})."
            raise damaged(path, f"row {number}, column 'sample_id'", problem)
        first[sample_id] = number


def read_numbers(
    path: Path, header: Sequence[str], rows: Rows, *, start: int, expected: str = "a number"
) -> NDArray[np.float64]:
    """Returns the columns from `start` on (counted from 0) as float64, a row a sample; NaN passes."""
    numbers = np.empty((len(rows), len(header) - start))
    for number, row in enumerate(rows):
        for column, text in enumerate(row[start:]):
            try:
                numbers[number, column] = float(text)
            except ValueError as error:
                where = f"row {number + 2}, column '{header[start + column]}'"
                raise damaged(path, where, f"expected {expected}, received '{text}'.") from error
    return numbers
