"""An image file opened by its content, with one clear reason where it cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from cvlab.bounded_file import read_bounded

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
MAX_PIXELS = 200_000_000
# As many pixels of 16-bit colour with transparency, and then some.
MAX_BYTES = 2_000_000_000
NOT_UNSIGNED = "holds signed or floating-point values: expected unsigned 8 or 16 bits a channel"
NOT_COVERED = "is incomplete: its strips or tiles do not cover the image"

JPEG, PNG, TIFF = "JPEG", "PNG", "TIFF"
BIG_ENDIAN_BIG_TIFF = b"MM\0+"
_READERS: dict[str, Callable[[BytesIO], ImageFile.ImageFile]] = {
    JPEG: JpegImagePlugin.JpegImageFile,
    PNG: PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    TIFF: TiffImagePlugin.TiffImageFile,
}
_MAGIC = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"RIFF", "WebP"),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"II+\0", TIFF),
    (BIG_ENDIAN_BIG_TIFF, TIFF),
)
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_BITS, _TIFF_SAMPLE_FORMAT = 258, 339


class UnreadableImage(Exception):
    """A file that is no usable image. Its text is the reason, without the path."""


def format_of(data: bytes) -> str:
    """Returns the format of a file (`PNG`, `TIFF`, ...), judged by its first bytes.

    Raises:
        UnreadableImage: It is empty, or of no known format.
    """
    if not data:
        raise UnreadableImage("is empty")
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    raise UnreadableImage("is no JPEG, PNG, BMP, GIF, WebP or TIFF image")


def open_image(data: bytes) -> ImageFile.ImageFile:
    """Reads the header only. `Image.open` would warn of large images and accept formats not tested here."""
    image = _READERS[format_of(data)](BytesIO(data))
    check_size(*image.size)
    return image


def read_image(path: Path) -> bytes:
    """Reads an image file.

    Raises:
        UnreadableImage: It is larger than any image that is decoded here.
        OSError: It cannot be read, or is no ordinary file.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise UnreadableImage(f"has {size:,} bytes: expected at most {MAX_BYTES:,}")
    return read_bounded(path, MAX_BYTES)


def check_size(width: int, height: int) -> None:
    """Raises UnreadableImage for an image of no pixels, or of so many that it could fill the memory."""
    if width * height > MAX_PIXELS:
        raise UnreadableImage(f"is {width} x {height} pixels: expected at most {MAX_PIXELS:,} pixels")
    if width < 1 or height < 1:
        raise UnreadableImage(f"is {width} x {height} pixels: expected at least one pixel")


def check_pages(count: int) -> None:
    """Raises UnreadableImage for a TIFF of several pages: all but the first would be lost without a word."""
    if count > 1:
        raise UnreadableImage(f"is a TIFF of {count} pages: expected one; save each page as its own file")


def check_bits(bits: set[int], known: set[int]) -> None:
    """Raises UnreadableImage for a depth that is not known, or for channels of different depths."""
    if len(bits) > 1 or not bits <= known:
        raise UnreadableImage(f"has {'/'.join(map(str, sorted(bits)))} bits a channel: expected 8 or 16")


def check_tiff(image: TiffImagePlugin.TiffImageFile) -> None:
    """Refuses what would lose pages or read wrong values without a word."""
    check_pages(image.n_frames)
    tags = image.tag_v2
    # As stored: `image.size` is that of the upright image already.
    for tag, side in ((_TIFF_WIDTH, 2), (_TIFF_HEIGHT, 3)):
        if max(tile.extents[side] for tile in image.tile if tile.extents) < tags[tag]:
            raise UnreadableImage(NOT_COVERED)
    if set(tags.get(_TIFF_SAMPLE_FORMAT, (1,))) != {1}:
        raise UnreadableImage(NOT_UNSIGNED)
    check_bits(set(tags.get(_TIFF_BITS, (1,))), {1, 2, 4, 8, 16})
