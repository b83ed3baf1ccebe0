"""Markdown from values: escaped text, tables, numbers, blocks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from cvlab.text import printable

SPECIAL = re.compile(r"[\\`*\[\]<>|~&$#]|(?<![^\W_])_|_(?![^\W_])")


def md(value: object) -> str:
    """Returns `value` as Markdown that shows it as it is: one line, nothing in it is markup."""
    return SPECIAL.sub(r"\\\g<0>", printable(str(value)).strip())


def code(value: object) -> str:
    """Returns `value` as inline code, whatever back quotes it holds; a pipe is escaped for tables."""
    text = printable(str(value)).replace("|", r"\|")
    ticks = "`" * (longest_ticks(text) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{pad}{text}{pad}{ticks}" if text.strip() else "(empty)"


def block(text: str, language: str = "") -> str:
    """Returns `text` as a code block whose fence is longer than any run of back quotes in it."""
    fence = "`" * max(3, longest_ticks(text) + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def longest_ticks(text: str) -> int:
    """Returns the length of the longest run of back quotes in `text`."""
    return max((len(run) for run in re.findall("`+", text)), default=0)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int = 1) -> str:
    """Returns a table of cells that are Markdown already; the first `text_columns` are text, the others numbers."""
    rule = [*["---"] * text_columns, *["---:"] * (len(head) - text_columns)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def bullets(items: Iterable[object]) -> str:
    """Returns a list of escaped texts."""
    return "\n".join(f"- {md(item)}" for item in items)


def red(title: str, items: Sequence[str]) -> str:
    """Returns a red block of HTML with a list: what nobody may overlook."""
    lines = "\n".join(f"<li>{escape(printable(item))}</li>" for item in items)
    return f'<p style="color:red"><b>{escape(title)}</b></p>\n<ul style="color:red">\n{lines}\n</ul>'


def number(cell: dict[str, Any]) -> str:
    """Returns the value of a metric's cell to three decimals, counts whole, or why it is undefined."""
    value = cell["value"]
    if value is None:
        return f"undefined ({md(cell['reason'])})"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def change(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Returns `before → after (change)` of one metric; the change is that of the exact values."""
    shown = f"{number(before)} → {number(after)}"
    if before["value"] is None or after["value"] is None:
        return shown
    return f"{shown} ({after['value'] - before['value']:+.3f})"
