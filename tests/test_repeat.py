"""A seed trained by a real process: stopped, gone on with, and equal to a run of its own configuration alone."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cvlab.console import Console
from cvlab.experiment import Request, train
from cvlab.run_folder import read_json
from tests.faults.kill_and_resume import differences
from tests.repetition_fixture import BINARY, experiment_of, write_data, write_repetition

pytestmark = pytest.mark.tensorflow

SMALL = BINARY.replace("width: 0.25", "width: 0.25, dense_units: [8]")


def cvlab(*words: str, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "cvlab", *words], stdout=file, stderr=file, env=os.environ, cwd=log.parent
        )


def test_what_is_finished_stays_and_what_was_stopped_goes_on_exactly(tmp_path: Path) -> None:
    """The first of two seeds is finished, by files alone; the second is trained, stopped, and gone on with."""
    write_data(tmp_path, persons=6)
    saving = SMALL.replace("precision: float32", "precision: float32, batch_size: 4, save_every_minutes: 0.0001")
    parent = write_repetition(tmp_path / "runs", experiment_of(tmp_path, saving), "seeds", 2, finished=[5])
    log, last = tmp_path / "output.txt", parent.run("seed-6").last
    before = {path: path.stat().st_mtime_ns for path in parent.run("seed-5").path.rglob("*") if path.name != ".lock"}

    process = cvlab("train", "--resume", str(parent.path), log=log)
    deadline = time.monotonic() + 300
    while not last.is_file():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130, log.read_text()
    assert read_json(parent.folder.status)["status"] == "interrupted"
    stopped = log.read_text()
    assert "seed 5 (1 of 2): is finished already" in stopped
    assert "cvlab: seed 6 (2 of 2): " in stopped
    assert stopped.endswith(f"1 of 2 seeds are finished. Go on with: cvlab train --resume {parent.path}\n")
    assert stopped.count("Go on with") == 1

    assert cvlab("train", "--resume", str(parent.path), log=log).wait(300) == 0, log.read_text()
    said = log.read_text().removeprefix(stopped)
    assert f"Resuming {parent.path}/seed-6 after epoch" in said
    assert "(mean ± standard deviation of 2 seeds)" in said
    assert parent.is_done()
    assert {path: path.stat().st_mtime_ns for path in before} == before

    request = Request(Console(io.StringIO()), ["cvlab", "train"])
    alone = train(parent.run("seed-6").config, [], request, sample=False, parent=tmp_path / "alone")
    assert differences(alone.path, parent.path / "seed-6") == []
