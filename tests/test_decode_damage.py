"""Bombs, damaged and foreign files: named with a reason, never a crash or a hang."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cvlab.data.decode import (
    DecodedImage,
    decode_bytes,
    decode_image,
    quiet_decoding,
)
from cvlab.data.image_file import EXTENSIONS, UnreadableImage
from tests.image_fixture import (
    GREY,
    RGB,
    RGB16,
    SIZE,
    chunk,
    decoded,
    png16,
    saved,
    tiff,
    to_eight,
)


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
        (tiff(RGB.astype(np.float32), photometric="rgb"), "floating-point"),
        (tiff(GREY.astype(np.float64)), "floating-point"),
        (tiff(GREY.astype(np.float32), bigtiff=True, byteorder=">"), "floating-point"),
        (tiff(np.stack([GREY, GREY]).astype(np.float64), photometric="minisblack"), "2 pages"),
        (tiff(np.dstack([RGB16, RGB16[..., :2]]), photometric="minisblack", planarconfig="contig"), "5 channels"),
        (tiff(GREY.astype(np.int16)), "signed"),
        (tiff(GREY.astype(np.uint32)), "32 bits a channel: expected 8 or 16"),
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
    "big-endian-big-tiff": tiff(RGB16[..., 0], bigtiff=True, byteorder=">"),
    "planes": tiff(np.moveaxis(RGB16, 2, 0).copy(), photometric="rgb", planarconfig="separate"),
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
