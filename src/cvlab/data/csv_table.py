"""CSV tables of images: a row an image, or a box in one, with its class, its numbers, or both."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Annotated, Literal

from pydantic import Field, model_validator

from cvlab.config import DataConfig
from cvlab.config_split import SplitConfig
from cvlab.config_values import AbsolutePath
from cvlab.data.csv_cells import BadRow, is_file
from cvlab.data.csv_classes import find_classes
from cvlab.data.csv_file import Record, find_columns, read_records
from cvlab.data.csv_rows import MOST_LISTED, Found, Row, RowReader, Rules
from cvlab.data.csv_settings import Classes, Columns, Delimiter, Header, Missing, Tables
from cvlab.data.image_file import EXTENSIONS
from cvlab.data.sample_sets import draw_samples, known_sample
from cvlab.data.samples import CLASS, new_table
from cvlab.data.source import Labels, LoadedSource, find_groups, is_synthetic
from cvlab.errors import DataError, counted, listing
from cvlab.text import printable

NAME = "csv_table"


class Config(DataConfig):
    """Settings of `csv_table`.

    Attributes:
        table: A CSV file, several, or one for each split: `{train: FILE, val: FILE, test: FILE}`.
        root: The folder that images are below; null: the folder of the first table.
        columns: Which columns say what.
        header: Whether the first line holds names; auto: it does if columns are given by name, or its image
            does not look like one.
        delimiter: What stands between cells.
        suffix: What to append to the paths of images (where they stand without `.jpg`).
        classes: `{cell: name}`, or the cells to use, in the order of the network's outputs; null: all, sorted.
        missing: Numbers that stand for no value, and '' for empty cells; such rows are left out.
        box_format: What `columns.box` are: left, top, width, height (xywh) or left, top, right, bottom (xyxy).
        on_bad_row: What to do about rows that cannot be used.
        sample: The drawn data set that `--sample` uses.
    """

    name: Literal["csv_table"] = "csv_table"
    table: Tables
    root: AbsolutePath | None = None
    columns: Columns
    header: Header = "auto"
    delimiter: Delimiter = ","
    suffix: str = ""
    classes: Classes | None = None
    missing: Missing = Field(default_factory=list)
    box_format: Literal["xywh", "xyxy"] = "xywh"
    on_bad_row: Literal["error", "skip"] = "error"
    sample: Annotated[str, known_sample(NAME)] | None = None

    @model_validator(mode="after")
    def _no_contradiction(self) -> Config:
        columns, split = self.columns, self.split
        is_split = isinstance(self.table, dict) or columns.split is not None
        contradictions = (
            (self.header is False and self.by_name, "columns by number where `header` is false"),
            (
                self.header == "auto" and not self.by_name and self.suffix,
                "`header` to be true or false, since with `suffix` the first line does not tell",
            ),
            (
                isinstance(self.table, dict) and columns.split is not None,
                "either a table for each split or `columns.split`, not both",
            ),
            (
                is_split and (split.train is not None or split.test is not None),
                "no `split.train` and `split.test` where the table is split already",
            ),
            (is_split and split.folds is not None, "no `split.folds` where the table is split already"),
            (
                columns.group is not None and split.group_pattern is not None,
                "either `columns.group` or `split.group_pattern`, not both",
            ),
            (self.classes is not None and columns.label is None, "`columns.label` for `classes`"),
            (self.missing and not columns.numbers, "`columns.numbers` for `missing`"),
            (self.box_format == "xyxy" and columns.box is None, "`columns.box` for `box_format`"),
        )
        for wrong, expected in contradictions:
            if wrong:
                raise ValueError(f"expected {expected}")
        return self

    @property
    def by_name(self) -> bool:
        """Whether any column is given by its name, which only a header tells."""
        return any(isinstance(column, str) for column in self.columns.wanted().values())

    @property
    def files(self) -> list[tuple[str, Path]]:
        """The tables, each with the split that it stands for, if any."""
        return [*self.table.items()] if isinstance(self.table, dict) else [("", file) for file in self.table]


def load(config: Config) -> LoadedSource:
    """Reads the tables, and looks whether their images are there.

    Raises:
        DataError: A table cannot be read or lacks a column, rows cannot be used, or a class has no rows.
    """
    files = config.files
    root = config.root or files[0][1].parent
    if config.root is not None and not os.path.isdir(root):
        raise DataError(
            f"data.root: {printable(str(root))}: there is no such folder; expected the folder of the images."
        )
    found = Found()
    paths = [path for _, path in files]
    for split, path in files:
        short = path.name if [other.name for other in paths].count(path.name) == 1 else str(path)
        _read_table(config, path, split, root, printable(short), found)
    rows = found.usable()
    _check_bad_rows(config, found, rows)
    class_names = () if config.columns.label is None else find_classes(config.classes, rows, found.notes)
    labels = Labels(class_names=class_names, numbers=tuple(config.columns.numbers))
    names = [f"{root.name}/{row.path}" for row in rows]
    groups, unmatched = find_groups(names, config.split.group_pattern)
    if config.columns.group is not None:
        groups = [row.group for row in rows]
    ids = [f"{name}#{row.box}" if row.box else name for name, row in zip(names, rows, strict=True)]
    return LoadedSource(
        table=new_table(
            ids,
            [root / row.path for row in rows],
            groups,
            _targets(labels, rows),
            split=[row.split for row in rows],
            box=[row.box for row in rows],
        ),
        labels=labels,
        to_merge="name all tables in one list (table: [FILE, FILE]), without `columns.split`, and split anew",
        origin=", ".join(map(str, paths)),
        synthetic=any(is_synthetic(folder) for folder in (root, *(path.parent for path in paths))),
        unmatched_groups=unmatched,
        notes=found.notes,
        places={name: row.place for name, row in zip(ids, rows, strict=True)},
    )


def _targets(labels: Labels, rows: Sequence[Row]) -> dict[str, list[str]]:
    classes = {CLASS: [row.label for row in rows]} if labels.class_names else {}
    return classes | {name: [row.numbers[i] for row in rows] for i, name in enumerate(labels.numbers)}


def _read_table(config: Config, path: Path, split: str, root: Path, name: str, found: Found) -> None:
    """Adds the rows of one file, called `name` in messages, to what was found."""
    records = read_records(path, delimiter=config.delimiter)
    first = next(records, None)
    if first is None:
        raise DataError(f"{printable(str(path))}: the file is empty.")
    wanted = config.columns.wanted()
    at = find_columns(path, first, wanted)
    rules = Rules(
        root=root,
        suffix=config.suffix,
        classes=config.classes,
        missing=frozenset(config.missing),
        corners=config.box_format == "xyxy",
    )
    reader = RowReader(rules, wanted, at, split=split)
    numbers = [*config.columns.numbers]
    is_header = _is_header(config, path, first, first.cells[at["image"]], root)
    for line, cells in chain([] if is_header else [first], records):
        place = f"{name}:{line}"
        try:
            if len(cells) != len(first.cells):
                raise BadRow(
                    f"expected {counted(len(first.cells), 'cell')} as in the first line, received {len(cells):,}"
                )
            row = reader.read(cells, place)
            if row is not None:
                found.add(row, numbers)
        except BadRow as error:
            found.bad.add(place, str(error))
    found.notes += reader.left_out(name)


def _is_header(config: Config, path: Path, first: Record, image: str, root: Path) -> bool:
    """Whether the first line holds names; `image` is its cell in the column of images."""
    is_there = isinstance(config.columns.image, int) and is_file(root, image.strip() + config.suffix)
    if config.header == "auto" and not config.by_name:
        return not is_there and PurePosixPath(image.strip()).suffix.lower() not in EXTENSIONS
    is_header = config.by_name or config.header is True
    if is_header and is_there:
        raise DataError(
            f"{printable(str(path))}:{first.line}: expected a header, received a row of data: its image is there "
            f"({printable(image)}). Set data.header to false."
        )
    return is_header


def _check_bad_rows(config: Config, found: Found, rows: Sequence[Row]) -> None:
    """Bad rows are errors, or left out and said; something must be left."""
    bad = found.bad
    if bad.count and (config.on_bad_row == "error" or not rows):
        hint = "" if config.on_bad_row == "skip" else ", or leave them out with `data.on_bad_row=skip`"
        rows_said = listing(bad.listed(MOST_LISTED), limit=MOST_LISTED + 1)
        raise DataError(f"{counted(bad.count, 'row')} cannot be used:\n{rows_said}\nCorrect them{hint}.")
    if bad.count:
        # Of rows that contradict each other, the first is left out too.
        count = counted(bad.count + len(found.torn), "bad row")
        found.notes.append(f"{count} left out (data.on_bad_row: skip): {'; '.join(bad.listed(5))}.")
    if not rows:
        what = "\n".join(["no rows are left." if found.notes else "there is a header, but no row.", *found.notes])
        raise DataError(f"{printable(', '.join(str(path) for _, path in config.files))}: {what}")


def other_data(config: Config, path: Path) -> Config:
    """Returns the settings that read another table of the same columns, all of it (`cvlab evaluate --data`).

    A root below the folder of the first table is below that of the other one too, if that is there. Without a root,
    images lie beside the other table, or else beside the first one. The rows count as test data, so that classes may
    be missing.

    Raises:
        DataError: `path` is a folder.
    """
    path = Path(os.path.abspath(path))
    if path.is_dir():
        raise DataError(f"{path}: expected a CSV file with the columns of the run's tables, received a folder.")
    root, home = config.root, config.files[0][1].parent
    if root is not None and root.is_relative_to(home):
        moved = path.parent / root.relative_to(home)
        root = moved if moved.is_dir() else root
    columns = config.columns.model_copy(update={"split": None})
    other = config.model_copy(update={"table": {"test": path}, "root": root, "columns": columns})
    beside_first = other.model_copy(update={"root": home})
    if root is None and home != path.parent and _is_usable(beside_first) and not _is_usable(other):
        return beside_first
    return other


def _is_usable(config: Config) -> bool:
    try:
        load(config)
    except DataError:
        return False
    return True


def write_sample(configs: Sequence[Config], directory: Path, *, small: bool) -> list[Config]:
    """Returns settings that use the drawn sample set of each stage; see `sample_sets.draw_samples`."""
    drawn = draw_samples(
        NAME,
        configs,
        directory,
        small=small,
        data_of=lambda config: (*config.files, config.root),
        folder_of=lambda config: config.sample or "",
    )
    return [_on_sample(config, folder, module) for config, folder, module in drawn]


def _on_sample(config: Config, folder: Path, module: ModuleType) -> Config:
    """Points settings to a drawn set; whether they use classes, numbers or both, and their names, stay."""
    free = [name for name in module.NUMBERS if name not in config.columns.numbers]
    others = [name for name in config.columns.numbers if name not in module.NUMBERS]
    if len(others) > len(free):
        raise DataError(f"--sample: the drawn set has the numbers {', '.join(module.NUMBERS)} only.")
    stand_ins = dict(zip(others, free, strict=False))
    columns = Columns(
        image=module.IMAGE,
        label=None if config.columns.label is None else module.LABEL,
        numbers={name: stand_ins.get(name, name) for name in config.columns.numbers},
        box=module.BOX,
    )
    # The drawn table is not split, so that what completes a given split means nothing there.
    split = SplitConfig() if isinstance(config.table, dict) or config.columns.split is not None else config.split
    drawn = {
        "table": [folder / module.TABLE],
        "root": folder / module.IMAGES,
        "columns": columns,
        "classes": None if columns.label is None else dict(module.CLASSES),
        "missing": [module.MISSING] if columns.numbers else [],
        "split": split.model_copy(update={"group_pattern": module.GROUP_PATTERN}),
    }
    plain = {name: Config.model_fields[name].default for name in ("header", "delimiter", "suffix", "box_format")}
    return config.model_copy(update=drawn | plain)
