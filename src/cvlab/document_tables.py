"""Tables made ready for a page: what each cell shows, and what it is sorted by."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from cvlab.document import Table
from cvlab.document_inline import html_of, plain_of

NUMBER = re.compile(r"[<>≤≥]? ?([-+]?\d[\d,]*\.?\d*(?:[eE][-+]?\d+)?)(?= ?%|\s|$| ?[kMG]?B\b)")
WHOLE = re.compile(rf"{NUMBER.pattern} ?%?$")
DURATION = re.compile(r"(?:(\d+) h )?(?:(\d+) min)?(?: ?(\d+) s)?$")
BYTES = {"kB": 1e3, "MB": 1e6, "GB": 1e9}
# `0.462 (0.437 to 0.487)`: the value, and behind it what matters less.
VALUE_AND_REST = re.compile(r"([^()]*\d[^()]*?) (\([^()]*\))$")
LONG = 25
LONGEST_WORD = 14


@dataclass(frozen=True)
class PageCell:
    """A cell of a table in a page.

    Attributes:
        content: What it shows.
        value: What it is sorted by; empty for text.
        look: The class of the cell: `number`, `reason` (words where a number would be), or none for text.
    """

    content: Markup
    value: str
    look: str


@dataclass(frozen=True)
class PageTable:
    """A table in a page.

    Attributes:
        head: The names of the columns, and whether each holds numbers; empty where rows are names and values.
        rows: The cells.
        foot: Cells of rows that stay last.
        is_long: Whether it has so many rows that the page shows them in a window.
    """

    head: list[tuple[Markup, bool]]
    rows: list[list[PageCell]]
    foot: list[list[PageCell]]
    is_long: bool


def page_table(table: Table) -> PageTable:
    """Returns a table as the page shows it."""

    def cells(row: Sequence[str]) -> list[PageCell]:
        return [_cell(text, of_numbers=column >= table.text_columns) for column, text in enumerate(row)]

    head = [(html_of(name), column >= table.text_columns) for column, name in enumerate(table.head)]
    return PageTable(
        head=head if any(table.head) else [],
        rows=[cells(row) for row in table.rows],
        foot=[cells(row) for row in table.foot],
        is_long=len(table.rows) > LONG,
    )


def number_of(text: str) -> float | None:
    """Returns the number that a text begins with, for sorting.

    Known are `1,234`, `12.5%`, `-0.030`, `1e-05`, `0.462 (0.437 to 0.487)`, `0.4 → 0.9`, `< 0.001`, `14.3 MB`,
    `2 h 10 min`, `infinite`. A text that begins with something else has none.
    """
    if text.startswith("infinite"):
        return math.inf
    if text and (parts := DURATION.match(text)):
        hours, minutes, seconds = (float(part or 0) for part in parts.groups())
        return 3600 * hours + 60 * minutes + seconds
    match = NUMBER.match(text)
    if match is None:
        return None
    unit = text[match.end() :].strip()[:2]
    return float(match[1].replace(",", "")) * BYTES.get(unit, 1.0)


def _cell(text: str, *, of_numbers: bool) -> PageCell:
    plain = plain_of(text).strip()
    number = number_of(plain) if of_numbers or WHOLE.match(plain) else None
    value = "" if number is None else repr(number).replace("inf", "Infinity")
    if not of_numbers:
        return PageCell(html_of(text), value, look="")
    if plain == text and (parts := VALUE_AND_REST.match(plain)):
        return PageCell(Markup("<span>{}</span> <small>{}</small>").format(*parts.groups()), value, look="number")
    return PageCell(
        html_of(text), value, look="number" if number is not None or len(plain) <= LONGEST_WORD else "reason"
    )
