"""The report of a repetition: its parts, the spread of their results, and pooled results. From files only."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cvlab.config_file import differences
from cvlab.document import Alert, Block, Code, Document, Paragraph, Quote, Section, Table, to_markdown
from cvlab.errors import counted
from cvlab.report import SYNTHETIC, write_report
from cvlab.report_record import RunRecord, read_record
from cvlab.report_text import md, number
from cvlab.repetitions import OWN_BUSINESS, Parent
from cvlab.run_folder import Json, read_json, write_text
from cvlab.text import duration

Cell = dict[str, Any]
HELD_OUT = ("val", "test")
NO_METRICS = ("per_class", "per_target", "by_group", "over_thresholds", "predict_nothing")


def headline(parent: Parent, metrics: Sequence[str]) -> Iterator[str]:
    """Yields a line for each held-out split, with the spread of `metrics`, and one for pooled results."""
    summary = read_json(parent.folder.summary)
    runs = counted(len(summary["parts"]), parent.repetitions.one)
    for split in HELD_OUT:
        if found := summary["splits"].get(split):
            shown = ", ".join(f"{name} {spread_text(found[name])}" for name in metrics)
            yield f"{split}: {shown} (mean ± standard deviation of {runs})"
    if parent.folder.metrics.is_file():
        pooled = read_json(parent.folder.metrics)["test"]
        shown = ", ".join(f"{name} {_plain(pooled[name]['value'])}" for name in metrics)
        yield f"test, all folds pooled: {shown} ({counted(pooled['samples'], 'image')})"


def spread_text(cell: Cell) -> str:
    """Returns `0.612 ± 0.021`, or that the mean is undefined."""
    if cell["mean"] is None:
        return "undefined"
    return _plain(cell["mean"]) + ("" if cell["standard_deviation"] is None else f" ± {cell['standard_deviation']:.3f}")


def _plain(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def write_repetition_report(parent: Parent) -> Path:
    """Writes the parent's `report.md`; the reports of the parts stay as they are.

    Raises:
        RunFolderError: A file of the parent or of a part is missing or damaged.
    """
    path: Path = parent.folder.report
    write_text(path, "\n".join(headline(parent, ["accuracy"])))
    return path


def write_all_reports(parent: Parent) -> Path:
    """Writes the reports of all finished parts anew, then the parent's."""
    for part in parent.finished():
        write_report(parent.run(part))
    return write_repetition_report(parent)
