"""What the compared numbers mean: their definitions, and links to them for the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cvlab.compare_found import Compared
from cvlab.compare_task import cell_at
from cvlab.definitions import find
from cvlab.document import Block, Document, Paragraph, Section, Table
from cvlab.expected import definition_of
from cvlab.report_definitions import NOT_LINKED, Found, definition_sections, interval_definitions, link
from cvlab.report_text import md

ABOUT = "The numbers of this comparison, how they are computed, and when they say something else than one may think."
# The column of a table that names numbers.
METRIC = "metric"
LOWER_IS_BETTER = " (lower is better)"


def meanings_sections(found: Compared) -> list[Section]:
    """Returns the definitions of the metrics that are compared, and of their kinds of intervals."""
    cells = [
        cell_at(result.metrics, metric.path)
        for entrant in found.entrants
        for result in entrant.results
        for metric in found.metrics
    ]
    methods = {str(cell["method"]) for cell in cells if cell is not None and "method" in cell}
    return definition_sections([*_by_label(found).values(), *interval_definitions(methods)], ABOUT)


def with_links(found: Compared, document: Document) -> Document:
    """Returns a comparison in whose tables the names of metrics are links to their definitions, for a page.

    Names of columns stay as they are, since a click sorts by them: a line below the table has their links.
    """
    known = _by_label(found) | _published(found)
    sections = [
        replace(section, blocks=[linked for block in section.blocks for linked in _linked(block, known)])
        for section in document.sections
    ]
    return replace(document, sections=sections)


def _by_label(found: Compared) -> dict[str, Found]:
    """The definition of each compared metric, by what tables call it."""
    task = str(found.entrants[0].records[0].task["name"])
    known = {md(metric.label): find(task, metric.path) for metric in found.metrics}
    return {label: one for label, one in known.items() if one is not None}


def _published(found: Compared) -> dict[str, Found]:
    """The same of the metrics that configurations expect figures of, which have the names of their keys."""
    records = [record for entrant in found.entrants for record in entrant.records]
    names = {str(figure["metric"]) for record in records for figure in record.config.get("expected") or []}
    tables = {found.split: str(records[0].task["name"])}
    known = {md(name): definition_of(name, tables) for name in sorted(names)}
    return {label: one for label, one in known.items() if one is not None}


def _linked(block: Block, known: dict[str, Found]) -> Iterator[Block]:
    if not isinstance(block, Table):
        yield block
        return
    place = [*block.head].index(METRIC) if METRIC in block.head else None
    yield block if place is None else replace(block, rows=[_linked_row(row, place, known) for row in block.rows])
    if columns := [link(name, known[name]) for name in block.head if name in known]:
        yield Paragraph(f"{NOT_LINKED} {', '.join(columns)}.")


def _linked_row(row: Sequence[str], place: int, known: dict[str, Found]) -> list[str]:
    label = row[place].removesuffix(LOWER_IS_BETTER)
    if label not in known:
        return [*row]
    return [*row[:place], link(label, known[label]) + row[place][len(label) :], *row[place + 1 :]]
