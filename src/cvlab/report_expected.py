"""The part of a report that sets published figures beside those of the run."""

from __future__ import annotations

from typing import Any

from cvlab.config_expected import prediction_tables
from cvlab.definitions import path_of
from cvlab.document import Block, Paragraph, Table
from cvlab.expected import ExpectedResult, definition_of, expected_results
from cvlab.report_record import RunRecord
from cvlab.report_text import code, md, number
from cvlab.run_folder import read_json

HEADING = "Against published figures"
ABOUT = (
    "A published figure belongs to its own data and split, and says something about this run only where both are the "
    "same. It is covered where it lies in the interval of this run; its own uncertainty is not known here."
)
LEAKS = "This run leaks between its splits (see the top), so that its own values may be too good."
PARTS = {"binary": "positive class", "calibrated": "after the temperature"}
FEWEST_DECIMALS = 3


def expected_section(record: RunRecord) -> list[Block]:
    """Returns the table of published figures, and what to make of it; nothing where none is configured."""
    figures = record.config.get("expected") or []
    if not figures:
        return []
    path = record.run.metrics
    if not path.is_file():
        return [Paragraph(f"There are no metrics yet; {code(f'cvlab evaluate {record.run.path}')} computes them.")]
    tables = tables_of(record)
    results = expected_results(figures, read_json(path), synthetic=record.synthetic)
    head = ["metric", "source", "comparison", "published", "this run"]
    return [
        Table(head, [_row(one, tables) for one in results], text_columns=3),
        Paragraph(ABOUT),
        *([Paragraph(LEAKS)] if record.data.get("leaks") else []),
    ]


def tables_of(record: RunRecord) -> dict[str, str]:
    """Returns the tables of predictions that a run may have, with the task of each."""
    return prediction_tables([(stage, str(task["name"])) for stage, task in record.tasks.items()])


def _row(one: ExpectedResult, tables: dict[str, str]) -> list[str]:
    own = "" if one.own is None else number(one.own, lambda value: _decimals(value, like=one.value))
    verdict = md(one.verdict)
    return [
        _name(one.metric, tables),
        md(one.source),
        verdict if one.covered is None else f"**{verdict}**",
        _decimals(one.value, like=one.value),
        own,
    ]


def _name(metric: str, tables: dict[str, str]) -> str:
    """Returns `test: accuracy`, `test, happy: recall` or `test, positive class: F1`."""
    found = definition_of(metric, tables)
    if found is None:
        return md(metric)
    table = max((name for name in tables if metric.startswith(f"{name}.")), key=len)
    path = path_of(metric[len(table) + 1 :])
    named = path[1] if len(path) == 3 else PARTS.get(path[0], "")
    return f"{md(', '.join(filter(None, (table, named))))}: {md(found[1].label.format(structure='the structure'))}"


def _decimals(value: float, *, like: Any) -> str:
    """Returns `value` with as many decimals as `like` has, at least three; counts whole."""
    if isinstance(value, int) and not isinstance(like, float):
        return f"{value:,}"
    return f"{value:.{max(len(repr(float(like)).partition('.')[2]), FEWEST_DECIMALS)}f}"
