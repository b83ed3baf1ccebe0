"""Reads the kinds of cells that tables of samples have; says what was expected where a cell is something else."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

from cvlab.data.csv_file import quoted
from cvlab.data.image_file import MAX_PIXELS

SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}

_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_WHOLE = re.compile(r"([-+]?)(0|[1-9][0-9]*)(\.0*)?")
# Edges that floats put a hair beyond a whole pixel are on it.
_PIXEL_DECIMALS = 6


class BadRow(Exception):
    """A row that cannot be used; the text says why, without the place."""


def class_cell(cell: str) -> str:
    """Returns a class as text; a whole number in any spelling (`0`, ` 0`, `+0`, `0.0`) in the shortest."""
    text = cell.strip()
    match = _WHOLE.fullmatch(text)
    if match is None:
        return text
    return f"-{match[2]}" if match[1] == "-" and match[2] != "0" else match[2]


def number_cell(cell: str) -> float:
    """Reads a number.

    Raises:
        BadRow: The cell is empty, text, not finite, or beyond what a float holds.
    """
    text = cell.strip()
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    if not math.isfinite(value):
        raise BadRow(f"expected a number, received {quoted(cell)}")
    return value + 0.0  # There is one zero, not two.


def split_cell(cell: str) -> str:
    """Reads the name of a split.

    Raises:
        BadRow: It is not one.
    """
    split = SPLIT_NAMES.get(cell.strip().lower())
    if split is None:
        raise BadRow(f"expected train, val (or valid, validation) or test, received {quoted(cell)}")
    return split


def text_cell(cell: str) -> str:
    """Returns a cell that may not be empty.

    Raises:
        BadRow: It is empty.
    """
    text = cell.strip()
    if not text:
        raise BadRow("is empty")
    return text


def path_cell(cell: str, *, suffix: str) -> str:
    """Reads the path of an image below the root; one file has one spelling.

    Raises:
        BadRow: It is empty, absolute, or leads out of the root.
    """
    text = text_cell(cell)
    parts = [part for part in (text + suffix).split("/") if part not in ("", ".")]
    if ".." in parts or re.match(r"[A-Za-z]:[\\/]|[\\/]", text):
        raise BadRow(f"expected a path below data.root, without '..', received {quoted(cell)}")
    return "/".join(parts)


def box_text(values: Sequence[float], *, corners: bool) -> str:
    """Returns a box as `left,top,width,height` in whole pixels that hold all of it.

    Args:
        values: Left and top, then width and height, or right and bottom; in pixels.
        corners: Whether the last two are right and bottom.

    Raises:
        BadRow: The box is empty or reaches beyond the left or upper edge.
    """
    left, top, third, fourth = values
    far = (third, fourth) if corners else (left + third, top + fourth)
    edges = [round(value, _PIXEL_DECIMALS) for value in (left, top, *far)]
    width, height = (round(edges[i + 2] - edges[i], _PIXEL_DECIMALS) for i in (0, 1))
    if max(map(abs, values)) > MAX_PIXELS:
        raise BadRow(f"expected a box in pixels, received {_listed(values)}")
    if min(edges) < 0:
        raise BadRow(f"expected a box that begins in the image, received left {left:g}, top {top:g}")
    if min(width, height) < 1:
        raise BadRow(
            f"expected a box of at least one pixel, received {width:g} x {height:g} pixels ({_listed(values)})"
        )
    x, y = math.floor(edges[0]), math.floor(edges[1])
    return f"{x},{y},{math.ceil(edges[2]) - x},{math.ceil(edges[3]) - y}"


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def is_file(root: Path, path: str) -> bool:
    """Whether there is a file at `path` below `root`."""
    return os.path.isfile(os.path.join(root, path))


def natural(name: str) -> tuple[bool, int, str]:
    """A key that sorts whole numbers by value, before text."""
    return (False, int(name), "") if re.fullmatch("-?[0-9]{1,18}", name) else (True, 0, name)
