"""The classes that tables of samples name."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

from cvlab.data.csv_cells import natural
from cvlab.data.csv_file import quoted
from cvlab.data.csv_rows import Row
from cvlab.errors import DataError
from cvlab.text import printable

MOST_CLASSES = 1000


def find_classes(classes: Mapping[str, str] | None, rows: Sequence[Row], notes: Sequence[str]) -> tuple[str, ...]:
    """Returns the classes in the order of the outputs.

    Args:
        classes: For each cell the name of its class; None for the names that rows have.
        rows: The rows that are used.
        notes: What was left out, for messages.

    Raises:
        DataError: There is training, and a class has no rows for it; or these are no classes.
    """
    names = classes_of(rows) if classes is None else [*dict.fromkeys(classes.values())]
    trained = {row.label for row in rows if row.split in ("", "train")}
    lacking = [_with_cells(name, classes) for name in names if name not in trained]
    if trained and lacking:
        training = "training rows" if rows[0].split else "rows"
        raise DataError(
            "\n".join(
                [
                    f"data.classes: every class needs {training}; there are none of {', '.join(lacking)}. Correct the "
                    "classes, or take them out.",
                    *notes,
                ]
            )
        )
    if trained and len(names) < 2:
        raise DataError(f"data.columns.label: expected at least 2 classes, found only {printable(names[0])}.")
    return tuple(names)


def classes_of(rows: Sequence[Row]) -> list[str]:
    """Returns the classes that rows have, sorted; whole numbers by value.

    Raises:
        DataError: These are no classes, or two of them are spellings of one.
    """
    names = sorted({row.label for row in rows}, key=natural)
    if len(names) > MOST_CLASSES:
        shown = ", ".join(quoted(name) for name in names[:3])
        raise DataError(
            f"data.columns.label: expected a column of classes, found {len(names):,} different values ({shown}, ...). "
            "Name another column, or list the classes in data.classes."
        )
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(unicodedata.normalize("NFKC", name).casefold(), name)
        if other != name:
            raise DataError(
                f"data.columns.label: {quoted(other)} and {quoted(name)} would be two classes, but differ only in "
                "capitals or encoding. Say in data.classes which cell is which class: {CELL: NAME, ...}."
            )
    return names


def _with_cells(name: str, classes: Mapping[str, str] | None) -> str:
    """A class with the cells that stand for it, where a setting says so."""
    cells = [quoted(cell) for cell, other in (classes or {}).items() if other == name]
    return printable(name) + (f" (cell {', '.join(cells)})" if cells else "")
