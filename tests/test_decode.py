"""Every format and pixel layout against pixels that are known, and damaged files of every kind."""

from __future__ import annotations

import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cvlab.data.decode import (
    EXTENSIONS,
    DecodedImage,
    UnreadableImage,
    decode_bytes,
    decode_image,
    quiet_decoding,
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


@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"bigtiff": True}, {"planarconfig": "separate"}])
def test_tiff_layouts(options: dict[str, Any]) -> None:
    array = np.moveaxis(RGB, 2, 0) if "planarconfig" in options else RGB
    np.testing.assert_array_equal(decoded(tiff(array.copy(), photometric="rgb", **options)), RGB)


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
    assert not image.low_range


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
    assert decode_bytes(data, image_size=SIZE).low_range is low


def test_eight_bit_images_are_never_low_range() -> None:
    assert not decode_bytes(saved(np.zeros(SIZE, np.uint8), "PNG"), image_size=SIZE).low_range


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


def huge(form: str) -> bytes:
    """A small file whose header promises 40,000 x 16,000 pixels."""
    data = bytearray(tiff(GREY) if form == "tiff" else saved(RGB, form))
    if form == "png":
        data[12:33] = chunk(b"IHDR", struct.pack(">IIBBBBB", 40000, 16000, 8, 2, 0, 0, 0))[4:]
    elif form == "bmp":
        data[18:26] = struct.pack("<ii", 40000, 16000)
    elif form == "gif":
        data[6:10] = struct.pack("<HH", 40000, 16000)
    elif form == "jpeg":
        start = data.index(b"\xff\xc0")
        data[start + 5 : start + 9] = struct.pack(">HH", 16000, 40000)
    else:
        for tag, stored, promised in ((256, 14, 40000), (257, 9, 16000)):
            start = data.index(struct.pack("<HHII", tag, 4, 1, stored))
            data[start : start + 12] = struct.pack("<HHII", tag, 4, 1, promised)
    return bytes(data)


@pytest.mark.parametrize("form", ["png", "bmp", "gif", "jpeg", "tiff"])
def test_decompression_bombs_are_refused_by_their_header(form: str) -> None:
    with pytest.raises(UnreadableImage, match=r"40000 x 16000 pixels: expected at most 200,000,000"):
        decode_bytes(huge(form), image_size=SIZE)


def test_a_tiff_whose_strips_end_early() -> None:
    data = bytearray(tiff(GREY))
    start = data.index(struct.pack("<HHII", 257, 4, 1, 9))
    data[start : start + 12] = struct.pack("<HHII", 257, 4, 1, 9000)
    with pytest.raises(UnreadableImage, match="do not cover the image"):
        decode_bytes(bytes(data), image_size=SIZE)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_of_tiles_and_of_many_strips(compression: str | None) -> None:
    large = np.random.default_rng(2).integers(0, 65536, (50, 70, 3), dtype=np.uint16)
    for options in ({"tile": (16, 32)}, {"rowsperstrip": 7}):
        data = tiff(large, photometric="rgb", compression=compression, **options)
        np.testing.assert_array_equal(decoded(data, (50, 70)), to_eight(large))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"not an image at all", "is no JPEG, PNG, BMP, GIF, WebP or TIFF image"),
        (tiff(np.stack([GREY, GREY]), photometric="minisblack"), "2 pages"),
        (tiff(GREY.astype(np.float32)), "floating-point"),
        (tiff(RGB.astype(np.float32), photometric="rgb"), "damaged"),
        (tiff(GREY.astype(np.int16)), "signed"),
        (tiff(GREY.astype(np.uint32)), "32 bits a channel: expected 8 or 16"),
        (tiff(np.moveaxis(RGB16, 2, 0).copy(), photometric="rgb", planarconfig="separate"), "plane by plane"),
        (saved(RGB, "PPM"), "is no JPEG"),
        (saved(RGB, "JPEG")[:-60], "damaged or incomplete"),
    ],
)
def test_refused_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        decode_bytes(data, image_size=SIZE)


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(saved(RGB, "PNG"))
    image = decode_image(path, image_size=SIZE)
    assert isinstance(image, DecodedImage)
    np.testing.assert_array_equal(image.pixels, RGB)
    assert path.suffix in EXTENSIONS


def test_what_is_no_readable_file(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="is not a file"):
        decode_image(tmp_path / "missing.png", image_size=SIZE)
    with pytest.raises(UnreadableImage, match="is not a file"):
        decode_image(tmp_path, image_size=SIZE)


WHOLE_FILES = {
    "jpeg": saved(RGB, "JPEG"),
    "progressive": saved(RGB, "JPEG", progressive=True),
    "png": saved(RGB, "PNG"),
    "png16": png16(RGB16, 2),
    "png-grey-alpha": png16(RGB16[..., :2], 4),
    "palette": saved(Image.fromarray(RGB).quantize(16), "PNG", transparency=3),
    "bmp": saved(RGB, "BMP"),
    "gif": saved(RGB, "GIF"),
    "webp": saved(RGB, "WEBP"),
    "tiff": tiff(RGB, photometric="rgb"),
    "tiff16": tiff(RGB16, photometric="rgb"),
    "big-tiff": tiff(RGB16[..., 0], bigtiff=True),
    "lzw": saved(RGB, "TIFF", compression="tiff_lzw"),
}


def survives(data: bytes) -> bool:
    try:
        decoded(data)
    except UnreadableImage:
        return False
    return True


@pytest.mark.parametrize("form", WHOLE_FILES)
def test_files_cut_anywhere(form: str) -> None:
    whole = WHOLE_FILES[form]
    assert survives(whole)
    with quiet_decoding():
        for length in range(0, len(whole) // 2, max(1, len(whole) // 60)):
            assert not survives(whole[:length]), length
        for length in range(len(whole) // 2, len(whole), max(1, len(whole) // 60)):
            survives(whole[:length])


@pytest.mark.slow
@given(form=st.sampled_from(sorted(WHOLE_FILES)), data=st.data())
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_flipped_bytes_never_raise_anything_else(form: str, data: st.DataObject) -> None:
    damaged = bytearray(WHOLE_FILES[form])
    # Headers are short and break most: half of the damage goes there.
    places = st.integers(0, len(damaged) - 1) | st.integers(0, min(120, len(damaged) - 1))
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=4)):
        damaged[place] = value
    with quiet_decoding():
        survives(bytes(damaged))


@given(start=st.sampled_from([b"", *(whole[:12] for whole in WHOLE_FILES.values())]), rest=st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes(start: bytes, rest: bytes) -> None:
    with quiet_decoding():
        survives(start + rest)


@pytest.mark.parametrize("form", ["png", "png16", "png-grey-alpha"])
def test_a_flipped_bit_in_the_pixels_of_a_png_is_noticed(form: str) -> None:
    whole = WHOLE_FILES[form]
    start = whole.index(b"IDAT") + 4
    for place in range(start, len(whole) - 12, max(1, (len(whole) - start) // 40)):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        assert not survives(bytes(damaged)), place


def test_nothing_is_printed_for_damaged_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "image"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for form in ("tiff", "tiff16", "png", "png16", "jpeg", "gif", "webp"):
            whole = WHOLE_FILES[form]
            for place in range(0, len(whole), max(1, len(whole) // 40)):
                damaged = bytearray(whole)
                damaged[place] ^= 64
                path.write_bytes(damaged[: len(damaged) - place // 3])
                try:
                    decode_image(path, image_size=SIZE)
                except UnreadableImage:
                    continue
    assert capfd.readouterr() == ("", "")
