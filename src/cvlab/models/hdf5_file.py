"""HDF5 files of weights, which anybody may have written: arrays of numbers in this one file, and nothing else.

The format can do more: links and arrays that lie in other files, arrays that promise more than is stored, groups that
hold themselves. All of that is refused before anything is read. Text is not read here at all: see `older_names`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py

MAX_PATHS = 100_000
MAX_DEPTH = 40
# An array below this many bytes may be compressed as well as it likes.
BOMB_BYTES = 64_000_000
MOST_EXPANSION = 100
# Keras marks arrays that are stored as raw bytes so; cvlab's variables are float32 at any precision.
_RAW_BYTES = "dtype"


class UnreadableWeights(Exception):
    """A file that holds no weights of Keras. Its text is the reason, without the path."""


def check_contents(file: h5py.File) -> None:
    """Looks at everything in a file by its description, without reading an array.

    Raises:
        UnreadableWeights: It holds something else than groups and arrays of numbers, or is damaged.
    """
    try:
        _walk(file)
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError, OSError) as error:
        raise UnreadableWeights(f"is damaged ({error})") from error


def _walk(file: h5py.File) -> None:
    waiting, seen = [(file, 0)], 0
    while waiting:
        group, depth = waiting.pop()
        for name in group:
            seen += 1
            if seen > MAX_PATHS or depth >= MAX_DEPTH:
                raise UnreadableWeights(
                    f"holds itself, or too much: expected at most {MAX_PATHS:,} parts, {MAX_DEPTH} levels deep"
                )
            item = member(group, name)
            if hasattr(item, "keys"):
                waiting.append((item, depth + 1))
            else:
                check_array(item)


def member(group: h5py.Group, name: str) -> Any:
    """Returns a member of a group, but none that a link stands for, which may lie in another file.

    Raises:
        UnreadableWeights: There is a link.
    """
    import h5py

    at = group
    for part in name.split("/"):
        link = at.get(part, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise UnreadableWeights(f"has a link to another file at {at.name}/{part}")
        if isinstance(link, h5py.SoftLink):
            raise UnreadableWeights(f"has a link in the place of an array at {at.name}/{part}")
        at = at[part]
    return at


def check_array(item: Any) -> None:
    """Checks that a member is an array of numbers that the file really holds.

    Raises:
        UnreadableWeights: It is something else.
    """
    kind = getattr(getattr(item, "dtype", None), "kind", "")
    if kind not in {*"fiub"} or item.shape is None or item.external or item.is_virtual or _RAW_BYTES in item.attrs:
        raise UnreadableWeights(f"has something else than an array of numbers at {item.name}")
    declared, stored = math.prod(item.shape) * item.dtype.itemsize, item.id.get_storage_size()
    if declared > BOMB_BYTES and declared > MOST_EXPANSION * stored:
        raise UnreadableWeights(
            f"promises {declared:,} bytes at {item.name}, of which it stores {stored:,}: expected whole arrays"
        )
