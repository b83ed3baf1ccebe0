"""Files that others may have written: ordinary ones only, of a bounded size, and JSON of a bounded depth."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from pathlib import Path
from typing import Any

MAX_DEPTH = 100
# By how much at once a file is followed that grows while it is read.
GROWN_BYTES = 1_000_000


class BadJson(ValueError):
    """Text that is no JSON, or JSON that cvlab never writes. Its text is the reason."""


def read_bounded(path: Path, most: int) -> bytes:
    """Reads an ordinary file of at most `most` bytes.

    Raises:
        OSError: It cannot be read, is larger, or is no ordinary file (reading a named pipe would wait for ever).
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        found = os.fstat(file.fileno())
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "is no ordinary file")
        # Asked before reading: the size of a sparse file costs nobody anything.
        if found.st_size > most:
            raise OSError(errno.EFBIG, f"is {found.st_size:,} bytes; expected at most {most:,}")
        # No more is asked for than there is: room is made for all that is asked for, whatever the file holds.
        content = file.read(found.st_size + 1)
        while len(content) <= most and (more := file.read(GROWN_BYTES)):
            content += more
    if len(content) > most:
        raise OSError(errno.EFBIG, f"is more than {most:,} bytes")
    return content


def parse_json(text: str | bytes, *, finite: bool = True) -> Any:
    """Reads JSON at most `MAX_DEPTH` levels deep.

    Args:
        text: The JSON.
        finite: Whether NaN and infinite numbers are refused, which are no JSON, but which Python reads and writes.

    Raises:
        BadJson: It is none.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise BadJson(f"expected at most {MAX_DEPTH} levels, received more") from error
    except ValueError as error:
        raise BadJson(str(error)) from error
    level = [value]
    for _ in range(MAX_DEPTH):
        if finite and any(isinstance(item, float) and not math.isfinite(item) for item in level):
            raise BadJson("expected finite numbers, received NaN or an infinite one")
        level = [inner for item in level for inner in _inside(item)]
        if not level:
            return value
    raise BadJson(f"expected at most {MAX_DEPTH} levels, received more")


def _inside(item: Any) -> Any:
    return item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
