"""The metrics of several runs of one experiment: mean, standard deviation, smallest and largest of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cvlab.metrics.intervals import is_cell

Cell = dict[str, Any]
ONE_RUN = "one run shows no spread"


def spread(cells: Mapping[str, Cell]) -> Cell:
    """Returns what one metric came to in several runs.

    `mean`, `standard_deviation` (n - 1 in the denominator), `minimum`, `maximum`, and `values` by run. Where it is
    undefined in any run all four are None with a `reason`: a mean over the others would be that of easier runs. With
    a single run the standard deviation is None.

    Args:
        cells: The metric's cell (`{"value": v}` or `{"value": None, "reason": "..."}`) of each run; at least one.
    """
    values = {run: cell["value"] for run, cell in cells.items()}
    if None in values.values():
        nothing = dict.fromkeys(("mean", "standard_deviation", "minimum", "maximum"))
        return {**nothing, "reason": _undefined(cells), "values": values}
    found = np.array([*values.values()], dtype=np.float64)
    return {
        "mean": float(found.mean()),
        "standard_deviation": float(found.std(ddof=1)) if len(found) > 1 else None,
        "minimum": float(found.min()),
        "maximum": float(found.max()),
        **({} if len(found) > 1 else {"reason": ONE_RUN}),
        "values": values,
    }


def _undefined(cells: Mapping[str, Cell]) -> str:
    reasons = {run: cell["reason"] for run, cell in cells.items() if cell["value"] is None}
    if len(reasons) == len(cells) and len({*reasons.values()}) == 1:
        return f"undefined in every run ({next(iter(reasons.values()))})"
    return f"undefined in {', '.join(f'{run} ({reason})' for run, reason in reasons.items())}"


def spread_of_all(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns `spread` of every metric that all runs have, nested as `metrics.json` nests them.

    What is no metric (matrices, counts without a cell) and what only some runs have (a group that one of them tests)
    is left out.

    Args:
        metrics: What `metrics.json` holds of one split, by run.
    """
    first, *others = metrics.values()
    found: dict[str, Any] = {}
    for name, item in first.items():
        if not isinstance(item, dict) or not all(isinstance(other.get(name), dict) for other in others):
            continue
        of_runs = {run: of_run[name] for run, of_run in metrics.items()}
        if all(map(is_cell, of_runs.values())):
            found[name] = spread(of_runs)
        elif inner := spread_of_all(of_runs):
            found[name] = inner
    return found
