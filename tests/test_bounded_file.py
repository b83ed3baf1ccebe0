"""Reading files of a bounded size."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cvlab.bounded_file import read_bounded


def test_a_small_file_takes_little_memory_however_large_it_might_be(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    path.write_bytes(b"{}")
    # Nobody has room for so much; asked for at once, it would be refused.
    assert read_bounded(path, 10**15) == b"{}"


def test_no_more_than_the_bound_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(OSError, match="is 5 bytes; expected at most 4"):
        read_bounded(path, 4)


def test_what_is_no_ordinary_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is no ordinary file"):
        read_bounded(tmp_path / "pipe", 5)
    with pytest.raises(IsADirectoryError):
        read_bounded(tmp_path, 5)
