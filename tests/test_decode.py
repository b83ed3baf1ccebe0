"""Every format and pixel layout against pixels that are known."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from cvlab.data.decode import decode_bytes
from cvlab.data.image_file import UnreadableImage
from tests.image_fixture import (
    ALPHA,
    GREY,
    RGB,
    RGB16,
    SIZE,
    as_rgb,
    chunk,
    decoded,
    on_black,
    png,
    png16,
    saved,
    tiff,
    to_eight,
)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("channels", ["grey", "rgb"])
def test_lossless_formats_come_out_exactly(form: str, channels: str) -> None:
    array = GREY if channels == "grey" else RGB
    options = {"lossless": True} if form == "WEBP" else {}
    expected = as_rgb(GREY) if channels == "grey" else RGB
    np.testing.assert_array_equal(decoded(saved(array, form, **options)), expected)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_compressions(compression: str) -> None:
    np.testing.assert_array_equal(decoded(saved(RGB, "TIFF", compression=compression)), RGB)


LAYOUTS: list[dict[str, Any]] = [
    {},
    {"byteorder": ">"},
    {"bigtiff": True},
    {"bigtiff": True, "byteorder": ">"},
    {"planarconfig": "separate"},
]


@pytest.mark.parametrize("options", LAYOUTS)
def test_tiff_layouts(options: dict[str, Any]) -> None:
    for array in (RGB, RGB16):
        stored = np.moveaxis(array, 2, 0).copy() if "planarconfig" in options else array
        data = tiff(stored, photometric="rgb", **options)
        np.testing.assert_array_equal(decoded(data), RGB if array is RGB else to_eight(RGB16))


def test_tiffs_that_only_tifffile_reads() -> None:
    """Big-endian BigTIFF, and 16-bit grey with alpha."""
    big = {"bigtiff": True, "byteorder": ">"}
    grey = as_rgb(to_eight(RGB16[..., 0]))
    np.testing.assert_array_equal(decoded(tiff(GREY, **big)), as_rgb(GREY))
    np.testing.assert_array_equal(decoded(tiff(255 - GREY, photometric="miniswhite", **big)), as_rgb(GREY))
    np.testing.assert_array_equal(decoded(tiff(65535 - RGB16[..., 0], photometric="miniswhite", **big)), grey)
    for kind, expected in (("unassalpha", on_black(grey, to_eight(RGB16[..., 1]))), ("assocalpha", grey)):
        options = {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": [kind]}
        np.testing.assert_array_equal(decoded(tiff(RGB16[..., :2].copy(), **options)), expected)
    turned = tiff(np.rot90(GREY).copy(), extratags=[(274, 3, 1, 6, True)], **big)
    assert np.array_equal(decoded(turned), as_rgb(GREY))


def test_jpeg_agrees_with_another_decoder() -> None:
    smooth = cv2.resize(RGB, (64, 48), interpolation=cv2.INTER_CUBIC)
    data = saved(smooth, "JPEG", quality=95, subsampling=0)
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.abs(decoded(data, (48, 64)).astype(int) - other).max() <= 2


def test_cmyk_jpeg_is_not_inverted() -> None:
    solid = Image.new("CMYK", (14, 9), (200, 40, 0, 51))
    expected = [round((255 - ink) * (255 - 51) / 255) for ink in (200, 40, 0)]
    assert np.abs(decoded(saved(solid, "JPEG", quality=100)).astype(int) - expected).max() <= 3


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
def test_one_bit(form: str) -> None:
    bits = GREY > 127
    np.testing.assert_array_equal(decoded(saved(bits, form)), as_rgb(bits * np.uint8(255)))


@pytest.mark.parametrize("form", ["PNG", "GIF", "BMP", "TIFF"])
def test_palette(form: str) -> None:
    palette = Image.fromarray(RGB).quantize(16)
    np.testing.assert_array_equal(decoded(saved(palette, form)), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_transparent_palette_entry_becomes_black(form: str) -> None:
    palette = Image.fromarray(RGB).quantize(16)
    hidden = np.asarray(palette) == 3
    expected = np.where(hidden[..., None], 0, np.asarray(palette.convert("RGB")))
    np.testing.assert_array_equal(decoded(saved(palette, form, transparency=3)), expected)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_opaque_alpha_changes_nothing_and_transparency_is_black(form: str) -> None:
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    opaque = np.dstack([RGB, np.full(SIZE, 255, np.uint8)])
    np.testing.assert_array_equal(decoded(saved(opaque, form, **options)), RGB)
    half = np.dstack([RGB, ALPHA])
    np.testing.assert_array_equal(decoded(saved(half, form, **options)), on_black(RGB, ALPHA))


def test_grey_with_alpha() -> None:
    expected = on_black(as_rgb(GREY), ALPHA)
    np.testing.assert_array_equal(decoded(saved(np.dstack([GREY, ALPHA]), "PNG")), expected)


@pytest.mark.parametrize(("depth", "step"), [(1, 255), (2, 85), (4, 17), (8, 1)])
def test_transparent_grey_level_of_few_bits(depth: int, step: int) -> None:
    # 8 pixels a row, the levels from 0 upwards; the highest level of each depth is declared transparent.
    levels = np.arange(8) % 2**depth
    packed = int("".join(f"{level:0{depth}b}" for level in levels), 2).to_bytes(depth, "big")
    key = int(levels.max())
    data = png([packed], 8, depth=depth, colour=0, extra=chunk(b"tRNS", struct.pack(">H", key)))
    expected = np.where(levels == key, 0, levels * step)
    np.testing.assert_array_equal(decoded(data, (1, 8))[0, :, 0], expected)


# What is stored so that each orientation (EXIF 2.3, tag 0x0112) makes the upright picture of it.
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.T,
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright.T[::-1, ::-1],
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG", "TIFF16", "TIFF16RGB", "LZW"])
def test_orientation_is_applied(form: str, orientation: int) -> None:
    upright = np.zeros(SIZE, np.uint8)
    upright[:3, :5] = 255  # top left
    upright[:3, 5:] = 90
    stored = np.ascontiguousarray(STORED[orientation](upright))
    tags = [(0x0112, 3, 1, orientation, True)]
    if form == "TIFF16":
        data = tiff(stored.astype(np.uint16) * 257, extratags=tags)
    elif form == "TIFF16RGB":
        data = tiff(as_rgb(stored).astype(np.uint16) * 257, photometric="rgb", extratags=tags)
    else:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options: dict[str, Any] = {
            "WEBP": {"lossless": True},
            "JPEG": {"quality": 100},
            "LZW": {"compression": "tiff_lzw"},
        }
        data = saved(stored, "TIFF" if form == "LZW" else form, exif=exif, **options.get(form, {}))
    limit = 12 if form == "JPEG" else 0
    assert np.abs(decoded(data).astype(int) - as_rgb(upright)).max() <= limit


ALL_VALUES = np.arange(65536, dtype=np.uint16).reshape(256, 256)


@pytest.mark.parametrize("form", ["png", "tiff", "big-endian", "deflate", "lzw", "white-is-zero"])
def test_sixteen_bit_grey_is_divided_by_257_and_rounded(form: str) -> None:
    data = {
        "png": lambda: png16(ALL_VALUES, 0),
        "tiff": lambda: tiff(ALL_VALUES),
        "big-endian": lambda: tiff(ALL_VALUES, byteorder=">"),
        "deflate": lambda: tiff(ALL_VALUES, compression="zlib", predictor=True),
        "lzw": lambda: saved(ALL_VALUES, "TIFF", compression="tiff_lzw"),
        "white-is-zero": lambda: tiff(65535 - ALL_VALUES, photometric="miniswhite"),
    }[form]()
    image = decode_bytes(data, image_size=(256, 256))
    np.testing.assert_array_equal(image.pixels, as_rgb(to_eight(ALL_VALUES)))
    assert image.pixels.max() == 255
    assert not image.flagged


@pytest.mark.parametrize("form", ["png", "opencv-png", "tiff", "big-endian", "deflate", "opencv-lzw"])
def test_sixteen_bit_colour_keeps_its_low_byte(form: str) -> None:
    data = {
        "png": lambda: png16(RGB16, 2),
        "opencv-png": lambda: cv2.imencode(".png", RGB16[..., ::-1])[1].tobytes(),
        "tiff": lambda: tiff(RGB16, photometric="rgb"),
        "big-endian": lambda: tiff(RGB16, photometric="rgb", byteorder=">"),
        "deflate": lambda: tiff(RGB16, photometric="rgb", compression="zlib", predictor=True),
        "opencv-lzw": lambda: cv2.imencode(".tif", RGB16[..., ::-1])[1].tobytes(),
    }[form]()
    np.testing.assert_array_equal(decoded(data), to_eight(RGB16))


def test_sixteen_bit_alpha() -> None:
    alpha = RGB16[..., 2]
    colour = np.dstack([RGB16, alpha])
    expected = on_black(to_eight(RGB16), to_eight(alpha))
    np.testing.assert_array_equal(decoded(png16(colour, 6)), expected)
    np.testing.assert_array_equal(decoded(tiff(colour, photometric="rgb", extrasamples=["unassalpha"])), expected)
    grey = on_black(as_rgb(to_eight(RGB16[..., 0])), to_eight(alpha))
    np.testing.assert_array_equal(decoded(png16(RGB16[..., [0, 2]], 4)), grey)


def test_sixteen_bit_transparent_value() -> None:
    expected = to_eight(RGB16)
    expected[4, 5] = 0
    key = chunk(b"tRNS", struct.pack(">HHH", *map(int, RGB16[4, 5])))
    np.testing.assert_array_equal(decoded(png16(RGB16, 2, key)), expected)
    grey = to_eight(RGB16[..., 0])
    grey[4, 5] = 0
    key = chunk(b"tRNS", struct.pack(">H", int(RGB16[4, 5, 0])))
    np.testing.assert_array_equal(decoded(png16(RGB16[..., 0], 0, key)), as_rgb(grey))


@pytest.mark.parametrize(("largest", "low"), [(3000 + 8191, True), (3000 + 8192, False), (65535, False)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_low_range(largest: int, low: bool, channels: int) -> None:
    values = np.full((9, 14, channels), 3000, np.uint16)
    values[0, 0, : min(channels, 3) if channels != 2 else 1] = largest
    if channels in (2, 4):
        values[..., -1] = np.arange(14) * 5000  # The range of alpha does not count.
    data = png16(values, {1: 0, 2: 4, 3: 2, 4: 6}[channels])
    assert decode_bytes(data, image_size=SIZE).flagged is low


def test_eight_bit_images_are_never_low_range() -> None:
    assert not decode_bytes(saved(np.zeros(SIZE, np.uint8), "PNG"), image_size=SIZE).flagged


def bilinear(array: np.ndarray, size: int) -> np.ndarray:
    """Resizes the first axis with a triangle filter as wide as the reduction, by its definition."""
    scale = len(array) / size
    support = max(scale, 1.0)
    centres = (np.arange(size) + 0.5) * scale
    weights = np.maximum(1 - np.abs(np.arange(len(array)) + 0.5 - centres[:, None]) / support, 0)
    return np.tensordot(weights / weights.sum(axis=1, keepdims=True), array, axes=1)


@pytest.mark.parametrize("size", [(4, 5), (30, 40), (5, 40), (9, 14), (1, 1)])
def test_resizing_is_stretched_and_antialiased(size: tuple[int, int]) -> None:
    expected = bilinear(bilinear(RGB.astype(float), size[0]).swapaxes(0, 1), size[1]).swapaxes(0, 1)
    assert np.abs(decoded(saved(RGB, "PNG"), size) - expected).max() <= 1.01


def test_first_frame_of_an_animation() -> None:
    frames = [Image.fromarray(array) for array in (GREY, ALPHA)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decoded(data), as_rgb(GREY))
    webp = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    np.testing.assert_array_equal(decoded(webp), as_rgb(GREY))


def test_a_box_is_cut_out_of_the_upright_image_before_it_is_resized() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    turned = Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 270 degrees: as it was
    data = saved(np.asarray(turned), "PNG", exif=exif)
    whole = decode_bytes(data, image_size=(10, 12), box=(4, 3, 12, 10)).pixels
    np.testing.assert_array_equal(whole, pixels[3:13, 4:16])
    small = decode_bytes(data, image_size=(5, 6), box=(4, 3, 12, 10)).pixels
    by_hand = Image.fromarray(pixels[3:13, 4:16]).resize((6, 5), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(small, np.asarray(by_hand))


@pytest.mark.parametrize("box", [(0, 0, 31, 20), (0, 0, 30, 21), (29, 0, 2, 2), (0, 0, 0, 5), (-1, 0, 5, 5)])
def test_a_box_outside_of_the_image_is_refused(box: tuple[int, int, int, int]) -> None:
    data = saved(np.zeros((20, 30, 3), dtype=np.uint8), "PNG")
    assert decode_bytes(data, image_size=(8, 8), box=(0, 0, 30, 20)).pixels.shape == (8, 8, 3)
    with pytest.raises(UnreadableImage, match=r"has 30 x 20 pixels \(width x height\); the box at left"):
        decode_bytes(data, image_size=(8, 8), box=box)
