"""The pixels of an image file as it stores them: 8 or 16 bits, grey or RGB, with or without alpha."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from struct import pack

import numpy as np
import numpy.typing as npt
from PIL import BmpImagePlugin, Image, ImageFile, PngImagePlugin, TiffImagePlugin

from cvlab.data.image_file import BIG_ENDIAN_BIG_TIFF, TIFF, UnreadableImage, check_tiff, format_of, open_image
from cvlab.data.image_structure import check_structure
from cvlab.data.tiff import read_tiff

Pixels = npt.NDArray[np.uint8]
Pixels16 = npt.NDArray[np.uint16]

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
_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_PLANAR = 258, 262, 284


@dataclass(frozen=True)
class StoredPixels:
    """The pixels of a file, not yet turned upright.

    Attributes:
        colour: An opaque image of 8 bits, grey (L) or RGB; or 16-bit values, (height, width) or (height, width, 3).
        alpha: What the 16-bit values have of it, (height, width), 65535 where they are opaque.
        turn: What makes the image upright; None where it is.
        white_is_zero: Whether the file stores them inverted (a TIFF whose 0 is white); here they are as they look.
    """

    colour: Image.Image | Pixels16
    alpha: Pixels16 | None = None
    turn: Image.Transpose | None = None
    white_is_zero: bool = False

    def upright(self, image: Image.Image) -> Image.Image:
        """Turns an image that was made of these pixels."""
        return image if self.turn is None else image.transpose(self.turn)


def read_stored(data: bytes) -> StoredPixels:
    """Reads the pixels of an image file: by Pillow, and by tifffile where Pillow does not know a kind of TIFF.

    Raises:
        UnreadableImage: The bytes are no usable image.
        Exception: They are damaged; Pillow raises nearly anything.
    """
    check_structure(data)
    if data.startswith(BIG_ENDIAN_BIG_TIFF):
        return _by_tifffile(data)
    try:
        image = open_image(data)
    except SyntaxError:
        if format_of(data) != TIFF:
            raise
        return _by_tifffile(data)
    if isinstance(image, PngImagePlugin.PngImageFile):
        open_image(data).verify()  # Loading checks no checksum of the pixel data.
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        check_tiff(image)
        tags = image.tag_v2
        if 16 in tags.get(_TIFF_BITS, (1,)) and tags.get(_TIFF_PLANAR, 1) != 1:
            return _by_tifffile(data)
    mode = _raw_mode(image)
    image.load()
    if ";16" in mode and not isinstance(image, BmpImagePlugin.BmpImageFile):  # BMP's is 5, 6 and 5 bits.
        values, alpha = _sixteen_bit_values(image, data, mode)
        return StoredPixels(values, alpha, _turn_of(image), _white_is_zero(image))
    return StoredPixels(_flatten(image, mode), None, _turn_of(image), _white_is_zero(image))


def _turn_of(image: ImageFile.ImageFile) -> Image.Transpose | None:
    """After loading: TIFF applies its orientation then by itself, and PNG may hold it behind the pixels."""
    return _TURNS.get(image.getexif().get(_EXIF_ORIENTATION, 1))


def _white_is_zero(image: ImageFile.ImageFile) -> bool:
    return isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_TIFF_PHOTOMETRIC) == 0


def _by_tifffile(data: bytes) -> StoredPixels:
    found = read_tiff(data)
    turn = _TURNS.get(found.orientation)
    if found.colour.dtype == np.uint8:
        return StoredPixels(on_black(found.colour, found.alpha), None, turn, found.white_is_zero)
    return StoredPixels(found.colour, found.alpha, turn, found.white_is_zero)


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
        return on_black(rgba[..., :3], rgba[..., 3])
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def on_black(colour: Pixels, alpha: Pixels | None) -> Image.Image:
    """Composites uint8 colour of shape (height, width) or (height, width, 3) on black."""
    if alpha is not None and alpha.min() < 255:
        weight = alpha.astype(np.uint16) if colour.ndim == 2 else alpha.astype(np.uint16)[..., None]
        colour = ((colour * weight + 127) // 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(colour))


def _sixteen_bit_values(image: ImageFile.ImageFile, data: bytes, stored: str) -> tuple[Pixels16, Pixels16 | None]:
    """Returns the loaded image's 16-bit values, grey (height, width) or RGB, and its alpha, if any.

    Pillow itself keeps only the high byte of 16-bit colour.
    """
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint16)
        if _white_is_zero(image):
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
    image = open_image(data)
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
    return np.asarray(open_image(as_rgba).convert("RGBA")).view(">u2").astype(np.uint16)


def _keyed_alpha(values: Pixels16, key: object) -> Pixels16 | None:
    """PNG may name one value as the transparent one."""
    if key is None:
        return None
    same = values == np.array(key, dtype=np.int64)
    transparent = same.all(axis=2) if values.ndim == 3 else same
    return np.where(transparent, 0, 65535).astype(np.uint16)
