"""Reads a CSV file record by record, and finds its columns; says in which line what is wrong."""

from __future__ import annotations

import codecs
import csv
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from cvlab.errors import DataError, counted, did_you_mean, listing
from cvlab.text import printable

MAX_BYTES = 1_000_000_000
MAX_ROWS = 10_000_000
MAX_LINE = 1_000_000
MAX_SHOWN = 60
MAX_COMPARED = 1000

Column = str | int


class Record(NamedTuple):
    """One row of a file, and the line in which it begins (a quoted cell may go over several lines)."""

    line: int
    cells: list[str]


def read_records(path: Path, *, delimiter: str) -> Iterator[Record]:
    """Yields the records of a CSV file one by one; empty lines are passed over.

    Raises:
        DataError: The file is missing, too large, no regular file, no UTF-8 text or no CSV.
    """
    _check_file(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _records(file, path, delimiter)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{_at(path, _line_of_bad_bytes(path))}: expected text in UTF-8, received other bytes. Save the table "
            "again as UTF-8 (in Excel: 'CSV UTF-8')."
        ) from error
    except OSError as error:
        raise DataError(f"{_shown(path)}: cannot be read ({error.strerror}).") from error


def _shown(path: Path) -> str:
    return printable(str(path))


def _at(path: Path, line: int) -> str:
    return f"{_shown(path)}:{line}"


def _check_file(path: Path) -> None:
    try:
        found = path.stat()
    except OSError as error:
        reason = (
            "there is no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        )
        raise DataError(f"{_shown(path)}: {reason} (paths are relative to the working directory).") from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "something else"
        raise DataError(f"{_shown(path)}: expected a CSV file, received {kind}.")
    if found.st_size > MAX_BYTES:
        raise DataError(f"{_shown(path)}: expected a table of at most {MAX_BYTES:,} bytes, received {found.st_size:,}.")


def _records(file: TextIO, path: Path, delimiter: str) -> Iterator[Record]:
    # Not strict, a quote that is never closed would silently take all that follows into its cell.
    reader = csv.reader(_lines(file, path), delimiter=delimiter, strict=True)
    line, count = 1, 0
    try:
        for cells in reader:
            if cells:
                count += 1
                yield Record(line, cells)
            if count > MAX_ROWS:
                raise DataError(f"{_at(path, line)}: expected at most {MAX_ROWS:,} rows, received more.")
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f'{_at(path, line)}: the row that begins here is no CSV ({error}). Look for a quote (") that is not '
            'closed, or that is not doubled ("") within a quoted cell.'
        ) from error


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise DataError(f"{_at(path, number)}: expected at most {MAX_LINE:,} characters a line, received more.")
        if "\0" in line:
            raise DataError(f"{_at(path, number)}: expected text, received a NUL character. Is this a CSV file?")
        yield line


def _line_of_bad_bytes(path: Path) -> int:
    decoder = codecs.getincrementaldecoder("utf-8")()
    line = 1
    with path.open("rb") as file:
        while part := file.readline(MAX_LINE):
            try:
                decoder.decode(part)
            except UnicodeDecodeError:
                break
            line += part.endswith(b"\n")
    return line


def find_columns(path: Path, first: Record, wanted: Mapping[str, Column]) -> dict[str, int]:
    """Returns where each wanted column stands, by the key that wants it.

    Args:
        path: The file, for messages.
        first: Its first record: the header, where columns are wanted by name.
        wanted: For each key below `data.columns` a column: its name, or its number counted from 0.

    Raises:
        DataError: A column is missing, or its name stands twice in the header.
    """
    names = [cell.strip() for cell in first.cells]
    found, faults = {}, []
    for key, column in wanted.items():
        matches = [column][: column < len(names)] if isinstance(column, int) else _places_of(column, names)
        if len(matches) == 1:
            found[key] = matches[0]
        elif matches:
            faults.append(f"data.columns.{key}: the column '{column}' stands {len(matches)} times in the header")
        else:
            near = did_you_mean(column, map(printable, names[:MAX_COMPARED]))
            faults.append(f"data.columns.{key}: there is no column {column!r}{near}")
    if faults:
        raise DataError(f"{_at(path, first.line)}: the columns do not fit:\n{listing(faults)}\n{_what_there_is(names)}")
    return found


def _places_of(name: str, names: Sequence[str]) -> list[int]:
    return [place for place, other in enumerate(names) if other == name]


def _what_there_is(names: Sequence[str]) -> str:
    shown = ", ".join([quoted(name) for name in names[:MAX_SHOWN]] + ["..."] * (len(names) > MAX_SHOWN))
    text = f"The first line has {counted(len(names), 'cell')}, counted from 0: {shown}."
    other = next((mark for mark in (",", ";", "\t", "|") if len(names) == 1 and mark in names[0]), None)
    if other:
        return f"{text} Are they divided by {quoted(other)}? Then set data.delimiter."
    return f"{text} A file without a header needs columns given by their numbers."


def quoted(cell: str) -> str:
    """Returns a cell as messages show it: in quotes, on one line, shortened."""
    return f'"{printable(cell[:MAX_SHOWN])}{"..." if len(cell) > MAX_SHOWN else ""}"'
