"""A short version of kill_and_resume: real processes, real signals."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.experiments import write_experiment
from tests.faults.kill_and_resume import differences, run_through, run_with_kills, start

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Folder, configuration and run folder of an uninterrupted training."""
    folder = tmp_path_factory.mktemp("faults")
    config = write_experiment(folder)
    return folder, config, run_through(config, folder)


def test_killed_and_resumed_runs_are_bit_identical(whole: tuple[Path, Path, Path]) -> None:
    folder, config, run = whole
    killed = run_with_kills(config, folder, kills=3, seed=0, number=signal.SIGKILL)
    assert differences(run, killed) == []


def start_and_save_once(config: Path, parent: Path, folder: Path) -> subprocess.Popen[bytes]:
    """Starts a training and waits until its first checkpoint is written."""
    process = start(str(config), "--run-dir", str(parent), folder=folder)
    while not list(parent.glob("toy/*/checkpoints/last.keras")):
        assert process.poll() is None
        time.sleep(0.02)
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_the_run_goes_on(whole: tuple[Path, Path, Path], number: signal.Signals, code: int) -> None:
    folder, config, run = whole
    parent = folder / number.name
    process = start_and_save_once(config, parent, folder)
    process.send_signal(number)
    assert process.wait(60) == code
    (stopped,) = parent.glob("toy/*")
    status = json.loads((stopped / "status.json").read_text())
    assert status["status"] == "interrupted"
    assert "Go on with: cvlab train --resume" in (folder / "output.txt").read_text()
    resumed = start("--resume", str(stopped), folder=folder)
    assert resumed.wait(120) == 0
    assert differences(run, stopped) == []


def test_a_second_ctrl_c_stops_at_once(whole: tuple[Path, Path, Path]) -> None:
    folder, config, _ = whole
    parent = folder / "twice"
    process = start_and_save_once(config, parent, folder)
    process.send_signal(signal.SIGINT)
    time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    (stopped,) = parent.glob("toy/*")
    assert json.loads((stopped / "status.json").read_text())["status"] == "interrupted"


def test_two_trainings_never_share_a_run_folder(whole: tuple[Path, Path, Path]) -> None:
    folder, config, _ = whole
    parent = folder / "shared"
    process = start_and_save_once(config, parent, folder)
    (run,) = parent.glob("toy/*")
    second = start("--resume", str(run), folder=folder)
    assert second.wait(60) == 2 or process.poll() is not None
    process.kill()
    process.wait()
    assert "another process is using this run folder" in (folder / "output.txt").read_text()
