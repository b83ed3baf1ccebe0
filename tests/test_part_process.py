"""A process for each part: signals go on to it once, it stops with its parent, and the folder stays held meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from cvlab.errors import RunFolderError
from cvlab.part_process import Outcome, run, run_part
from cvlab.resume import held
from cvlab.run_folder import RunFolder

# Says which signals it receives, and ends after so many.
LISTENER = """
import signal, sys, time
from pathlib import Path
received = []
def note(number, frame):
    received.append(signal.Signals(number).name)
    Path(sys.argv[1]).write_text(" ".join(received))
    if len(received) == int(sys.argv[2]):
        sys.exit(7)
signal.signal(signal.SIGINT, note)
signal.signal(signal.SIGTERM, note)
Path(sys.argv[1]).write_text("ready")
time.sleep(30)
"""
pytestmark = pytest.mark.slow


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[IO[str]]:
    with (tmp_path / ".lock").open("w") as file:
        yield file


def wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + 20
    while not (path.is_file() and path.read_text() == text):
        assert time.monotonic() < deadline, path.read_text() if path.is_file() else "nothing"
        time.sleep(0.02)


def signalled(notes: Path, numbers: list[signal.Signals], *, ends_at: int, lock: IO[str]) -> Outcome:
    """Runs a listener and sends this process the signals one after the other, each once the last was noted."""

    def send() -> None:
        wait_for(notes, "ready")
        for count, number in enumerate(numbers, start=1):
            os.kill(os.getpid(), number)
            if count < len(numbers):
                deadline = time.monotonic() + 20
                while len(notes.read_text().split()) < count or notes.read_text() == "ready":
                    assert time.monotonic() < deadline
                    time.sleep(0.02)

    sender = threading.Thread(target=send)
    sender.start()
    outcome = run([sys.executable, "-c", LISTENER, str(notes), str(ends_at)], lock=lock)
    sender.join()
    return outcome


def test_the_first_signal_asks_to_save_and_the_second_goes_on_as_it_is(tmp_path: Path, lock: IO[str]) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    outcome = signalled(tmp_path / "notes", [signal.SIGINT, signal.SIGINT], ends_at=2, lock=lock)
    assert (tmp_path / "notes").read_text() == "SIGTERM SIGINT"
    assert outcome == Outcome(7, signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_the_third_signal_kills(tmp_path: Path, lock: IO[str]) -> None:
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGINT]
    outcome = signalled(tmp_path / "notes", numbers, ends_at=99, lock=lock)
    assert outcome == Outcome(-signal.SIGKILL, signal.SIGTERM)
    assert (outcome.exit_code, outcome.killed_by) == (137, "SIGKILL")


@pytest.mark.parametrize(("code", "expected"), [("pass", 0), ("raise SystemExit(2)", 2)])
def test_the_exit_code_is_kept(code: str, expected: int, lock: IO[str]) -> None:
    outcome = run([sys.executable, "-c", code], lock=lock)
    assert (outcome.code, outcome.exit_code, outcome.stopped_by, outcome.killed_by) == (expected, expected, None, "")


def test_the_same_cvlab_runs_whatever_lies_in_the_working_directory(
    tmp_path: Path, lock: IO[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cvlab.py").write_text("print('another')")
    (tmp_path / "random.py").write_text("print('another')")
    monkeypatch.chdir(tmp_path)
    assert run_part(["--version"], lock=lock).code == 0
    assert capfd.readouterr().out.startswith("cvlab ")


def test_a_part_stops_when_its_parent_is_killed_and_holds_the_folder_until_then(tmp_path: Path) -> None:
    part = textwrap.dedent(
        """
        import signal, sys, time
        from pathlib import Path
        from cvlab.part_process import stop_with_parent
        def stop(number, frame):
            while Path(sys.argv[1]).read_text() != "go":
                time.sleep(0.02)
            Path(sys.argv[1]).write_text("stopped")
            sys.exit(143)
        signal.signal(signal.SIGTERM, stop)
        stop_with_parent()
        Path(sys.argv[1]).write_text("ready")
        while True:
            time.sleep(0.02)
        """
    )
    parent = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from cvlab.part_process import run
        from cvlab.resume import held
        from cvlab.run_folder import RunFolder
        with held(RunFolder(Path(sys.argv[2]))) as lock:
            run([sys.executable, "-c", sys.argv[3], sys.argv[1]], lock=lock)
        """
    )
    notes, folder = tmp_path / "notes", RunFolder(tmp_path)
    process = subprocess.Popen([sys.executable, "-c", parent, str(notes), str(tmp_path), part])
    wait_for(notes, "ready")
    process.kill()
    process.wait()
    with pytest.raises(RunFolderError, match="another process is using this run folder"), held(folder):
        pass
    notes.write_text("go")
    wait_for(notes, "stopped")
    deadline = time.monotonic() + 20
    while True:
        try:
            with held(folder):
                return
        except RunFolderError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
