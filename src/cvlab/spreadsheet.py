"""Cells of tables that a spreadsheet program may open: none of them is a formula, and all of them read back exactly.

Such programs take a cell that begins with `=`, `+`, `-` or `@` for a formula, and a formula may start programs or send
what the table holds. Names of files, persons and classes come from data, so an apostrophe is put in front of such a
beginning: it marks text. Programs differ in what they take for the end of a cell, so this holds behind each of the
usual separators. Numbers stay as they are.
"""

from __future__ import annotations

import re

# The wide forms are for keyboards of East Asia; tabs and line breaks in front of a formula are passed over.
_FORMULA = re.compile("(^|[,;|\t\r\n])(?=['=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")
_MARKED = re.compile("(^|[,;|\t\r\n])'")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


def as_text(cell: str) -> str:
    """Returns a cell as it is to stand in a table."""
    return cell if _NUMBER.fullmatch(cell) else _FORMULA.sub(r"\1'", cell)


def as_written(cell: str) -> str:
    """Returns the cell that `as_text` was given."""
    return _MARKED.sub(r"\1", cell) if "'" in cell else cell
