from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from cvlab.errors import RunFolderError
from cvlab.run_folder import RunFolder, atomic_path, read_json, write_json, write_text


def test_a_run_folder_is_never_shared(tmp_path: Path) -> None:
    runs = {RunFolder.create(tmp_path, "name").path for _ in range(5)}
    assert len(runs) == 5
    assert all(path.parent == tmp_path / "name" for path in runs)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what a handle stands for")
def test_the_name_of_a_new_run_folder_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []
    flush = os.fsync

    def note(handle: int) -> None:
        flushed.append(Path(os.readlink(f"/proc/self/fd/{handle}")))
        flush(handle)

    monkeypatch.setattr(os, "fsync", note)
    run = RunFolder.create(tmp_path, "name")
    assert {run.path.parent, tmp_path} <= {*flushed}


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "before")

    def write_half() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        write_half()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_json_refuses_nan_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "metrics.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"a": 0.1, "é": [1, None, "x"]}
    write_json(tmp_path / "deep" / "file.json", value)
    assert read_json(tmp_path / "deep" / "file.json") == value


def test_what_is_no_run_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no such run folder"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(RunFolderError, match=r"is not a run folder: expected a `config\.yaml`"):
        RunFolder.open(tmp_path)


def test_damaged_and_missing_json_are_named(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text(json.dumps({"a": 1})[:-1])
    with pytest.raises(RunFolderError, match=r"status\.json: is damaged"):
        read_json(tmp_path / "status.json")
    with pytest.raises(RunFolderError, match=r"data\.json: cannot be read"):
        read_json(tmp_path / "data.json")
