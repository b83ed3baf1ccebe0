"""Published figures that a run is compared with: their settings, and the check that a run reports such numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from cvlab.config_values import Count, Settings
from cvlab.definitions import ANY, metric_names, path_of
from cvlab.errors import did_you_mean

OWN_TABLES = ("train", "train-augmented", "val", "test")
MOMENTS = ("before", "after")
EXAMPLE = "test.accuracy"
# Found at the operating point, which belongs to the last weights.
OF_THE_END = ("binary.", "calibrated.")


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("expected where the figure was published, such as 'Lee et al. 2018, table 3'")
    return text


class ExpectedFigure(Settings):
    """A published figure, which the report sets beside the run's own.

    Attributes:
        metric: A number of the run: a table of predictions and a name in `metrics.json`, such as `test.accuracy`.
        value: The published value.
        source: Where it was published.
        samples: How many samples it was measured on; where the run's table has another number, no comparison is drawn.
    """

    metric: str
    value: float
    source: Annotated[str, AfterValidator(_not_blank), Field(json_schema_extra={"pattern": r"\S"})]
    samples: Count | None = None


def split_metric(metric: str, tables: Iterable[str]) -> tuple[str, str] | None:
    """Returns table and name of `<table>.<name>`; None where there is no such table."""
    found = max((table for table in tables if metric.startswith(f"{table}.")), key=len, default=None)
    return None if found is None else (found, metric[len(found) + 1 :])


def prediction_tables(stages: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Returns the tables of predictions that a run may have, with the task of each.

    Args:
        stages: Name and task of each stage, in order.
    """
    tables = dict.fromkeys(OWN_TABLES, stages[-1][1])
    for stage, task in stages if len(stages) > 1 else ():
        tables |= {f"{stage}-{moment}/{split}": task for moment in MOMENTS for split in ("val", "test")}
    return tables


def metric_problem(metric: str, tables: Mapping[str, str], *, top_k: int, temperature: bool) -> str:
    """Returns why no run of an experiment reports a metric, beginning with what was expected; empty where it does.

    Args:
        metric: Such as `test.per_class.happy.recall`.
        tables: As `prediction_tables` has them.
        top_k: `evaluate.top_k`.
        temperature: Whether `evaluate.temperature` is on.
    """
    parts = split_metric(metric, tables)
    table, name = parts or ("", metric)
    path = path_of(name)
    named = path[1] if len(path) == 3 else ANY
    known = {
        f"{one}.{other}": other
        for one, task in tables.items()
        if one == table or not table
        for other in metric_names(task, top_k=top_k, named=named)
        if "/" not in one or not other.startswith(OF_THE_END)
    }
    if metric in known:
        return (
            ""
            if temperature or not name.startswith("calibrated.")
            else f"expected `evaluate.temperature: true` with it, received {metric!r}"
        )
    expected = f"a metric of {tables[table]}" if table else f"one of the tables {', '.join(tables)}, a dot and a metric"
    example = next(iter(known)) if table else EXAMPLE
    hint = did_you_mean(metric, known)
    return f"expected {expected}, such as {example} (docs/metrics.md has all), received {metric!r}{hint}"
