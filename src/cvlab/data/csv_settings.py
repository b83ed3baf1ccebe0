"""The kinds of values that the settings of `csv_table` have, and which columns of a table say what."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from cvlab.config_values import AbsolutePath, Settings
from cvlab.data.csv_cells import class_cell
from cvlab.data.csv_file import Column
from cvlab.data.samples import CLASS, SPLITS


def _column(value: Any) -> Any:
    if isinstance(value, str) and value.strip():
        return value.strip()
    if type(value) is int and value >= 0:
        return value
    raise ValueError("expected the name of a column, or its number counted from 0")


def _numbers(value: Any) -> Any:
    """Turns a list of columns into `{target: column}`."""
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        if len(set(value)) < len(value):
            raise ValueError("expected every entry once")
        value = {name.strip(): name for name in value}
    if not isinstance(value, dict):
        raise ValueError("expected a list of names of columns, or a mapping such as {valence: 7, arousal: 8}")
    for name in value:
        if name == CLASS or not re.fullmatch(r"\w[\w.-]{0,99}", name):
            raise ValueError(
                f"expected targets named by letters, digits, `_`, `-` and `.`, and not '{CLASS}', received {name!r} "
                "(a target need not be called as its column: {age: 'Age (years)'})"
            )
    return value


def _tables(value: Any) -> Any:
    """Turns one file into a list of it."""
    if isinstance(value, str | Path):
        value = [value]
    files = [*value.values()] if isinstance(value, dict) else value
    fits = isinstance(files, list) and files and all(isinstance(file, str | Path) for file in files)
    if not fits or (isinstance(value, dict) and not {"train"} <= set(value) <= set(SPLITS)):
        raise ValueError("expected a CSV file, a list of them, or a mapping {train: FILE, val: FILE, test: FILE}")
    if len({os.path.abspath(file) for file in files}) < len(files):
        raise ValueError("expected every file once")
    return value


def _classes(value: Any) -> Any:
    """Turns a list of cells into `{cell: name}`, and every cell into its shortest spelling."""
    if isinstance(value, list) and all(type(cell) in (str, int) for cell in value):
        pairs = [(str(cell), class_cell(str(cell))) for cell in value]
    elif isinstance(value, dict):
        pairs = [*value.items()]
    else:
        raise ValueError("expected a mapping such as {0: neutral, 1: happy}, or a list of the cells to use")
    classes = {class_cell(str(cell)): name for cell, name in pairs}
    if len(classes) < len(pairs):
        raise ValueError("expected every cell once")
    names = {str(name) for name in classes.values()}
    if len(names) < 2:
        raise ValueError("expected at least 2 classes")
    if len({name.casefold() for name in names}) < len(names):
        raise ValueError("expected one spelling for each class, received two that differ in capitals")
    return classes


def _header(value: Any) -> Any:
    if isinstance(value, bool) or value == "auto":
        return value
    raise ValueError("expected true, false or 'auto'")


def _delimiter(value: str) -> str:
    if len(value) == 1 and value not in '"\r\n':
        return value
    raise ValueError("expected one character, such as ',' or ';'")


def _missing(value: Any) -> Any:
    fits = isinstance(value, list) and all(entry == "" or type(entry) in (int, float) for entry in value)
    if not fits:
        raise ValueError("expected a list of numbers, with '' for empty cells")
    if len(set(value)) < len(value):
        raise ValueError("expected every entry once")
    return value


ColumnSetting = Annotated[str | int, BeforeValidator(_column, json_schema_input_type=str | int)]
Tables = Annotated[
    dict[str, AbsolutePath] | list[AbsolutePath],
    BeforeValidator(_tables, json_schema_input_type=str | list[str] | dict[str, str]),
]
Header = Annotated[bool | Literal["auto"], BeforeValidator(_header, json_schema_input_type=bool | Literal["auto"])]
Delimiter = Annotated[str, AfterValidator(_delimiter)]
Classes = Annotated[
    dict[str, Annotated[str, Field(min_length=1)]],
    BeforeValidator(_classes, json_schema_input_type=list[str | int] | dict[str, str]),
]
Missing = Annotated[
    list[float | Literal[""]], BeforeValidator(_missing, json_schema_input_type=list[float | Literal[""]])
]


class Columns(Settings):
    """Which columns of a table say what: by name, or by number counted from 0.

    Attributes:
        image: The path of the image below `root`.
        label: The class.
        numbers: Number targets: names of columns, or `{target: column}`.
        split: train, val (or valid, validation) or test.
        group: What must stay on one side of a split (a person, a patient).
        box: Left, top, width and height of the part of the image to use (see `box_format`), in pixels.
    """

    image: ColumnSetting
    label: ColumnSetting | None = None
    numbers: Annotated[
        dict[str, ColumnSetting],
        BeforeValidator(_numbers, json_schema_input_type=list[str] | dict[str, str | int]),
    ] = Field(default_factory=dict)
    split: ColumnSetting | None = None
    group: ColumnSetting | None = None
    box: tuple[ColumnSetting, ColumnSetting, ColumnSetting, ColumnSetting] | None = None

    @model_validator(mode="after")
    def _of_use(self) -> Columns:
        if self.label is None and not self.numbers:
            raise ValueError("expected `label`, `numbers` or both")
        doubles = [column for column, count in Counter(self.wanted().values()).items() if count > 1]
        if doubles:
            raise ValueError(f"expected a column of its own for each key, received {doubles[0]!r} twice")
        return self

    def wanted(self) -> dict[str, Column]:
        """Returns the columns by key, as the user writes it below `data.columns`."""
        single = {key: getattr(self, key) for key in ("image", "label", "split", "group")}
        numbers = {f"numbers.{name}": column for name, column in self.numbers.items()}
        box = {f"box.{i}": column for i, column in enumerate(self.box or ())}
        return {key: column for key, column in (single | numbers | box).items() if column is not None}
