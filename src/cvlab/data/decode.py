"""One image file to RGB bytes of the wanted size: every common format, exact, and never a crash."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cvlab.data.image_file import UnreadableImage, read_image
from cvlab.data.stored_pixels import Pixels, Pixels16, on_black, read_stored

LOW_RANGE = 65535 / 8

Box = tuple[int, int, int, int]  # left, top, width, height of the upright image


@dataclass(frozen=True)
class DecodedImage:
    """One image as the model gets it, or one mask.

    Attributes:
        pixels: uint8 of shape (height, width, 3), 0..255 RGB; of a mask (height, width), 0 or 1.
        size: Height and width of the whole upright image, before it was cut and resized.
        flagged: Whether something is odd about it: of an image, that its 16-bit values cover under an eighth of the
            full scale, as 10- or 12-bit data do that were stored unscaled; of a mask, that what it shows is so small
            that nothing is left of it.
    """

    pixels: Pixels
    size: tuple[int, int]
    flagged: bool


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
        data = read_image(path)
    except (OSError, ValueError) as error:
        raise UnreadableImage(f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    try:
        with quiet_decoding():
            return decode_bytes(data, image_size=image_size)
    except MemoryError as error:
        raise UnreadableImage("needs more memory than there is") from error


@contextmanager
def quiet_decoding() -> Iterator[None]:
    """Keeps warnings and log lines about odd files from the user, who gets a reason instead."""
    handler = logging.NullHandler()
    loggers = [logging.getLogger(name) for name in ("PIL", "tifffile")]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
        for logger in loggers:
            logger.addHandler(handler)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeHandler(handler)


def decode_bytes(data: bytes, *, image_size: tuple[int, int], box: Box | None = None) -> DecodedImage:
    """Decodes the bytes of an image file, or the part of it that `box` names; see `decode_image`.

    Raises:
        UnreadableImage: The bytes are not one complete image of a known format.
        MemoryError: There is not enough memory now; this says nothing about the image.
    """
    return guarded(lambda: _decode(data, image_size, box))


def guarded(decode: Callable[[], DecodedImage]) -> DecodedImage:
    """Calls what decodes a file, and gives the reason where the file turns out to be damaged."""
    try:
        return decode()
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
    stored = read_stored(data)
    low_range = False
    if isinstance(stored.colour, Image.Image):
        flat = stored.colour
    else:
        values, alpha = stored.colour, stored.alpha
        low_range = bool(int(values.max()) - int(values.min()) < LOW_RANGE)
        flat = on_black(_to_eight_bits(values), None if alpha is None else _to_eight_bits(alpha))
    upright = stored.upright(flat)
    part = upright if box is None else crop(upright, box)
    height, width = image_size
    pixels = np.asarray(part.resize((width, height), Image.Resampling.BILINEAR).convert("RGB"))
    return DecodedImage(pixels=pixels, size=(upright.height, upright.width), flagged=low_range)


def crop(image: Image.Image, box: Box) -> Image.Image:
    """Returns a part of an image.

    Raises:
        UnreadableImage: The part reaches outside of the image.
    """
    left, top, width, height = box
    if min(left, top) < 0 or min(width, height) < 1 or left + width > image.width or top + height > image.height:
        raise UnreadableImage(
            f"has {image.width} x {image.height} pixels (width x height); the box at left {left}, top {top}, of "
            f"{width} x {height} pixels, reaches outside of them"
        )
    return image.crop((left, top, left + width, top + height))


def _to_eight_bits(values: Pixels16) -> Pixels:
    """Divides by 257 and rounds (257 is odd, so nothing lies half-way): 0..65535 becomes 0..255."""
    table = ((np.arange(65536) + 128) // 257).astype(np.uint8)
    return table[values]
