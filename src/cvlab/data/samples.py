"""The table of samples: what every data source becomes, and what everything later keys on."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cvlab.errors import DataError, RunFolderError, listing

SPLITS = ("train", "val", "test")
_COLUMNS = ("sample_id", "stage", "split", "group", "path", "content")
_TARGET = "target:"


def text_column(values: Sequence[str]) -> np.ndarray:
    """Returns a column of Python strings (no cut at a fixed width)."""
    column = np.empty(len(values), dtype=object)
    column[:] = list(values)
    return column


@dataclass(frozen=True)
class SampleTable:
    """One row a sample. Columns are arrays of equal length.

    Attributes:
        sample_id: `<root name>/<path relative to the root>`, unique within a stage.
        stage: The training stage that uses the sample.
        split: `train`, `val` or `test`; empty until the table is split.
        group: What must stay on one side of a split (a person, a patient); the sample's own id if unknown.
        path: Absolute path of the image.
        content: SHA-256 of the file; empty until the files were read.
        targets: Columns of what is to be predicted, by name (text, or float64).
    """

    sample_id: np.ndarray
    stage: np.ndarray
    split: np.ndarray
    group: np.ndarray
    path: np.ndarray
    content: np.ndarray
    targets: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.sample_id)

    def take(self, which: np.ndarray) -> SampleTable:
        """Returns the rows that a mask or an index array names."""
        columns = {name: getattr(self, name)[which] for name in _COLUMNS}
        return SampleTable(**columns, targets={name: column[which] for name, column in self.targets.items()})

    def of_split(self, split: str) -> SampleTable:
        """Returns the rows of one split."""
        return self.take(self.split == split)

    def with_columns(self, **columns: np.ndarray) -> SampleTable:
        """Returns the table with some columns replaced."""
        return replace(self, **columns)  # type: ignore[arg-type]

    def sorted(self) -> SampleTable:
        """Returns the rows ordered by id, so that nothing depends on the order of files on disk."""
        return self.take(np.argsort(self.sample_id, kind="stable"))

    def counts(self, target: str) -> dict[str, dict[str, int]]:
        """Returns `{split: {class: number of samples}}`."""
        return {
            split: dict(Counter(self.of_split(split).targets[target].tolist()))
            for split in SPLITS
            if (self.split == split).any()
        }

    def fingerprint(self) -> str:
        """SHA-256 over everything that training depends on: ids, splits, groups, contents and targets."""
        digest = hashlib.sha256()
        columns = [self.sample_id, self.split, self.group, self.content]
        columns += [self.targets[name] for name in sorted(self.targets)]
        for row in zip(*columns, strict=True):
            digest.update("\x00".join(map(str, row)).encode() + b"\x01")
        return digest.hexdigest()


def concatenate(tables: Sequence[SampleTable]) -> SampleTable:
    """Puts tables with the same targets below each other."""
    columns = {name: np.concatenate([getattr(table, name) for table in tables]) for name in _COLUMNS}
    names = list(tables[0].targets)
    return SampleTable(**columns, targets={name: np.concatenate([t.targets[name] for t in tables]) for name in names})


def new_table(
    sample_id: Sequence[str],
    path: Sequence[Path],
    group: Sequence[str],
    targets: Mapping[str, Sequence[str]],
    *,
    split: Sequence[str] | None = None,
) -> SampleTable:
    """Makes a table from what a source found; raises `DataError` if two samples share an id."""
    doubles = [name for name, count in Counter(sample_id).items() if count > 1]
    if doubles:
        raise DataError(
            f"{len(doubles)} sample ids stand for several files; an id is <root name>/<path below the root>. "
            f"Give the roots different names:\n{listing(sorted(doubles))}"
        )
    empty = [""] * len(sample_id)
    return SampleTable(
        sample_id=text_column(sample_id),
        stage=text_column(empty),
        split=text_column(empty if split is None else split),
        group=text_column(group),
        path=text_column([str(p) for p in path]),
        content=text_column(empty),
        targets={name: text_column(values) for name, values in targets.items()},
    ).sorted()


def samples_csv(table: SampleTable) -> str:
    """Writes a table as CSV text."""
    names = list(table.targets)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_COLUMNS, *(_TARGET + name for name in names)])
    columns = [getattr(table, name) for name in _COLUMNS] + [table.targets[name] for name in names]
    writer.writerows(zip(*columns, strict=True))
    return out.getvalue()


def read_samples(path: Path) -> SampleTable:
    """Reads `samples.csv` of a run.

    Raises:
        RunFolderError: The file is missing or its columns are not those of a table of samples.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file))
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path}: cannot be read as a table of samples ({error}).") from error
    if tuple(header[: len(_COLUMNS)]) != _COLUMNS or any(len(row) != len(header) for row in rows):
        raise RunFolderError(f"{path}: is damaged: expected the columns {', '.join(_COLUMNS)} and full rows.")
    columns = {name: text_column([row[i] for row in rows]) for i, name in enumerate(header)}
    targets = {name.removeprefix(_TARGET): columns.pop(name) for name in header[len(_COLUMNS) :]}
    return SampleTable(**columns, targets=targets)
