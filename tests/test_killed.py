"""A run whose process is gone: the next command says so, and why as far as it is known."""

from __future__ import annotations

import io
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cvlab.console import Console
from cvlab.errors import ConfigError
from cvlab.experiment import Request, evaluate, resume
from cvlab.killed import is_in_use, told_if_killed
from cvlab.resume import locked
from cvlab.run_folder import RunFolder, read_json, write_json
from tests.segmentation_run_fixture import fake_segmentation_run
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


@pytest.mark.slow
def test_the_report_of_a_killed_run_says_so(tmp_path: Path) -> None:
    run = fake_segmentation_run(tmp_path)
    write_json(run.status, read_json(run.status) | {"status": "running", "step": 0})
    words = [sys.executable, "-m", "cvlab", "report", str(run.path)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "WARNING: This run did not end by itself: its process was killed, or crashed, after epoch 8" in said


@pytest.mark.tensorflow
def test_what_resumes_or_evaluates_a_killed_run_says_so_first(tmp_path: Path) -> None:
    run = fake_segmentation_run(tmp_path)
    write_json(run.status, read_json(run.status) | {"status": "running", "step": 0})
    run.config.write_text("name: nothing that could be trained")
    for command in (partial(resume, run, []), partial(evaluate, run, split=None, folder=None)):
        output = io.StringIO()
        with pytest.raises(ConfigError):
            command(request=Request(Console(output), ["cvlab"]))
        assert output.getvalue().startswith("WARNING: This run did not end by itself")
