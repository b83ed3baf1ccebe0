"""Images and data folders from anybody: bombs, files that never end, links in circles, names that play tricks."""

from __future__ import annotations

import os
import struct
import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from cvlab.data.decode import decode_bytes, quiet_decoding
from cvlab.data.image_file import UnreadableImage
from cvlab.data.image_structure import MAX_PAGES, MAX_SCANS
from tests.cli_fixture import cvlab, refusal
from tests.faults.damaged_images import FILES, check_format
from tests.image_fixture import GREY, RGB, RGB16, SIZE, chunk, saved, tiff

# Left out of `scripts/test fast`.
pytestmark = pytest.mark.slow

CONFIG = """
name: audit
task: {name: classification}
data: {name: image_folder, root: ROOT, image_size: [32, 32]}
model: {name: vggnet}
stages: [{name: only, epochs: 1, learning_rate: 1e-3}]
"""


def dataset(folder: Path) -> Path:
    """Two classes of twelve images each, and the configuration that names them."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / "data" / name).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "data" / name / f"{number}.png")
    (folder / "c.yaml").write_text(CONFIG.replace("ROOT", str(folder / "data")))
    return folder / "c.yaml"


def png_bomb(side: int = 50_000) -> bytes:
    """A PNG of a few kilobytes that promises side x side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(3_000_000), 9)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def text_bomb(kind: bytes, lead: bytes) -> bytes:
    """A PNG with a text of 100 MB in 100 kB."""
    small = saved(RGB, "PNG")
    return small[:33] + chunk(kind, lead + zlib.compress(b"A" * 100_000_000, 9)) + small[33:]


def endless_scans() -> bytes:
    """A progressive JPEG whose last scan comes ten thousand times."""
    whole = saved(np.zeros((64, 64), np.uint8), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * 10_000 + whole[-2:]


def endless_pages(*, circle: bool = False) -> bytes:
    """A TIFF whose pages are followed by ten thousand empty ones, or by the first again."""
    data = tiff(GREY)
    first = struct.unpack("<I", data[4:8])[0]
    count = struct.unpack("<H", data[first : first + 2])[0]
    at = first + 2 + 12 * count
    following = struct.pack("<I", first if circle else len(data))
    chain = b"".join(struct.pack("<HI", 0, len(data) + 6 * (number + 1)) for number in range(10_000))
    return data[:at] + following + data[at + 4 :] + (b"" if circle else chain + struct.pack("<HI", 0, 0))


def strip_bomb() -> bytes:
    """A BigTIFF of 9 x 14 pixels whose only strip grows to 100 MB."""
    data = tiff(RGB16[..., 0], bigtiff=True, byteorder=">", compression="zlib")
    with tifffile.TiffFile(BytesIO(data)) as file:
        tags = file.pages[0].tags
        offsets, counts = tags[273].valueoffset, tags[279].valueoffset
    bomb, changed = zlib.compress(bytes(100_000_000), 9), bytearray(data)
    changed[offsets : offsets + 8] = struct.pack(">Q", len(data))
    changed[counts : counts + 8] = struct.pack(">Q", len(bomb))
    return bytes(changed) + bomb


BOMBS = {
    "pixels": (png_bomb(), "is 50000 x 50000 pixels: expected at most 200,000,000 pixels"),
    "text": (text_bomb(b"zTXt", b"k\0\0"), "is damaged or incomplete"),
    "international text": (text_bomb(b"iTXt", b"k\0\1\0en\0t\0"), "is damaged or incomplete"),
    "scans": (endless_scans(), f"is a JPEG of more than {MAX_SCANS} scans"),
    "segments": (saved(GREY, "JPEG")[:2] + b"\xff\xfe\0\2" * 100_000 + saved(GREY, "JPEG")[2:], "5,000 segments"),
    "pages": (endless_pages(), f"is a TIFF of more than {MAX_PAGES:,} pages"),
    "strip": (strip_bomb(), "grows to more than the"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_refused(kind: str) -> None:
    data, reason = BOMBS[kind]
    with quiet_decoding(), pytest.raises(UnreadableImage, match=reason):
        decode_bytes(data, image_size=SIZE)


def test_pages_in_a_circle_end() -> None:
    with quiet_decoding(), suppress(UnreadableImage):
        decode_bytes(endless_pages(circle=True), image_size=SIZE)


def test_a_tiff_that_lacks_most_of_its_strips_is_not_taken_for_black() -> None:
    data = bytearray(FILES["BigTIFF, big-endian, zlib"])
    data[57] ^= 128  # 8,388,617 rows instead of 9
    with quiet_decoding(), pytest.raises(UnreadableImage, match="do not cover the image"):
        decode_bytes(bytes(data), image_size=SIZE)


def test_large_but_legal_images_decode() -> None:
    large = Image.new("L", (9000, 7000), 77)
    assert (decode_bytes(saved(large, "PNG"), image_size=SIZE).pixels == 77).all()
    scans = saved(np.full((64, 64), 77, np.uint8), "JPEG", progressive=True)
    assert (decode_bytes(scans, image_size=SIZE).pixels == 77).all()


@pytest.mark.parametrize("form", FILES)
def test_damaged_files_of_every_format(form: str) -> None:
    outcomes, faults = check_format(form, places=12)
    assert not faults, faults[0]
    assert outcomes["named"] > 0


def test_an_image_bomb_in_a_data_set_is_named_in_one_line(tmp_path: Path) -> None:
    config = dataset(tmp_path)
    (tmp_path / "data" / "a" / "bomb.png").write_bytes(png_bomb())
    outcome = cvlab("data", "audit", config)
    assert outcome.code == 2
    (line,) = [line for line in (outcome.out + outcome.err).splitlines() if "bomb.png" in line and "pixels" in line]
    assert "is 50000 x 50000 pixels: expected at most 200,000,000 pixels" in line


@pytest.mark.parametrize("target", [".", "..", "../b", "loop"])
def test_links_in_circles_end(target: str, tmp_path: Path) -> None:
    config = dataset(tmp_path)
    (tmp_path / "data" / "a" / "loop").symlink_to(target)
    if target == "../b":
        (tmp_path / "data" / "b" / "back").symlink_to("../a")
    outcome = cvlab("data", "audit", config)
    assert outcome.code in (0, 2)
    assert outcome.code == 0 or len(outcome.err.splitlines()) == 1


def test_a_pipe_in_a_data_set_is_not_waited_for(tmp_path: Path) -> None:
    config = dataset(tmp_path)
    os.mkfifo(tmp_path / "data" / "a" / "pipe.png")
    outcome = cvlab("data", "audit", config)
    assert outcome.code == 2
    assert "pipe.png" in outcome.out + outcome.err


STRANGE = (
    "new\nline.png",
    "quo'te\".png",
    "..png.png",
    "\u202egnp.png",
    "\x1b[31mred.png",
    "=1+cmd|' '!A0.png",
    "a,b;c.png",
)


def test_strange_names_of_files_are_kept_and_shown_in_one_line(tmp_path: Path) -> None:
    config = dataset(tmp_path)
    for number, name in enumerate(STRANGE):
        Image.new("RGB", (16, 16), (number, 0, 9)).save(tmp_path / "data" / "a" / name)
    outcome = cvlab("data", "audit", config)
    assert outcome.code == 0, outcome.err
    assert all(line.isprintable() for line in (outcome.out + outcome.err).splitlines())
    (tmp_path / "data" / "a" / STRANGE[0]).write_bytes(b"not an image")
    outcome = cvlab("data", "audit", config)
    assert outcome.code == 2
    assert "new\\nline.png" in outcome.out + outcome.err


def test_names_of_classes_are_words(tmp_path: Path) -> None:
    config = dataset(tmp_path)
    (tmp_path / "data" / "b").rename(tmp_path / "data" / "b\nc")
    assert "the name 'b\\nc' of a class or a number holds a control character" in refusal("data", "audit", config)
