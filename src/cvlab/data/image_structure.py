"""What an image file may make a decoder do besides its pixels, found in the file's own structure before it is decoded.

A JPEG file may have thousands of scans, each of which goes over the whole picture; a TIFF file a hundred thousand
pages; compressed strips may grow to any size. The decoders follow all of that for minutes or until the memory is full.
"""

from __future__ import annotations

import lzma
import re
import struct
import zlib
from typing import Any, NamedTuple

from cvlab.data.image_file import JPEG, TIFF, UnreadableImage, format_of, open_image

# Progressive files have about ten scans; a file of ImageMagick or mozjpeg at most some dozens.
MAX_SCANS = 200
# A colour profile takes up to 255 segments, and long metadata some hundred.
MAX_SEGMENTS = 5_000
MAX_PAGES = 1_000

# An image of so many pixels or bytes takes some gigabytes while it is decoded.
LARGE_PIXELS, LARGE_BYTES = 40_000_000, 100_000_000

# What follows FF in the data of a scan: 00 is the byte FF itself, D0 to D7 are restarts, FF is filling.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
_SCAN, _END = 0xDA, 0xD9
_WIDTH, _HEIGHT = 256, 257
_TIFF_TYPES = {3: "H", 4: "I", 16: "Q"}
_PLAIN_DEFLATE, _ADOBE_DEFLATE, _LZMA = 32946, 8, 34925


class _TiffForm(NamedTuple):
    """How a kind of TIFF stores its directories: byte order, types, bytes of an entry, where the first place stands."""

    order: str
    number: str
    place: str
    entry: int
    start: int

    @classmethod
    def of(cls, data: bytes) -> _TiffForm:
        order = "<" if data.startswith(b"II") else ">"
        return cls(order, "Q", "Q", 20, 8) if data[2:4] in (b"+\0", b"\0+") else cls(order, "H", "I", 12, 4)


def is_large(data: bytes) -> bool:
    """Whether decoding a file takes so much memory that it should not happen twice at once."""
    try:
        if len(data) > LARGE_BYTES:
            return True
        width, height = _tiff_size(data) if format_of(data) == TIFF else open_image(data).size
    except Exception:  # Damaged files make Pillow raise nearly anything; what is wrong is said where it is decoded.
        return False
    return width * height > LARGE_PIXELS


def _tiff_size(data: bytes) -> tuple[int, int]:
    """Reads width and height as stored; Pillow takes longer for it than for small images."""
    form = _TiffForm.of(data)
    (place,) = _numbers(form.order + form.place, data, form.start)
    (count,) = _numbers(form.order + form.number, data, place)
    place += struct.calcsize(f"={form.number}")
    found = {}
    for i in range(min(count, _HEIGHT + 1)):
        tag, kind = _numbers(f"{form.order}HH", data, place + i * form.entry)
        if tag in (_WIDTH, _HEIGHT):
            value = place + (i + 1) * form.entry - struct.calcsize(f"={form.place}")
            (found[tag],) = _numbers(form.order + _TIFF_TYPES.get(kind, "H"), data, value)
    return found.get(_WIDTH, 0), found.get(_HEIGHT, 0)


def check_structure(data: bytes) -> None:
    """Refuses a file that would keep its decoder busy for ever.

    Raises:
        UnreadableImage: It would.
    """
    kind = format_of(data)
    if kind == JPEG:
        _check_segments(data)
    elif kind == TIFF:
        _check_pages(data)


def _check_segments(data: bytes) -> None:
    place, segments, scans = 2, 0, 0
    while match := _MARKER.search(data, place):
        marker, place = match[1][0], match.end()
        if marker == _END:
            return
        segments += 1
        scans += marker == _SCAN
        if scans > MAX_SCANS or segments > MAX_SEGMENTS:
            raise UnreadableImage(f"is a JPEG of more than {MAX_SCANS} scans or {MAX_SEGMENTS:,} segments")
        place += int.from_bytes(data[place : place + 2], "big")


def _check_pages(data: bytes) -> None:
    """Follows the chain of pages, which may be long, or a circle."""
    form = _TiffForm.of(data)
    (place,) = _numbers(form.order + form.place, data, form.start)
    seen: set[int] = set()
    while place and place not in seen:
        seen.add(place)
        if len(seen) > MAX_PAGES:
            raise UnreadableImage(
                f"is a TIFF of more than {MAX_PAGES:,} pages: expected one; save each as its own file"
            )
        (count,) = _numbers(form.order + form.number, data, place)
        end = place + struct.calcsize(f"={form.number}") + count * form.entry
        (place,) = _numbers(form.order + form.place, data, end)


def _numbers(form: str, data: bytes, place: int) -> tuple[Any, ...]:
    """Reads numbers; zeros where the file ends before, which the decoder may judge."""
    size = struct.calcsize(form)
    part = data[place : place + size] if place < len(data) else b""
    return struct.unpack(form, part.ljust(size, b"\0"))


def check_strips(data: bytes, places: list[tuple[int, int]], *, compression: int, most: int) -> None:
    """Checks that no strip or tile grows to more than it is to hold: the decoder would keep all of it.

    Args:
        data: The file.
        places: Where they begin, and how many bytes each has.
        compression: How they are compressed, as TIFF counts.
        most: How many bytes one of them holds.

    Raises:
        UnreadableImage: One of them does.
    """
    for start, count in places:
        strip = data[start : start + count]
        if compression in (_ADOBE_DEFLATE, _PLAIN_DEFLATE):
            grown = len(zlib.decompressobj().decompress(strip, most + 1))
        elif compression == _LZMA:
            grown = len(lzma.LZMADecompressor().decompress(strip, most + 1))
        else:
            return
        if grown > most:
            raise UnreadableImage(f"is damaged: a strip of it grows to more than the {most:,} bytes that it is to hold")
