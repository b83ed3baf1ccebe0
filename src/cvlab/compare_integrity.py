"""Whether a table of predictions speaks of the samples of its run, with their groups and their truth."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from cvlab.bounded_file import read_bounded
from cvlab.errors import RunFolderError, counted
from cvlab.metrics.prediction_rows import MAX_BYTES
from cvlab.report_record import RunRecord
from cvlab.spreadsheet import as_written

TARGET = "target:"
# What `samples.csv` calls the class that a predictions table has as `target`.
CLASS = "target:class"


def check_against_samples(record: RunRecord, file: Path, split: str) -> None:
    """Checks the rows of a sound table of predictions against `samples.csv`.

    Args:
        record: The run.
        file: The table.
        split: Whose predictions it holds; what `samples.csv` does not know, such as other data, is not checked.

    Raises:
        RunFolderError: A sample is missing, or is none of the run's; its group or its truth is another one. The message
            names row and column (the header is row 1).
    """
    expected = samples_of(record, split)
    if not expected:
        return
    for number, row in enumerate(rows_of(file), start=2):
        sample = expected.pop(row["sample_id"], None)
        if sample is None:
            raise _edited(record, file, number, "sample_id", "a sample of this split", row["sample_id"])
        for column in row:
            known = sample.get(CLASS if column == "target" else column)
            told = column == "group" or column == "target" or column.startswith(TARGET)
            if told and known is not None and not _same(known, row[column]):
                raise _edited(record, file, number, column, f"'{known}' for '{row['sample_id']}'", row[column])
    if expected:
        raise RunFolderError(
            f"{file}: lacks {counted(len(expected), 'sample')} of {record.run.samples}, such as '{min(expected)}'. "
            f"`cvlab evaluate {record.run.path}` writes the file anew."
        )


def samples_of(record: RunRecord, split: str) -> dict[str, Mapping[str, str]]:
    """Returns the rows of `samples.csv` by id, those of a split of the last stage; none where there is no such file."""
    if not record.run.samples.is_file() or not record.stages:
        return {}
    here = (record.stages[-1], split)
    return {
        row["sample_id"]: row
        for row in rows_of(record.run.samples)
        if (row.get("stage"), row.get("split")) == here and row.get("sample_id")
    }


def rows_of(file: Path) -> list[dict[str, str]]:
    """Returns the rows of a table by column; short ones lack the last columns.

    Raises:
        RunFolderError: It cannot be read as CSV.
    """
    try:
        text = read_bounded(file, MAX_BYTES).decode("utf-8")
        rows = [[*map(as_written, row)] for row in csv.reader(io.StringIO(text, newline=""))] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunFolderError(f"{file}: cannot be read as CSV ({error}).") from error
    return [dict(zip(rows[0], row, strict=False)) for row in rows[1:] if row]


def _same(one: str, other: str) -> bool:
    """Whether two texts are the same, as numbers where both are some."""
    if one == other:
        return True
    try:
        return float(one) == float(other)
    except ValueError:
        return False


def _edited(record: RunRecord, file: Path, row: int, column: str, expected: str, received: str) -> RunFolderError:
    return RunFolderError(
        f"{file}: row {row}, column '{column}': expected {expected} as in {record.run.samples.name}, received "
        f"'{received}'. `cvlab evaluate {record.run.path}` writes the file anew."
    )
