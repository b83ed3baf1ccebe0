"""One image file to RGB bytes of the wanted size: every common format, exact, and never a crash."""

from __future__ import annotations

import logging
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from struct import pack

import numpy as np
import numpy.typing as npt
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
MAX_PIXELS = 200_000_000
LOW_RANGE = 65535 / 8

Pixels = npt.NDArray[np.uint8]
Pixels16 = npt.NDArray[np.uint16]
Box = tuple[int, int, int, int]  # left, top, width, height of the upright image

_FORMATS: tuple[tuple[bytes, Callable[[BytesIO], ImageFile.ImageFile]], ...] = (
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"GIF8", GifImagePlugin.GifImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
    (b"II*\0", TiffImagePlugin.TiffImageFile),
    (b"MM\0*", TiffImagePlugin.TiffImageFile),
    (b"II+\0", TiffImagePlugin.TiffImageFile),
)
_EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr"})
# The same pixels with the two bytes of each value exchanged (N is this machine's order, the little-endian one).
_LOW_BYTES = {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA")
    for order, other in (("B", "L"), ("L", "B"), ("N", "B" if np.little_endian else "L"))
}
_GREY_STEPS = {"L;2": 85, "L;4": 17}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_ORIENTATION = 0x0112
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_PLANAR, _TIFF_SAMPLE_FORMAT = 258, 262, 284, 339


class UnreadableImage(Exception):
    """A file that is no usable image. Its text is the reason, without the path."""


@dataclass(frozen=True)
class DecodedImage:
    """One image as the model gets it.

    Attributes:
        pixels: uint8 of shape (height, width, 3), RGB, 0..255.
        low_range: Whether this is a 16-bit image whose values (largest minus smallest) cover under an eighth
            of the full scale: it comes out nearly uniform, and 12-bit data were probably stored unscaled.
    """

    pixels: Pixels
    low_range: bool


def decode_image(path: Path, *, image_size: tuple[int, int]) -> DecodedImage:
    """Reads an image file as RGB of `image_size` (height, width).

    The format is judged by the content. Grey is repeated to three channels. Transparent pixels are composited
    on black: it is the background of radiographs and of padding, and what editors store under full
    transparency; an opaque alpha channel changes nothing. EXIF orientation is applied, colour profiles are
    not. 16-bit values are divided by 257 and rounded, so that 65535 becomes 255. GIF, animated PNG and WebP
    give their first frame; a TIFF of several pages is refused. The image is stretched to `image_size` (the
    aspect ratio is not kept) with a bilinear filter whose support grows with the reduction (antialiased).

    Not for use from several threads at once, which share Python's warning filters: they call `decode_bytes`
    inside one `quiet_decoding()`.

    Raises:
        UnreadableImage: The file cannot be read, or is not one complete image of a known format.
    """
    try:
        if not path.is_file():
            raise UnreadableImage("is not a file")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise UnreadableImage(f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    try:
        with quiet_decoding():
            return decode_bytes(data, image_size=image_size)
    except MemoryError as error:
        raise UnreadableImage("needs more memory than there is") from error


@contextmanager
def quiet_decoding() -> Iterator[None]:
    """Keeps Pillow's warnings and log lines about odd files from the user, who gets a reason instead."""
    handler = logging.NullHandler()
    logger = logging.getLogger("PIL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)


def decode_bytes(data: bytes, *, image_size: tuple[int, int], box: Box | None = None) -> DecodedImage:
    """Decodes the bytes of an image file, or the part of it that `box` names; see `decode_image`.

    Raises:
        UnreadableImage: The bytes are not one complete image of a known format.
        MemoryError: There is not enough memory now; this says nothing about the image.
    """
    try:
        return _decode(data, image_size, box)
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # Damaged files make Pillow raise nearly anything, SyntaxError included.
        raise UnreadableImage(_damage(error)) from error


def _damage(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, Image.DecompressionBombError):
        return "has too many pixels to be decoded safely"
    return f"is damaged or incomplete ({text[:120] or type(error).__name__})"


def _decode(data: bytes, image_size: tuple[int, int], box: Box | None) -> DecodedImage:
    image = _open(data)
    if isinstance(image, PngImagePlugin.PngImageFile):
        _open(data).verify()  # Loading checks no checksum of the pixel data.
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _check_tiff(image)
    stored = _raw_mode(image)
    image.load()
    low_range = False
    if ";16" in stored and not isinstance(image, BmpImagePlugin.BmpImageFile):  # BMP's is 5, 6 and 5 bits.
        values, alpha = _sixteen_bit_values(image, data, stored)
        low_range = bool(int(values.max()) - int(values.min()) < LOW_RANGE)
        flat = _on_black(_to_eight_bits(values), None if alpha is None else _to_eight_bits(alpha))
    else:
        flat = _flatten(image, stored)
    # After loading: TIFF applies its orientation then by itself, and PNG may hold it behind the pixels.
    turn = _TURNS.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    upright = flat if turn is None else flat.transpose(turn)
    if box is not None:
        upright = _crop(upright, box)
    height, width = image_size
    pixels = np.asarray(upright.resize((width, height), Image.Resampling.BILINEAR).convert("RGB"))
    return DecodedImage(pixels=pixels, low_range=low_range)


def _crop(image: Image.Image, box: Box) -> Image.Image:
    left, top, width, height = box
    if min(left, top) < 0 or min(width, height) < 1 or left + width > image.width or top + height > image.height:
        raise UnreadableImage(
            f"has {image.width} x {image.height} pixels (width x height); the box at left {left}, top {top}, of "
            f"{width} x {height} pixels, reaches outside of them"
        )
    return image.crop((left, top, left + width, top + height))


def _open(data: bytes) -> ImageFile.ImageFile:
    """Reads the header only. `Image.open` would warn of large images and accept formats not tested here."""
    if not data:
        raise UnreadableImage("is empty")
    for magic, reader in _FORMATS:
        if data.startswith(magic):
            image = reader(BytesIO(data))
            break
    else:
        raise UnreadableImage("is no JPEG, PNG, BMP, GIF, WebP or TIFF image")
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UnreadableImage(f"is {width} x {height} pixels: expected at most {MAX_PIXELS:,} pixels")
    if width < 1 or height < 1:
        raise UnreadableImage(f"is {width} x {height} pixels: expected at least one pixel")
    return image


def _check_tiff(image: TiffImagePlugin.TiffImageFile) -> None:
    """Refuses what would lose pages or read wrong values without a word."""
    if image.n_frames > 1:
        raise UnreadableImage(f"is a TIFF of {image.n_frames} pages: expected one; save each page as its own file")
    tags = image.tag_v2
    # As stored: `image.size` is that of the upright image already.
    for tag, side in ((_TIFF_WIDTH, 2), (_TIFF_HEIGHT, 3)):
        if max(tile.extents[side] for tile in image.tile if tile.extents) < tags[tag]:
            raise UnreadableImage("is incomplete: its strips or tiles do not cover the image")
    if set(tags.get(_TIFF_SAMPLE_FORMAT, (1,))) != {1}:
        raise UnreadableImage("holds signed or floating-point values: expected unsigned 8 or 16 bits a channel")
    bits = set(tags.get(_TIFF_BITS, (1,)))
    if len(bits) > 1 or not bits <= {1, 2, 4, 8, 16}:
        raise UnreadableImage(f"has {'/'.join(map(str, sorted(bits)))} bits a channel: expected 8 or 16")
    if bits == {16} and tags.get(_TIFF_PLANAR, 1) != 1:
        raise UnreadableImage("holds 16-bit colour plane by plane: expected it pixel by pixel (interleaved)")


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """How the file stores a pixel, in Pillow's words, such as `RGB;16B`."""
    args = image.tile[0].args if image.tile else ""
    return str(args[0] if isinstance(args, tuple) else args)


def _flatten(image: ImageFile.ImageFile, stored: str) -> Image.Image:
    """Returns an image of up to 8 bits a channel as opaque grey (L) or RGB."""
    if image.mode not in _EIGHT_BIT_MODES:
        raise UnreadableImage(f"has the pixel format {image.mode}: expected 8 or 16 bits a channel")
    if image.has_transparency_data:
        if stored in _GREY_STEPS and isinstance(image.info["transparency"], int):
            image.info["transparency"] *= _GREY_STEPS[stored]  # Pillow scales the pixels only.
        rgba = np.asarray(image.convert("RGBA"))
        return _on_black(rgba[..., :3], rgba[..., 3])
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _on_black(colour: Pixels, alpha: Pixels | None) -> Image.Image:
    """Composites uint8 colour of shape (height, width) or (height, width, 3) on black."""
    if alpha is not None and alpha.min() < 255:
        weight = alpha.astype(np.uint16) if colour.ndim == 2 else alpha.astype(np.uint16)[..., None]
        colour = ((colour * weight + 127) // 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(colour))


def _to_eight_bits(values: Pixels16) -> Pixels:
    """Divides by 257 and rounds (257 is odd, so nothing lies half-way): 0..65535 becomes 0..255."""
    table = ((np.arange(65536) + 128) // 257).astype(np.uint8)
    return table[values]


def _sixteen_bit_values(image: ImageFile.ImageFile, data: bytes, stored: str) -> tuple[Pixels16, Pixels16 | None]:
    """Returns the loaded image's 16-bit values, grey (height, width) or RGB, and its alpha, if any.

    Pillow itself keeps only the high byte of 16-bit colour.
    """
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint16)
        if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_TIFF_PHOTOMETRIC) == 0:
            values = np.uint16(65535) - values  # White is zero; Pillow inverts 8-bit images only.
    elif stored == "LA;16B":
        values = _grey_alpha_values(data)
        return values[..., 0], values[..., 1]
    elif stored in _LOW_BYTES:
        values = np.asarray(image).astype(np.uint16) * np.uint16(256)
        values |= _low_bytes(data)
        if image.mode == "RGBA":
            return values[..., :3], values[..., 3]
    else:
        raise UnreadableImage(f"stores its pixels as {stored}: expected grey or RGB, 8 or 16 bits a channel")
    return values, _keyed_alpha(values, image.info.get("transparency"))


def _low_bytes(data: bytes) -> Pixels:
    """Reads 16-bit colour with the bytes of each value exchanged, so that Pillow keeps the low one."""
    image = _open(data)
    image.tile = [tile._replace(args=_exchanged(tile.args)) for tile in image.tile]
    return np.asarray(image)


def _exchanged(args: object) -> str | tuple[object, ...]:
    if isinstance(args, tuple):
        return (_LOW_BYTES[args[0]], *args[1:])
    return _LOW_BYTES[str(args)]


def _grey_alpha_values(data: bytes) -> Pixels16:
    """Reads 16-bit grey with alpha from a PNG, as (height, width, 2).

    Its four bytes a pixel are filtered and interlaced as those of 8-bit RGBA: only the header differs.
    """
    header = data[12:24] + b"\x08\x06" + data[26:29]
    as_rgba = data[:12] + header + pack(">I", zlib.crc32(header)) + data[33:]
    return np.asarray(_open(as_rgba).convert("RGBA")).view(">u2").astype(np.uint16)


def _keyed_alpha(values: Pixels16, key: object) -> Pixels16 | None:
    """PNG may name one value as the transparent one."""
    if key is None:
        return None
    same = values == np.array(key, dtype=np.int64)
    transparent = same.all(axis=2) if values.ndim == 3 else same
    return np.where(transparent, 0, 65535).astype(np.uint16)
