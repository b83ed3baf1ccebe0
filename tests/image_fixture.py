"""Images in many formats, made byte by byte where libraries do not write them."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from cvlab.data.decode import (
    decode_bytes,
)

SIZE = (9, 14)
RGB = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
GREY, ALPHA = RGB[..., 0], RGB[..., 1]
RGB16 = np.random.default_rng(1).integers(0, 65536, (*SIZE, 3), dtype=np.uint16)


def as_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def saved(array: np.ndarray | Image.Image, form: str, **options: Any) -> bytes:
    stream = BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(stream, form, **options)
    return stream.getvalue()


def tiff(array: np.ndarray, **options: Any) -> bytes:
    stream = BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(rows: list[bytes], width: int, *, depth: int, colour: int, extra: bytes = b"") -> bytes:
    """Writes a PNG by hand, since Pillow writes no 16-bit colour."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = chunk(b"IHDR", header), extra, chunk(b"IDAT", pixels), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png16(values: np.ndarray, colour: int, extra: bytes = b"") -> bytes:
    return png([row.astype(">u2").tobytes() for row in values], values.shape[1], depth=16, colour=colour, extra=extra)


def decoded(data: bytes, size: tuple[int, int] = SIZE) -> np.ndarray:
    pixels = decode_bytes(data, image_size=size).pixels
    assert pixels.shape == (*size, 3)
    assert pixels.dtype == np.uint8
    return pixels


def to_eight(values: np.ndarray) -> np.ndarray:
    return np.round(values / 257).astype(np.uint8)


def on_black(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.round(colour * (alpha / 255)[..., None])
