"""Masks: two values whatever their format, nearest neighbour, and everything else refused with a reason."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cvlab.data.decode_mask import decode_mask
from cvlab.data.image_file import UnreadableImage
from tests.image_fixture import GREY, RGB, SIZE, png16, saved, tiff

SHAPE = np.random.default_rng(5).integers(0, 2, SIZE).astype(np.uint8)
PALETTE = Image.fromarray(SHAPE).convert("P")
PALETTE.putpalette([0, 0, 0, 200, 30, 40] + [0] * 750)

MASKS = {
    "png 255": saved(SHAPE * 255, "PNG"),
    "png 1": saved(SHAPE, "PNG"),
    "png bits": saved(Image.fromarray(SHAPE.astype(bool)), "PNG"),
    "png colour": saved(SHAPE[..., None] * np.array([0, 9, 255], np.uint8), "PNG"),
    "png grey as colour": saved(np.repeat(SHAPE[..., None] * np.uint8(77), 3, axis=2), "PNG"),
    "png palette": saved(PALETTE, "PNG"),
    "png transparent": saved(np.dstack([np.full((*SIZE, 3), 90, np.uint8), SHAPE * 255]), "PNG"),
    "png 16 bits": png16(SHAPE.astype(np.uint16), 0),
    "png 16 bits of colour": png16(SHAPE[..., None] * np.array([3, 0, 60000], np.uint16), 2),
    "tiff 255": tiff(SHAPE * 255),
    "tiff 16 bits": tiff(SHAPE.astype(np.uint16)),
    "tiff big": tiff(SHAPE.astype(np.uint16) * 65535, bigtiff=True, byteorder=">"),
    "tiff bits": tiff(SHAPE.astype(bool), photometric="minisblack"),
    "tiff bits, zero is white": tiff(SHAPE.astype(bool), photometric="miniswhite"),
    "tiff 255, zero is white": tiff(SHAPE * 255, photometric="miniswhite"),
    "tiff 16 bits, zero is white": tiff(SHAPE.astype(np.uint16), photometric="miniswhite"),
    "tiff big, zero is white": tiff(SHAPE, photometric="miniswhite", bigtiff=True, byteorder=">"),
    "tiff lzw": saved(SHAPE * 255, "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("form", MASKS)
def test_two_values_become_zero_and_one(form: str) -> None:
    found = decode_mask(MASKS[form], image_size=SIZE)
    assert found.pixels.dtype == np.uint8
    assert np.array_equal(found.pixels, SHAPE)
    assert found.size == SIZE
    assert not found.flagged


def test_one_value_is_all_or_nothing() -> None:
    for value in (0, 1, 255):
        found = decode_mask(saved(np.full(SIZE, value, np.uint8), "PNG"), image_size=(5, 4))
        assert np.array_equal(found.pixels, np.full((5, 4), min(value, 1)))
        assert not found.flagged


@pytest.mark.parametrize("size", [(9, 14), (4, 7), (18, 28), (5, 10), (31, 9)])
def test_masks_are_resized_by_the_nearest_neighbour(size: tuple[int, int]) -> None:
    found = decode_mask(tiff(SHAPE * 255), image_size=size).pixels
    centres = [((np.arange(n) + 0.5) * full / n).astype(int) for n, full in zip(size, SIZE, strict=True)]
    assert np.array_equal(found, SHAPE[np.ix_(*centres)])


def test_a_structure_that_is_lost_is_flagged() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[0, 0] = 255
    assert decode_mask(saved(mask, "PNG"), image_size=(8, 8)).flagged
    assert not decode_mask(saved(mask, "PNG"), image_size=(64, 64)).flagged


def test_a_box_and_an_orientation_as_for_images() -> None:
    found = decode_mask(tiff(SHAPE), image_size=(4, 5), box=(3, 2, 5, 4))
    assert np.array_equal(found.pixels, SHAPE[2:6, 3:8])
    assert found.size == SIZE
    turned = Image.Exif()
    turned[0x0112] = 6
    data = saved(np.rot90(SHAPE * 255).copy(), "PNG", exif=turned)
    assert np.array_equal(decode_mask(data, image_size=SIZE).pixels, SHAPE)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (tiff(SHAPE + (GREY > 128)), r"expected 0 \(black\) .* found 3 values \(0, 1, 2\)"),
        (saved(GREY, "PNG"), r"found \d+ values \(.*, \.\.\.\)"),
        (tiff(SHAPE * 100 + np.uint8(100)), r"found 2 values \(100, 200\)"),
        (saved(RGB, "PNG"), r"red \d+ green \d+ blue \d+"),
        (png16(SHAPE.astype(np.uint16) + (GREY > 128) * np.uint16(300), 0), "found .* values .0, 1, 300"),
        (saved(np.repeat(SHAPE[..., None] * 255, 3, axis=2), "JPEG"), "is a JPEG file, .*: expected PNG or TIFF"),
        (saved(SHAPE * 255, "BMP"), "is a BMP file: expected a mask as PNG or TIFF"),
        (tiff(SHAPE.astype(np.float32)), "floating-point"),
        (tiff(np.stack([SHAPE, SHAPE]), photometric="minisblack"), "2 pages"),
        (tiff(SHAPE)[:100], "damaged|incomplete"),
        (b"", "is empty"),
    ],
)
def test_what_is_no_mask(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        decode_mask(data, image_size=SIZE)
