"""Content hashes: right, in order, remembered only while the file is provably the same."""

from __future__ import annotations

import hashlib
import json
import os
from io import StringIO
from pathlib import Path

import pytest

from cvlab.console import Console
from cvlab.data.fingerprint import content_hashes
from cvlab.errors import DataError

# Files that were not written a moment ago: only such are remembered.
SETTLED = sorted(Path(json.__file__).parent.glob("*.py"))


def hashes(paths: list[Path], cache_dir: Path) -> list[str]:
    return content_hashes(paths, cache_dir=cache_dir, console=Console(StringIO()))


def direct(paths: list[Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_hashes_stand_in_the_order_of_the_paths(tmp_path: Path) -> None:
    paths = [*reversed(SETTLED), *SETTLED]
    assert hashes(paths, tmp_path) == direct(paths)
    assert hashes(paths, tmp_path) == direct(paths)
    assert hashes([], tmp_path) == []


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    hashes(SETTLED, tmp_path)
    (index,) = (tmp_path / "hashes").iterdir()
    content = json.loads(index.read_text())
    name = str(SETTLED[0])
    content[name][4] = "0" * 64
    index.write_text(json.dumps(content))
    assert hashes(SETTLED, tmp_path) == ["0" * 64, *direct(SETTLED[1:])]
    for position in range(4):  # size, modification time, change time, inode
        changed = json.loads(json.dumps(content))
        changed[name][position] += 1
        index.write_text(json.dumps(changed))
        assert hashes(SETTLED, tmp_path) == direct(SETTLED)


def test_a_change_that_keeps_size_and_time_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"first")
    status = path.stat()
    before = hashes([path], tmp_path)
    path.write_bytes(b"other")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert hashes([path], tmp_path) == direct([path]) != before


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000, '{"x": 3}', "\0"])
def test_a_damaged_index_means_reading_again(tmp_path: Path, content: str) -> None:
    hashes(SETTLED, tmp_path)
    (index,) = (tmp_path / "hashes").iterdir()
    index.write_text(content)
    assert hashes(SETTLED, tmp_path) == direct(SETTLED)


def test_damaged_entries_mean_reading_again(tmp_path: Path) -> None:
    hashes(SETTLED, tmp_path)
    (index,) = (tmp_path / "hashes").iterdir()
    entries: list[object] = [None, 1, "text", [1, 2, 3, 4, 5], [], {}]
    index.write_text(json.dumps({str(path): entries[i % 6] for i, path in enumerate(SETTLED)}))
    assert hashes(SETTLED, tmp_path) == direct(SETTLED)


def test_everything_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe.png"
    os.mkfifo(fifo)
    good = tmp_path / "good.png"
    good.write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        hashes([tmp_path / "gone.png", good, fifo, tmp_path], tmp_path)
    message = str(caught.value)
    assert message.startswith("3 files of 4 cannot be read:")
    assert f"{tmp_path / 'gone.png'}: No such file or directory" in message
    assert f"{fifo}: is not a regular file" in message
    assert f"{tmp_path}: is not a regular file" in message
    assert "good.png" not in message


def test_one_missing_file_among_remembered_ones(tmp_path: Path) -> None:
    hashes(SETTLED, tmp_path)
    with pytest.raises(DataError, match=r"1 file of \d+ cannot be read"):
        hashes([*SETTLED, SETTLED[0].with_name("gone")], tmp_path)


def test_an_index_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"x")
    stream = StringIO()
    found = content_hashes(SETTLED, cache_dir=blocked, console=Console(stream))
    assert found == direct(SETTLED)
    assert "WARNING" in stream.getvalue()
    assert "the files are read again next time" in stream.getvalue()
