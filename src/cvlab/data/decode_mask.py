"""One mask file to zeros and ones of the wanted size."""

from __future__ import annotations

import numpy as np
from PIL import Image

from cvlab.data.decode import Box, DecodedImage, crop, guarded
from cvlab.data.image_file import JPEG, PNG, TIFF, UnreadableImage, format_of
from cvlab.data.stored_pixels import Pixels, StoredPixels, read_stored
from cvlab.errors import counted

EXPECTED = "expected 0 (black) for the background and one other value for the structure"
MOST_SHOWN = 5


def decode_mask(data: bytes, *, image_size: tuple[int, int], box: Box | None = None) -> DecodedImage:
    """Decodes the bytes of a mask file, or the part of it that `box` names.

    A mask is a PNG or TIFF file that is black in the background, and of one other value or colour where the structure
    is: 255, 1, or any other, of 8 or 16 bits. Fully transparent pixels are background. In a TIFF file whose zero is
    white, zero is background all the same: scientific tools write logical arrays so. A mask is turned upright as
    images are, and resized to `image_size` (height, width) by the nearest neighbour, so that it stays a mask.

    Raises:
        UnreadableImage: The bytes are no mask.
        MemoryError: There is not enough memory now; this says nothing about the mask.
    """
    return guarded(lambda: _decode(data, image_size, box))


def _decode(data: bytes, image_size: tuple[int, int], box: Box | None) -> DecodedImage:
    kind = format_of(data)
    if kind == JPEG:
        raise UnreadableImage("is a JPEG file, which blurs the border of what a mask shows: expected PNG or TIFF")
    if kind not in (PNG, TIFF):
        raise UnreadableImage(f"is a {kind} file: expected a mask as PNG or TIFF")
    stored = read_stored(data)
    upright = stored.upright(Image.fromarray(_binary(_values(stored))))
    part = upright if box is None else crop(upright, box)
    height, width = image_size
    pixels = np.array(part.resize((width, height), Image.Resampling.NEAREST))
    lost = bool(np.asarray(part).any() and not pixels.any())
    return DecodedImage(pixels=pixels, size=(upright.height, upright.width), flagged=lost)


def _values(stored: StoredPixels) -> np.ndarray:
    """Returns one number a pixel, (height, width): its grey value, or its three colours in one."""
    colour: np.ndarray = np.asarray(stored.colour)
    if stored.white_is_zero:
        colour = np.iinfo(colour.dtype).max - colour
    if stored.alpha is not None:
        alpha = stored.alpha.astype(np.uint32)
        colour = (colour * (alpha if colour.ndim == 2 else alpha[..., None]) // 65535).astype(np.uint16)
    if colour.ndim == 2:
        return colour
    red: np.ndarray = colour[..., 0]
    if (colour == red[..., None]).all():
        return red
    green, blue = colour[..., 1].astype(np.uint64), colour[..., 2].astype(np.uint64)
    packed: np.ndarray = (red.astype(np.uint64) << 32) | (green << 16) | blue
    return packed


def _binary(values: np.ndarray) -> Pixels:
    inside: np.ndarray = values != 0
    if not (inside == (values == values.max())).all() and values.max():
        found = np.unique(values).tolist()
        shown = ", ".join(map(_named, found[:MOST_SHOWN])) + (", ..." if len(found) > MOST_SHOWN else "")
        raise UnreadableImage(f"is no mask: {EXPECTED}, found {counted(len(found), 'value')} ({shown})")
    return inside.astype(np.uint8)


def _named(value: int) -> str:
    """Returns a grey value, or a colour by its three numbers."""
    if value < 2**16:
        return str(value)
    return f"red {value >> 32} green {value >> 16 & 0xFFFF} blue {value & 0xFFFF}"
