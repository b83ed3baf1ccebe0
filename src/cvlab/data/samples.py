"""The table of samples: what every data source becomes, and what everything later keys on."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from cvlab.bounded_file import read_bounded
from cvlab.config import Variant
from cvlab.errors import DataError, RunFolderError, counted, listing
from cvlab.spreadsheet import as_text, as_written
from cvlab.text import printable

SPLITS = ("train", "val", "test")
_COLUMNS = ("sample_id", "stage", "split", "group", "path", "mask", "box", "variant", "content")
_TARGET = "target:"
MAX_BYTES = 1_000_000_000
CLASS = "class"
MASK = "mask"


def text_column(values: Sequence[str]) -> np.ndarray:
    """Returns a column of Python strings (no cut at a fixed width)."""
    column = np.empty(len(values), dtype=object)
    column[:] = list(values)
    return column


@dataclass(frozen=True)
class SampleTable:
    """One row a sample. Columns are arrays of equal length.

    Attributes:
        sample_id: `<root name>/<path relative to the root>`, unique within a stage; `#<variant>` is added to it.
        stage: The training stage that uses the sample.
        split: `train`, `val` or `test`; empty until the table is split.
        group: What must stay on one side of a split (a person, a patient); the sample's own id if unknown.
        path: Absolute path of the image.
        mask: Absolute path of the file that shows where the structure is; empty where there is none.
        box: The part of the upright image to use, `left,top,width,height` in whole pixels; empty for all of it.
        variant: How the image is turned (`data.expand`); empty where it is as it is.
        content: SHA-256 of the file; empty until the files were read.
        targets: Columns of what is to be predicted, by name: `class` holds names of classes, others the shortest
            texts that read back to exactly the numbers, and `mask` the SHA-256 of the mask's file.
    """

    sample_id: np.ndarray
    stage: np.ndarray
    split: np.ndarray
    group: np.ndarray
    path: np.ndarray
    mask: np.ndarray
    box: np.ndarray
    variant: np.ndarray
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

    def originals(self) -> SampleTable:
        """Returns the rows of images as they are, without the variants that `data.expand` made of them."""
        return self.take(self.variant == "")

    def with_columns(self, **columns: np.ndarray) -> SampleTable:
        """Returns the table with some columns replaced."""
        kept = {name: getattr(self, name) for name in _COLUMNS}
        return SampleTable(**(kept | columns), targets=self.targets)

    def with_targets(self, **columns: np.ndarray) -> SampleTable:
        """Returns the table with some targets added or replaced."""
        kept = {name: getattr(self, name) for name in _COLUMNS}
        return SampleTable(**kept, targets={**self.targets, **columns})

    def sorted(self) -> SampleTable:
        """Returns the rows ordered by id, so that nothing depends on the order of files on disk."""
        return self.take(np.argsort(self.sample_id, kind="stable"))

    @property
    def pixels(self) -> list[str]:
        """What the pixels of each sample are a function of, besides decoding and turning: its content and its box."""
        return _with_boxes(self.content, self.box)

    @property
    def has_masks(self) -> bool:
        """Whether the samples have masks."""
        return bool((self.mask != "").any())

    @property
    def mask_pixels(self) -> list[str]:
        """The same of the masks, once their files were read; empty texts where there are none."""
        return _with_boxes(self.targets[MASK], self.box) if MASK in self.targets else [""] * len(self)

    def counts(self, target: str) -> dict[str, dict[str, int]]:
        """Returns `{split: {class: number of samples}}`."""
        return {
            split: dict(Counter(self.of_split(split).targets[target].tolist()))
            for split in SPLITS
            if (self.split == split).any()
        }

    def fingerprint(self) -> str:
        """SHA-256 over all that training depends on: ids, splits, groups, contents, boxes, variants and targets."""
        digest = hashlib.sha256()
        columns = [self.sample_id, self.split, self.group, self.pixels, self.variant]
        columns += [self.targets[name] for name in sorted(self.targets)]
        for row in zip(*columns, strict=True):
            digest.update("\x00".join(map(str, row)).encode() + b"\x01")
        return digest.hexdigest()


def _with_boxes(contents: np.ndarray, boxes: np.ndarray) -> list[str]:
    return [f"{content}[{box}]" if box else content for content, box in zip(contents, boxes, strict=True)]


def concatenate(tables: Sequence[SampleTable]) -> SampleTable:
    """Puts tables below each other; a target that one of them lacks is empty there."""
    columns = {name: np.concatenate([getattr(table, name) for table in tables]) for name in _COLUMNS}
    names = dict.fromkeys(name for table in tables for name in table.targets)
    parts = {name: [t.targets.get(name, text_column([""] * len(t))) for t in tables] for name in names}
    return SampleTable(**columns, targets={name: np.concatenate(columns) for name, columns in parts.items()})


def by_stage(table: SampleTable) -> list[SampleTable]:
    """Takes a table of several stages apart again, stages in their order."""
    return [table.take(table.stage == stage) for stage in dict.fromkeys(table.stage)]


def new_table(
    sample_id: Sequence[str],
    path: Sequence[Path],
    group: Sequence[str],
    targets: Mapping[str, Sequence[str]],
    *,
    split: Sequence[str] | None = None,
    mask: Sequence[Path] | None = None,
    box: Sequence[str] | None = None,
) -> SampleTable:
    """Makes a table from what a source found.

    Raises:
        DataError: Two samples share an id, or a path is no text that could be written to a file.
    """
    _check_names([*path, *(mask or ())])
    doubles = [name for name, count in Counter(sample_id).items() if count > 1]
    if doubles:
        found = [f"{printable(name)}: {_files_of(name, sample_id, path)}" for name in sorted(doubles)]
        raise DataError(
            f"{counted(len(doubles), 'id')} of samples stand for several files; an id is <root name>/<path below the "
            f"root>. Rename a root, or name it by a link (ln -s) of another name:\n{listing(found)}"
        )
    empty = [""] * len(sample_id)
    return SampleTable(
        sample_id=text_column(sample_id),
        stage=text_column(empty),
        split=text_column(empty if split is None else split),
        group=text_column(group),
        path=text_column([str(p) for p in path]),
        mask=text_column(empty if mask is None else [str(p) for p in mask]),
        box=text_column(empty if box is None else box),
        variant=text_column(empty),
        content=text_column(empty),
        targets={name: text_column(values) for name, values in targets.items()},
    ).sorted()


def _files_of(name: str, sample_id: Sequence[str], path: Sequence[Path]) -> str:
    return " and ".join(printable(str(p)) for other, p in zip(sample_id, path, strict=True) if other == name)


def _check_names(path: Sequence[Path]) -> None:
    """Paths that are no UTF-8 hold surrogates, which no later file of the run could take."""
    broken = [str(p) for p in path if not _is_utf8(str(p))]
    if broken:
        raise DataError(
            f"{counted(len(broken), 'path')} cannot be written to the table of samples, being no UTF-8 text. "
            f"Rename these files or folders:\n{listing([printable(name) for name in broken])}"
        )


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def samples_csv(table: SampleTable) -> str:
    """Writes a table as CSV text, in which no cell is a formula."""
    names = list(table.targets)
    columns = [getattr(table, name) for name in _COLUMNS] + [table.targets[name] for name in names]
    # Python before 3.13 leaves a lone carriage return without quotes, and then cannot read it back.
    hazard = any("\r" in str(value) for column in columns for value in column)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL if hazard else csv.QUOTE_MINIMAL)
    writer.writerow([*_COLUMNS, *(_TARGET + name for name in names)])
    writer.writerows([*map(as_text, map(str, row))] for row in zip(*columns, strict=True))
    return out.getvalue()


def read_samples(path: Path) -> SampleTable:
    """Reads `samples.csv` of a run; every column, targets included, comes back as text.

    Raises:
        RunFolderError: The file is missing, or it is not a table of samples.
    """
    try:
        text = read_bounded(path, MAX_BYTES).decode("utf-8")
        header, *rows = [[*map(as_written, row)] for row in csv.reader(io.StringIO(text, newline=""))]
    except (OSError, ValueError, csv.Error) as error:
        raise RunFolderError(f"{path}: cannot be read as a table of samples ({error}).") from error
    named = all(name.startswith(_TARGET) for name in header[len(_COLUMNS) :]) and len(set(header)) == len(header)
    if tuple(header[: len(_COLUMNS)]) != _COLUMNS or not named or any(len(row) != len(header) for row in rows):
        raise RunFolderError(
            f"{path}: is damaged: expected the columns {', '.join(_COLUMNS)}, {_TARGET}<name>, and full rows."
        )
    columns = {name: text_column([row[i] for row in rows]) for i, name in enumerate(header)}
    for name, known in (("split", SPLITS), ("variant", get_args(Variant))):
        if unknown := sorted({*columns[name]} - {*known, ""}):
            expected = ", ".join(known)
            raise RunFolderError(
                f"{path}: is damaged: expected a {name} out of {expected}, found '{printable(unknown[0])}'."
            )
    targets = {name.removeprefix(_TARGET): columns.pop(name) for name in header[len(_COLUMNS) :]}
    return SampleTable(**columns, targets=targets)
