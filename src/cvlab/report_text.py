"""Markdown from values: escaped text, code, numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from cvlab.text import printable

# A character that is escaped outside of code, or a whole piece of code.
ESCAPED_OR_CODE = re.compile(r"\\.|(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)")
SPECIAL = re.compile(r"[\\`*\[\]<>|~&$#]|(?<![^\W_])_|_(?![^\W_])")


def md(value: object) -> str:
    """Returns `value` as Markdown that shows it as it is: one line, nothing in it is markup."""
    return SPECIAL.sub(r"\\\g<0>", printable(str(value)).strip())


def code(value: object) -> str:
    """Returns `value` as inline code, whatever back quotes it holds."""
    text = printable(str(value))
    ticks = "`" * (longest_ticks(text) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{pad}{text}{pad}{ticks}" if text.strip() else "(empty)"


def cell(text: str) -> str:
    """Returns Markdown of one line as a cell of a table, where a pipe ends a cell even in code."""
    return ESCAPED_OR_CODE.sub(lambda found: found[0].replace("|", r"\|") if found[1] else found[0], text)


def longest_ticks(text: str) -> int:
    """Returns the length of the longest run of back quotes in `text`."""
    return max((len(run) for run in re.findall("`+", text)), default=0)


def three_decimals(value: float) -> str:
    """Returns `value` to three decimals, counts whole."""
    return f"{value:,}" if isinstance(value, int) else f"{value:z.3f}"


def number(cell: dict[str, Any], shown: Callable[[float], str] = three_decimals) -> str:
    """Returns the value of a metric's cell with its interval, `0.462 (0.437 to 0.487)`, or why it is undefined.

    Args:
        cell: As it stands in metrics.json; without an interval the value stands alone.
        shown: How a number is written.
    """
    value = cell["value"]
    if value is None:
        return f"undefined ({md(cell['reason'])})"
    if "low" in cell:
        return f"{shown(value)} ({shown(cell['low'])} to {shown(cell['high'])})"
    return f"{shown(value)}{' (no interval)' if 'no_interval' in cell else ''}"


def change(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Returns `before → after (change)` of one metric; the change is that of the exact values."""
    shown = f"{number(before)} → {number(after)}"
    if before["value"] is None or after["value"] is None:
        return shown
    return f"{shown} ({after['value'] - before['value']:+.3f})"
