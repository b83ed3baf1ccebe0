"""Arrays in files of their own (`.npy`), of which it is known beforehand what they must be: those of the caches.

A file is used only where its header is, byte by byte, the one that cvlab writes for this type and shape, and its length
the one that follows. So nothing in it is interpreted: no pickled objects, no other type, and no memory map that
reaches beyond the end of the file, whose pages would kill the process (SIGBUS).
"""

from __future__ import annotations

import math
import os
import stat
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def npy_header(dtype: DTypeLike, shape: tuple[int, ...]) -> bytes:
    """Returns the header of a `.npy` file, which is of the same length for every number of rows."""
    header = BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue()


def open_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any] | None:
    """Maps an array into memory, read-only; None if there is no such file, or another array in it."""
    header = npy_header(dtype, shape)
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = os.fstat(file.fileno())
            size = len(header) + math.prod(shape) * np.dtype(dtype).itemsize
            if not stat.S_ISREG(found.st_mode) or found.st_size != size or file.read(len(header)) != header:
                return None
        return np.memmap(path, dtype=dtype, mode="r", offset=len(header), shape=shape)
    except (OSError, ValueError):
        return None
