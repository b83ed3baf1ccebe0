"""A disk that fills up, or that nothing may be written to: one message, the last save intact, and a way to go on."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cvlab.console import Console
from cvlab.errors import WriteError
from cvlab.experiment import resume
from cvlab.run_folder import RunFolder, read_json, write_text
from tests.experiment_fixture import write_toy
from tests.faults.kill_and_resume import differences, run_through, start
from tests.test_experiment import request

MakeDisk = Callable[[str], Path]


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[MakeDisk]:
    """Mounts a disk of a given size (`64k`, `5m`) in memory; needs the rights of root."""
    if os.geteuid() or not sys.platform.startswith("linux"):
        pytest.skip("mounting a small disk needs root on Linux")
    disks: list[Path] = []

    def make(size: str) -> Path:
        disk = tmp_path / f"disk{len(disks)}"
        disk.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=False)
        if mounted.returncode:
            pytest.skip("this machine cannot mount a small disk")
        disks.append(disk)
        return disk

    yield make
    for disk in disks:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def remount(disk: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(disk)], check=True)


def test_what_does_not_fit_leaves_what_was_there(make_disk: MakeDisk) -> None:
    path = make_disk("64k") / "metrics.json"
    write_text(path, "before")
    with pytest.raises(WriteError, match=r"metrics\.json: cannot be written \(No space left on device\); 0\.\d MB are"):
        write_text(path, "x" * 100_000)
    assert path.read_text() == "before"
    assert [*path.parent.iterdir()] == [path]


def test_a_disk_that_became_read_only_is_named(make_disk: MakeDisk) -> None:
    disk = make_disk("64k")
    remount(disk, "ro")
    with pytest.raises(WriteError, match=r"report\.md: cannot be written \(Read-only file system\)"):
        write_text(disk / "report.md", "text")


def test_a_log_that_cannot_be_written_is_written_later(make_disk: MakeDisk) -> None:
    disk = make_disk("64k")
    console = Console(io.StringIO())
    console.log_to(disk / "log.txt")
    console.say("first")
    remount(disk, "ro")
    console.say("second")
    remount(disk, "rw")
    console.say("third")
    assert (disk / "log.txt").read_text() == "first\nsecond\nthird\n"


@pytest.mark.tensorflow
def test_a_training_whose_disk_is_full_goes_on_bit_for_bit(make_disk: MakeDisk, tmp_path: Path) -> None:
    config = write_toy(tmp_path, identities=5)
    whole = run_through(config, tmp_path)
    disk = make_disk("1m")
    stopped = start(str(config), "--run-dir", str(disk), folder=tmp_path)
    assert stopped.wait() == 2
    said = (tmp_path / "output.txt").read_text()
    assert "Traceback" not in said
    assert "cannot be written (No space left on device)" in said
    (path,) = (disk / "toy").iterdir()
    assert f"When this is put right, go on with: cvlab train --resume {path}" in said
    assert not [*path.rglob(".*.tmp*")]
    remount(disk, "size=50m")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CVLAB_CACHE_DIR", str(tmp_path / "cache"))
        run = resume(RunFolder.open(path), [], request())
    assert read_json(run.status)["status"] == "done"
    assert differences(whole, run.path) == []
    shutil.rmtree(whole)
