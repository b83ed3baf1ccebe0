"""What a row of a table of samples says; what is wrong with it, and what is left out, is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from cvlab.data.csv_cells import (
    BadRow,
    box_text,
    class_cell,
    is_file,
    natural,
    number_cell,
    path_cell,
    split_cell,
    text_cell,
)
from cvlab.data.csv_file import MAX_SHOWN, Column
from cvlab.errors import counted
from cvlab.text import printable

MOST_COUNTS = 10
MOST_LISTED = 20


class Row(NamedTuple):
    """What a row says of one sample; `path` is below the root, `numbers` are the shortest texts that read back."""

    place: str
    path: str
    box: str
    split: str
    group: str
    label: str
    numbers: tuple[str, ...]

    def differences(self, other: Row, names: Sequence[str]) -> str:
        """Says in which values two rows differ, in words; empty where they are the same."""
        mine, others = ([row.label, row.split, row.group, *row.numbers] for row in (self, other))
        pairs = zip(("class", "split", "group", *names), mine, others, strict=True)
        return "; ".join(f"{name}: {printable(a)}, there {printable(b)}" for name, a, b in pairs if a != b)


@dataclass(frozen=True)
class Rules:
    """How cells are read.

    Attributes:
        root: The folder that paths of images are below.
        suffix: What is missing at the end of the paths.
        classes: For each class cell the name of its class; None takes cells as names.
        missing: Numbers that stand for no value, and '' for empty cells.
        corners: Whether boxes are left, top, right, bottom.
    """

    root: Path
    suffix: str
    classes: Mapping[str, str] | None
    missing: frozenset[float | Literal[""]]
    corners: bool


T = TypeVar("T")


class RowReader:
    """Reads the rows of one file, and counts those that are left out for what they say."""

    def __init__(self, rules: Rules, columns: Mapping[str, Column], at: Mapping[str, int], *, split: str) -> None:
        """Starts on a file.

        Args:
            rules: How cells are read.
            columns: The wanted columns by key, as messages name them.
            at: Where they stand in this file.
            split: The split of all its rows, where there is no column for it.
        """
        self._rules, self._columns, self._at, self._split = rules, columns, at, split
        self._numbers = [key for key in columns if key.startswith("numbers.")]
        self._box = [key for key in columns if key.startswith("box.")]
        self._unnamed: Counter[str] = Counter()
        self._missing: Counter[str] = Counter()
        self._without_number = 0

    def read(self, cells: Sequence[str], place: str) -> Row | None:
        """Returns what a row says; None where it is left out.

        Raises:
            BadRow: The row cannot be used.
        """
        label = self._label(cells)
        if label is None:
            return None
        numbers = [self._cell(key, self._number, cells) for key in self._numbers]
        missing = [key for key, value in zip(self._numbers, numbers, strict=True) if value is None]
        if missing:
            self._missing.update(missing)
            self._without_number += 1
            return None
        split = self._cell("split", split_cell, cells) if "split" in self._at else self._split
        group = self._cell("group", text_cell, cells) if "group" in self._at else ""
        edges = [self._cell(key, number_cell, cells) for key in self._box]
        box = box_text(edges, corners=self._rules.corners) if edges else ""
        path = self._cell("image", self._image, cells)
        return Row(place, path, box, split, group, label, tuple(map(repr, numbers)))

    def _number(self, cell: str) -> float | None:
        if not cell.strip() and "" in self._rules.missing:
            return None
        value = number_cell(cell)
        return None if value in self._rules.missing else value

    def _cell(self, key: str, read: Callable[[str], T], cells: Sequence[str]) -> T:
        try:
            return read(cells[self._at[key]])
        except BadRow as error:
            raise BadRow(f"column {self._columns[key]}: {error}") from error

    def _label(self, cells: Sequence[str]) -> str | None:
        if "label" not in self._at:
            return ""
        cell = class_cell(self._cell("label", text_cell, cells))
        if self._rules.classes is None or cell in self._rules.classes:
            return cell if self._rules.classes is None else self._rules.classes[cell]
        self._unnamed[cell] += 1
        return None

    def _image(self, cell: str) -> str:
        path = path_cell(cell, suffix=self._rules.suffix)
        if not is_file(self._rules.root, path):
            folders = "; write '/' between folders" if "\\" in path else ""
            raise BadRow(f"there is no file {printable(str(self._rules.root / path))}{folders}")
        return path

    def left_out(self, name: str) -> list[str]:
        """Says how many rows of the file, called `name`, were left out for what they say."""
        notes = []
        if count := self._unnamed.total():
            cells = _counts(sorted(self._unnamed.items(), key=lambda item: natural(item[0])))
            notes.append(
                f"{name}: {counted(count, 'row')} left out, since data.classes does not name their class: {cells}."
            )
        if self._without_number:
            columns = _counts([(str(self._columns[key]), count) for key, count in self._missing.items()])
            notes.append(
                f"{name}: {counted(self._without_number, 'row')} left out, since they have no number "
                f"(data.missing): {columns}."
            )
        return notes


def _counts(found: Sequence[tuple[str, int]]) -> str:
    shown = [f"{printable(name[:MAX_SHOWN])} ({count:,})" for name, count in found[:MOST_COUNTS]]
    more = len(found) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


@dataclass
class BadRows:
    """Rows that cannot be used: how many, and what is wrong with the first of them."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, place: str, reason: str) -> None:
        """Adds a row."""
        self.count += 1
        if len(self.first) < MOST_LISTED:
            self.first.append(f"{place}: {reason}")

    def listed(self, limit: int) -> list[str]:
        """Returns the first ones, and how many more there are."""
        more = self.count - len(self.first[:limit])
        return self.first[:limit] + ([f"and {more:,} more"] if more else [])


@dataclass
class Found:
    """What the tables hold: a row for each image and box, and what cannot be used."""

    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    torn: set[tuple[str, str]] = field(default_factory=set)
    bad: BadRows = field(default_factory=BadRows)
    notes: list[str] = field(default_factory=list)

    def add(self, row: Row, numbers: Sequence[str]) -> None:
        """Takes a row.

        Raises:
            BadRow: The same image and box were named before.
        """
        key = row.path, row.box
        first = self.rows.setdefault(key, row)
        if first is row:
            return
        name = printable(row.path) + (f" with the box {row.box}" if row.box else "")
        differences = row.differences(first, numbers)
        if not differences:
            raise BadRow(f"names {name} again, as {first.place} does")
        # Which of the two is right is unknown, so that neither may be used.
        self.torn.add(key)
        raise BadRow(f"names {name} as {first.place} does, with other values ({differences})")

    def usable(self) -> list[Row]:
        """Returns the rows, less those that contradict others."""
        return [row for key, row in self.rows.items() if key not in self.torn]
