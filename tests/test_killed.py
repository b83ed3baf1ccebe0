"""A run whose process is gone: the next command says so, and why as far as it is known."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cvlab.console import Console
from cvlab.killed import is_in_use, told_if_killed
from cvlab.resume import locked
from cvlab.run_folder import RunFolder, write_json
from tests.experiment_fixture import write_toy
from tests.test_memory import GB, system


def left_behind(folder: Path, **changes: Any) -> RunFolder:
    run = RunFolder(folder / "run")
    status = {"status": "running", "reason": "", "stage": "tune", "epoch": 3, "step": 12, "memory": {}}
    write_json(run.status, status | changes)
    return run


def test_what_is_not_running_was_not_killed(tmp_path: Path) -> None:
    assert told_if_killed(RunFolder(tmp_path)) == ""
    for status in ("done", "failed", "interrupted"):
        assert told_if_killed(left_behind(tmp_path, status=status)) == ""
    run = left_behind(tmp_path)
    run.status.write_text("{")
    assert told_if_killed(run) == ""


def test_a_kill_without_evidence(tmp_path: Path) -> None:
    told = told_if_killed(left_behind(tmp_path), system=tmp_path)
    assert told == (
        "This run did not end by itself: its process was killed, or crashed, after epoch 3, step 12 of stage 'tune' "
        "was saved. Nothing that was kept says why."
    )
    before_training = {"status": "running", "reason": "", "synthetic": False}
    write_json(RunFolder(tmp_path / "run").status, before_training)
    assert "before its first save. Nothing" in told_if_killed(RunFolder(tmp_path / "run"), system=tmp_path)


def test_a_kill_for_memory_is_named_with_its_figures(tmp_path: Path) -> None:
    memory = {"peak_bytes": int(7.6 * GB), "limit_bytes": 8 * GB, "kills": {"machine": 1}, "boot": "first"}
    told = told_if_killed(left_behind(tmp_path, memory=memory), system=system(tmp_path, {}))
    assert (
        "Likely for lack of memory: the system has killed 1 process for lack of memory on this machine, and it " in told
    )
    assert "it had used up to 7.6 GB of the 8.0 GB that there were." in told
    assert "a smaller one needs a new run" in told


def test_a_restart_of_the_machine(tmp_path: Path) -> None:
    memory = {"peak_bytes": GB, "limit_bytes": 8 * GB, "kills": {"machine": 1}, "boot": "zeroth"}
    told = told_if_killed(left_behind(tmp_path, memory=memory), system=system(tmp_path, {}))
    assert told.endswith("The machine has been started anew since.")


def test_a_run_that_is_held_is_in_use(tmp_path: Path) -> None:
    run = left_behind(tmp_path)
    assert not is_in_use(run)
    with locked(run):
        assert is_in_use(run)
    assert not is_in_use(run)


@pytest.mark.tensorflow
@pytest.mark.slow
def test_the_commands_after_a_real_kill(tmp_path: Path) -> None:
    from cvlab.experiment import Request, resume

    config = write_toy(tmp_path, identities=6)
    words = [sys.executable, "-m", "cvlab", "train", str(config), "stages.0.epochs=40", "--run-dir", "runs"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not (saved := [*tmp_path.glob("runs/toy/*/checkpoints/last.keras")]):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        run = RunFolder.open(saved[0].parent.parent)
        assert is_in_use(run)
        os.kill(process.pid, signal.SIGKILL)
    recorded = json.loads(run.status.read_text())["memory"]
    assert recorded["peak_bytes"] > 100_000_000
    report = subprocess.run(
        [sys.executable, "-m", "cvlab", "report", str(run.path)], capture_output=True, text=True, check=False
    )
    assert report.stdout.startswith(
        "WARNING: This run did not end by itself: its process was killed, or crashed, after"
    )
    output = io.StringIO()
    run.config.write_text(run.config.read_text().replace("epochs: 40", "epochs: 1"))
    with pytest.raises(Exception, match="cannot go on with another configuration"):
        resume(run, [], Request(Console(output), ["cvlab"]))
    assert "This run did not end by itself" in output.getvalue().replace("\n", " ")
