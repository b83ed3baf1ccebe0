"""Published figures beside those of the models that name them."""

from __future__ import annotations

from cvlab.compare_entrants import Entrant
from cvlab.compare_found import Compared
from cvlab.document import Block, Table
from cvlab.expected import expected_results
from cvlab.report_text import md, number
from cvlab.run_folder import Json


def expected_blocks(found: Compared) -> list[Block]:
    """Returns a table of the figures that the configurations expect of the compared split."""
    rows = [row for entrant in found.entrants for row in _rows(found, entrant)]
    if not rows:
        return []
    head = ["", "model", "metric", "source", "published", "this model", "comparison"]
    return [Table([*head[:4], head[6], *head[4:6]], rows, text_columns=5)]


def _rows(found: Compared, entrant: Entrant) -> list[list[str]]:
    figures = [
        figure
        for figure in entrant.records[0].config.get("expected") or []
        if str(figure["metric"]).startswith(f"{found.split}.")
    ]
    synthetic = any(record.synthetic for record in entrant.records)
    metrics = {found.split: _metrics(entrant)}
    return [
        [
            entrant.letter,
            md(entrant.title),
            md(result.metric),
            md(result.source),
            md(result.verdict),
            found.task.show(result.value),
            "" if result.own is None else number(result.own, found.task.show),
        ]
        for result in expected_results(figures, metrics, synthetic=synthetic)
    ]


def _metrics(entrant: Entrant) -> Json:
    """The metrics of a model; of several runs the means, which have no interval."""
    first = entrant.results[0].metrics
    return first if len(entrant.results) == 1 else _means(entrant, first, ())


def _means(entrant: Entrant, cells: Json, above: tuple[str, ...]) -> Json:
    means: Json = {}
    for name, cell in cells.items():
        path = (*above, name)
        if not isinstance(cell, dict):
            means[name] = cell
        elif "value" not in cell:
            means[name] = _means(entrant, cell, path)
        else:
            value = entrant.value(path)
            means[name] = {"value": value, **({} if value is not None else {"reason": "it is undefined for a run"})}
    return means
