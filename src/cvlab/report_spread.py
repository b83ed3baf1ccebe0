"""Tables of what several runs came to: mean, standard deviation, smallest and largest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cvlab.definitions import find, path_of
from cvlab.definitions_model import TOP_K
from cvlab.document import Block, Bullets, Table
from cvlab.report_record import RunRecord
from cvlab.report_text import md
from cvlab.run_folder import Json

Cell = dict[str, Any]
Cells = Mapping[str, Cell]
# What stands at the operating point has a table of its own in metrics.json.
BINARY = "binary"
# It says how sure another metric is, not how good the network.
STANDARD_ERROR = "standard_error"
COLUMNS = ("mean", "standard_deviation", "minimum", "maximum")


@dataclass(frozen=True)
class Labels:
    """What the metrics of a task are called.

    Attributes:
        task: Its name.
        structure: What masks show, where the task is about masks.
    """

    task: str
    structure: str

    @classmethod
    def of_run(cls, record: RunRecord) -> Labels:
        """Returns those of a run's last task."""
        stages = record.data.get("stages") or [{}]
        masks = stages[-1].get("masks") or ["structure"]
        return cls(str(record.task["name"]), str(masks[0]))

    def of(self, name: str) -> str:
        """Returns the label of a metric in plain text; `binary.` stands before those at the operating point."""
        path = path_of(name)
        found = find(self.task, path)
        # The definition of `top_3_accuracy` is that of every k.
        if found is None or found[1].key == TOP_K:
            return path[-1].replace("_", " ")
        return found[1].named(structure=self.structure)


def scalars(metrics: Json) -> dict[str, Cell]:
    """Returns the metrics of a split that are one number of all samples, in order, without counts.

    Args:
        metrics: Of one split, as `metrics.json` or `summary.json` holds them.
    """
    cells = {name: cell for name, cell in metrics.items() if _is_cell(cell) and not name.endswith(STANDARD_ERROR)}
    return {name: cell for name, cell in cells.items() if not _is_count(cell)}


def binary_scalars(metrics: Json) -> dict[str, Cell]:
    """Returns those at the operating point, each name with `binary.` before it; none where there is none."""
    return {f"{BINARY}.{name}": cell for name, cell in scalars(metrics.get(BINARY, {})).items()}


def _is_cell(value: Any) -> bool:
    return isinstance(value, dict) and ("value" in value or "mean" in value)


def _is_count(cell: Cell) -> bool:
    values = [*cell["values"].values()] if "values" in cell else [cell["value"]]
    return all(isinstance(value, int) for value in values)


def spread_table(cells: Cells, labels: Labels) -> list[Block]:
    """Returns the spread of metrics; below it, where and why some are undefined."""
    rows = [[md(labels.of(name)), *(value_text(cell[column]) for column in COLUMNS)] for name, cell in cells.items()]
    reasons: dict[str, list[str]] = {}
    for name, cell in cells.items():
        if "reason" in cell:
            reasons.setdefault(cell["reason"], []).append(labels.of(name))
    told = [f"{', '.join(names)}: {reason}." for reason, names in reasons.items()]
    table = Table(["metric", "mean", "standard deviation", "smallest", "largest"], rows)
    return [table, *([Bullets(told)] if told else [])]


def spread_text(cell: Cell) -> str:
    """Returns `0.612 ± 0.021`, or that the mean is undefined."""
    deviation = cell["standard_deviation"]
    return value_text(cell["mean"]) + ("" if deviation is None else f" ± {value_text(deviation)}")


def value_text(value: float | None) -> str:
    """Returns a number to three decimals, counts whole."""
    if value is None:
        return "undefined"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
