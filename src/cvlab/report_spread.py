"""Tables of what several runs came to: mean, standard deviation, smallest and largest."""

from __future__ import annotations

import re
from typing import Any

from cvlab.document import Block, Bullets, Table
from cvlab.run_folder import Json

Cell = dict[str, Any]
# Of the other metrics, not of the network.
NO_METRICS = re.compile(r".*_standard_error")
# What stands at the operating point has a table of its own in metrics.json.
BINARY = "binary"
SPELLED = {
    "auc": "AUC",
    "ccc": "CCC",
    "corr": "CORR",
    "dice": "Dice",
    "f1": "F1",
    "hd95": "HD95",
    "iou": "IoU",
    "mae": "MAE",
    "mcc": "MCC",
    "npv": "NPV",
    "ppv": "PPV",
    "r2": "R2",
    "rmse": "RMSE",
    "roc": "ROC",
    "sagr": "SAGR",
}


def label(name: str) -> str:
    """Returns what a metric of `metrics.json` is called; `binary.` stands before those at the operating point."""
    group, _, metric = name.rpartition(".")
    words = "Cohen's kappa" if metric == "cohen_kappa" else metric.replace("_", " ")
    words = re.sub(r"[a-z0-9]+", lambda word: SPELLED.get(word[0], word[0]), words)
    return f"{words}, at the operating point" if group else words


def scalars(metrics: Json) -> dict[str, Cell]:
    """Returns the metrics of a split that are one number of all samples, in order, without counts.

    Args:
        metrics: Of one split, as `metrics.json` or `summary.json` holds them.
    """
    cells = {name: cell for name, cell in metrics.items() if _is_cell(cell)}
    cells |= {f"{BINARY}.{name}": cell for name, cell in metrics.get(BINARY, {}).items() if _is_cell(cell)}
    return {name: cell for name, cell in cells.items() if not _is_count(cell) and not NO_METRICS.fullmatch(name)}


def _is_cell(value: Any) -> bool:
    return isinstance(value, dict) and ("value" in value or "mean" in value)


def _is_count(cell: Cell) -> bool:
    values = [*cell["values"].values()] if "values" in cell else [cell["value"]]
    return all(isinstance(value, int) for value in values)


def spread_table(metrics: Json) -> list[Block]:
    """Returns the spread of every metric of a split; below it, where and why some are undefined."""
    cells = scalars(metrics)
    columns = ("mean", "standard_deviation", "minimum", "maximum")
    rows = [[label(name), *(value_text(cell[column]) for column in columns)] for name, cell in cells.items()]
    reasons = [f"{label(name)}: {cell['reason']}" for name, cell in cells.items() if "reason" in cell]
    table = Table(["metric", "mean", "standard deviation", "smallest", "largest"], rows)
    return [table, *([Bullets([*dict.fromkeys(reasons)])] if reasons else [])]


def spread_text(cell: Cell) -> str:
    """Returns `0.612 ± 0.021`, or that the mean is undefined."""
    deviation = cell["standard_deviation"]
    return value_text(cell["mean"]) + ("" if deviation is None else f" ± {value_text(deviation)}")


def value_text(value: float | None) -> str:
    """Returns a number to three decimals, counts whole."""
    if value is None:
        return "undefined"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
