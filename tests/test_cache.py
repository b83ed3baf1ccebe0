"""The image cache: exact rows, one build for all, whole or not there, and rebuilt when it should be."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvlab.console import Console
from cvlab.data.cache import ImageCache, open_or_build
from cvlab.data.cache_folder import default_cache_dir
from cvlab.data.decode import decode_image
from cvlab.errors import DataError

SIZE = (6, 8)
SCRIPT = """
import resource, sys
from pathlib import Path
from cvlab.console import Console
from cvlab.data.cache import open_or_build
from cvlab.data.fingerprint import content_hashes
from cvlab.errors import CvlabError

images, cache_dir, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
paths, console = sorted(images.iterdir()), Console()
hashes = content_hashes(paths, cache_dir=cache_dir, console=console)
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    cache = open_or_build(paths, hashes, image_size=(32, 32), cache_dir=cache_dir, console=console)
except CvlabError as error:
    sys.exit(str(error))
print("built", len(cache.images), int(cache.images.sum(dtype="int64")))
"""


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def built(paths: list[Path], cache_dir: Path, size: tuple[int, int] = SIZE) -> ImageCache:
    hashes = [sha256(path) for path in paths]
    return open_or_build(paths, hashes, image_size=size, cache_dir=cache_dir, console=Console(StringIO()))


def start(images: Path, cache_dir: Path, limit: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-u", "-c", SCRIPT, str(images), str(cache_dir), str(limit)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def entries(cache_dir: Path) -> list[str]:
    """The names in the cache without the locks, which stay."""
    return sorted(path.name for path in (cache_dir / "images").glob("*") if path.suffix != ".lock")


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Five images, one of them twice, and one file that is none."""
    generator = np.random.default_rng(3)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        pixels = generator.integers(0, 256, (10 + number, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    shutil.copy(folder / "2.png", folder / "copy of 2.png")
    (folder / "notes.jpg").write_text("not an image")
    return sorted(folder.iterdir())


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Images that take a moment to decode, so that a build can be met half-way."""
    folder = tmp_path / "large"
    folder.mkdir()
    for number in range(40):
        Image.new("L", (2000, 1500), number).save(folder / f"{number}.png", compress_level=1)
    return folder


def test_rows_are_what_decode_image_gives(paths: list[Path], tmp_path: Path) -> None:
    cache = built(paths, tmp_path / "cache")
    images = [path for path in paths if path.suffix == ".png"]
    rows = cache.rows([sha256(path) for path in images])
    assert rows.dtype == np.int64
    assert cache.images.shape == (5, *SIZE, 3)
    for path, row in zip(images, rows, strict=True):
        np.testing.assert_array_equal(cache.images[row], decode_image(path, image_size=SIZE).pixels)
    assert rows[images.index(paths[2])] == rows[images.index(paths[5])]
    assert cache.unreadable == {sha256(paths[-1]): "is no JPEG, PNG, BMP, GIF, WebP or TIFF image"}


def test_two_boxes_of_one_file_are_two_images(paths: list[Path], tmp_path: Path) -> None:
    content = sha256(paths[0])
    wanted = [content, f"{content}[0,0,6,5]", f"{content}[6,5,6,5]", f"{content}[6,5,7,5]"]
    console = Console(StringIO())
    cache = open_or_build([paths[0]] * 4, wanted, image_size=(5, 6), cache_dir=tmp_path, console=console)
    rows = cache.rows(wanted[:3])
    pixels = np.asarray(Image.open(paths[0]))
    np.testing.assert_array_equal(cache.images[rows[1]], pixels[:5, :6])
    np.testing.assert_array_equal(cache.images[rows[2]], pixels[5:, 6:])
    assert "reaches outside" in cache.unreadable[wanted[3]]
    again = open_or_build([paths[0]] * 4, wanted, image_size=(5, 6), cache_dir=tmp_path, console=console)
    np.testing.assert_array_equal(again.images, cache.images)
    with pytest.raises(KeyError):
        cache.rows([sha256(paths[-1])])


def test_the_map_is_read_only(paths: list[Path], tmp_path: Path) -> None:
    cache = built(paths, tmp_path / "cache")
    assert isinstance(cache.images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        cache.images[0, 0, 0, 0] = 1


def test_order_and_names_do_not_matter(paths: list[Path], tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    built(paths, first)
    renamed = [path.rename(path.with_name(f"other {path.name}")) for path in reversed(paths)]
    built(renamed, second)
    assert entries(first) == entries(second)
    key = entries(first)[0]
    for name in ("images.npy", "index.json"):
        assert (first / "images" / key / name).read_bytes() == (second / "images" / key / name).read_bytes()


def test_later_runs_read_no_image(paths: list[Path], tmp_path: Path) -> None:
    hashes = [sha256(path) for path in paths]
    cache = built(paths, tmp_path)
    for path in paths:
        path.unlink()
    again = open_or_build(paths, hashes, image_size=SIZE, cache_dir=tmp_path, console=Console(StringIO()))
    np.testing.assert_array_equal(again.images, cache.images)
    assert (again.row_of, again.unreadable) == (cache.row_of, cache.unreadable)


def test_a_changed_file_gets_a_new_row(paths: list[Path], tmp_path: Path) -> None:
    before = built(paths, tmp_path)
    old = sha256(paths[0])
    Image.new("RGB", (12, 10), (9, 8, 7)).save(paths[0])
    after = built(paths, tmp_path)
    assert old in before.row_of
    assert old not in after.row_of
    assert (after.images[after.row_of[sha256(paths[0])]] == (9, 8, 7)).all()
    np.testing.assert_array_equal(
        after.images[after.rows([sha256(paths[1])])], before.images[before.rows([sha256(paths[1])])]
    )


def test_another_size_is_another_cache(paths: list[Path], tmp_path: Path) -> None:
    assert built(paths, tmp_path, (6, 8)).images.shape == (5, 6, 8, 3)
    assert built(paths, tmp_path, (8, 6)).images.shape == (5, 8, 6, 3)
    assert len(entries(tmp_path)) == 2


def test_low_range_images_are_remembered(tmp_path: Path) -> None:
    dark = tmp_path / "twelve bits.png"
    Image.fromarray(np.arange(80, dtype=np.uint16).reshape(8, 10) * 50).save(dark)
    assert built([dark], tmp_path).flagged == {sha256(dark)}
    assert built([dark], tmp_path).flagged == {sha256(dark)}


def test_no_readable_image_at_all(paths: list[Path], tmp_path: Path) -> None:
    for _ in range(2):
        cache = built(paths[-1:], tmp_path)
        assert cache.images.shape == (0, *SIZE, 3)
        assert len(cache.unreadable) == 1
    assert built([], tmp_path).rows([]).shape == (0,)


@pytest.mark.parametrize("damage", ["cut", "longer", "other header", "no images", "no index", "bad index", "rows"])
def test_a_damaged_cache_is_built_again(paths: list[Path], tmp_path: Path, damage: str) -> None:
    expected = np.array(built(paths, tmp_path).images)
    folder = tmp_path / "images" / entries(tmp_path)[0]
    images, index = folder / "images.npy", folder / "index.json"
    whole = images.read_bytes()
    if damage == "cut":
        os.truncate(images, len(whole) - 1)
    elif damage == "longer":
        images.write_bytes(whole + b"\0")
    elif damage == "other header":
        images.write_bytes(whole.replace(b"(5, 6, 8, 3)", b"(5, 8, 6, 3)"))
    elif damage == "no images":
        images.unlink()
    elif damage == "no index":
        index.unlink()
    elif damage == "bad index":
        index.write_text("[]")
    else:
        content = json.loads(index.read_text())
        content["rows"] = content["rows"][::-1]
        index.write_text(json.dumps(content))
    np.testing.assert_array_equal(built(paths, tmp_path).images, expected)
    assert images.read_bytes() == whole


def test_a_file_that_changes_between_hashing_and_decoding(paths: list[Path], tmp_path: Path) -> None:
    hashes = [sha256(path) for path in paths]
    paths[1].write_bytes(paths[0].read_bytes())
    with pytest.raises(DataError, match=r"1\.png: changed while it was being read"):
        open_or_build(paths, hashes, image_size=SIZE, cache_dir=tmp_path, console=Console(StringIO()))
    paths[1].unlink()
    with pytest.raises(DataError, match=r"1\.png: cannot be read any more"):
        open_or_build(paths, hashes, image_size=SIZE, cache_dir=tmp_path, console=Console(StringIO()))
    assert entries(tmp_path) == []


def test_too_little_space_is_noticed_before(paths: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"too full.*They need 189,000,\d+\.\d MB; .* `data.cache_dir=") as caught:
        built(paths[:7], tmp_path, (3_000_000, 3_500_000))
    assert str(tmp_path) in str(caught.value)
    assert entries(tmp_path) == []


def test_a_cache_folder_that_cannot_be_made(paths: list[Path]) -> None:
    with pytest.raises(DataError, match=r"cannot be written \(Not a directory\)"):
        built(paths, paths[0] / "cache")


@pytest.mark.slow
def test_a_write_that_fails_half_way_leaves_nothing(large: Path, tmp_path: Path) -> None:
    process = start(large, tmp_path, limit=50_000)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "cannot be written (File too large)" in message
    assert "Traceback" not in message
    assert entries(tmp_path) == []


@pytest.mark.slow
def test_two_processes_build_once(large: Path, tmp_path: Path) -> None:
    both = [start(large, tmp_path) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0].splitlines() for process in both]
    assert [output[-1] for output in outputs] == [f"built 40 {sum(range(40)) * 32 * 32 * 3}"] * 2
    assert len(entries(tmp_path)) == 1


@pytest.mark.slow
def test_the_second_process_waits_and_reuses(large: Path, tmp_path: Path) -> None:
    finished, cache_dir = tmp_path / "finished", tmp_path / "cache"
    start(large, finished).communicate(timeout=60)
    key = entries(finished)[0]
    (cache_dir / "images").mkdir(parents=True)
    with (cache_dir / "images" / f"{key}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = start(large, cache_dir)
        assert process.stdout is not None
        assert "Another process is making the decoded images" in process.stdout.readline()
        shutil.copytree(finished / "images" / key, cache_dir / "images" / key)
    copied = (cache_dir / "images" / key / "images.npy").stat().st_ino
    assert process.communicate(timeout=60)[0].startswith("built 40")
    assert (cache_dir / "images" / key / "images.npy").stat().st_ino == copied


@pytest.mark.slow
def test_a_killed_build_is_done_again(large: Path, tmp_path: Path) -> None:
    process = start(large, tmp_path)
    deadline = time.monotonic() + 60
    while not any(name.endswith(".tmp") for name in entries(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    left = entries(tmp_path)
    assert len(left) == 1
    assert left[0].endswith(".tmp")
    assert start(large, tmp_path).communicate(timeout=60)[0].startswith("built 40")
    assert entries(tmp_path) == [left[0].split(".")[0]]


def test_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CVLAB_CACHE_DIR", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert default_cache_dir() == tmp_path / "own"
    monkeypatch.delenv("CVLAB_CACHE_DIR")
    assert default_cache_dir() == tmp_path / "shared" / "cvlab"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / ".cache" / "cvlab"
