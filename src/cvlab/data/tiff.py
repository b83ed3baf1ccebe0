"""TIFF files that Pillow cannot read: 16-bit colour plane by plane, 16-bit grey with alpha, and other kinds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np

from cvlab.data.image_file import (
    MAX_PIXELS,
    NOT_COVERED,
    NOT_UNSIGNED,
    UnreadableImage,
    check_bits,
    check_pages,
    check_size,
)
from cvlab.data.image_structure import check_strips

PADDING = 4096
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_STRAIGHT_ALPHA = 2  # premultiplied (associated) alpha is on black already, and what is unspecified is no alpha
_ORIENTATION = 274


@dataclass(frozen=True)
class TiffPixels:
    """The pixels of a TIFF file.

    Attributes:
        colour: uint8 or uint16, (height, width) or (height, width, 3).
        alpha: (height, width) of the same type, if there is any.
        orientation: How the image is to be turned, 1 to 8, as EXIF counts.
        white_is_zero: Whether the file stores the colour inverted.
    """

    colour: np.ndarray
    alpha: np.ndarray | None
    orientation: int
    white_is_zero: bool


def read_tiff(data: bytes) -> TiffPixels:
    """Reads the one page of a TIFF file with tifffile.

    Raises:
        UnreadableImage: It has several pages, holds no unsigned 8 or 16 bits, or is neither grey nor RGB.
        Exception: The file is damaged.
    """
    import tifffile

    with tifffile.TiffFile(BytesIO(data)) as file:
        check_pages(len(file.pages))
        page = file.pages[0]
        _check_page(page, len(data))
        # Some programs pad their strips.
        most = 2 * math.prod(page.chunks) * page.dtype.itemsize + PADDING
        places = [*zip(page.dataoffsets, page.databytecounts, strict=True)]
        check_strips(data, places, compression=int(page.compression), most=most)
        values = page.asarray()
        orientation = page.tags.get(_ORIENTATION)
    if page.axes == "SYX":
        values = np.moveaxis(values, 0, 2)
    white_is_zero = page.photometric == _WHITE_IS_ZERO
    if white_is_zero:
        values = np.iinfo(values.dtype).max - values
    colour, alpha = _channels(values, page)
    return TiffPixels(colour, alpha, 1 if orientation is None else int(orientation.value), white_is_zero)


def _check_page(page: Any, size: int) -> None:
    check_size(page.imagewidth, page.imagelength)
    formats = page.sampleformat if isinstance(page.sampleformat, tuple) else (page.sampleformat,)
    if {int(kind) for kind in formats} != {1}:
        raise UnreadableImage(NOT_UNSIGNED)
    bits = page.bitspersample if isinstance(page.bitspersample, tuple) else (page.bitspersample,)
    check_bits({*bits}, {8, 16})
    if math.prod(page.chunks) > MAX_PIXELS:
        raise UnreadableImage(f"is stored in tiles of {' x '.join(map(str, page.chunks))}: expected smaller ones")
    if page.axes not in ("YX", "YXS", "SYX") or page.photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
        kind = getattr(page.photometric, "name", page.photometric)
        raise UnreadableImage(f"is a TIFF of the kind {kind} with the axes {page.axes}: expected a grey or RGB image")
    # tifffile fills with zeros what is not there.
    places = zip(page.dataoffsets, page.databytecounts, strict=True)
    missing = len(page.dataoffsets) < math.prod(page.chunked)
    if missing or any(not start or not count or start + count > size for start, count in places):
        raise UnreadableImage(NOT_COVERED)


def _channels(values: np.ndarray, page: Any) -> tuple[np.ndarray, np.ndarray | None]:
    if values.ndim == 2:
        return values, None
    number, extra = values.shape[2], [int(kind) for kind in page.extrasamples]
    wanted = 3 if page.photometric == _RGB else 1
    if number not in (wanted, wanted + 1):
        raise UnreadableImage(f"has {number} channels: expected grey or RGB, with or without transparency")
    colour = np.ascontiguousarray(values[..., 0] if wanted == 1 else values[..., :3])
    return colour, np.ascontiguousarray(values[..., wanted]) if extra == [_STRAIGHT_ALPHA] else None
