"""How a repetition ends when a part does not: one message, the exit code kept, `status.json` true, nothing left."""

from __future__ import annotations

import io
from pathlib import Path
from signal import SIGINT

import pytest

from cvlab import repeat_status
from cvlab.console import Console
from cvlab.errors import DataError, Interrupted, RunFolderError, WriteError
from cvlab.part_process import Outcome
from cvlab.repeat_status import PartFailed, held_alone, status
from cvlab.repetitions import Parent, Repetitions
from cvlab.run_folder import Json, RunFolder, read_json, write_json, write_text
from cvlab.stopping import Terminated

FOLDS = Repetitions("folds", (1, 2, 3), ("train",))


def quiet() -> Console:
    return Console(io.StringIO())


@pytest.fixture
def parent(tmp_path: Path) -> Parent:
    """The first fold is finished, the second has begun."""
    folder = tmp_path / "runs" / "toy" / "20260101-000000"
    found = Parent(RunFolder(folder), FOLDS)
    write_json(found.folder.repetitions, FOLDS.json())
    for part, done in (("fold-1", "done"), ("fold-2", "running")):
        write_text(found.run(part).config, "name: toy\n")
        write_text(found.run(part).best, "")
        write_json(found.run(part).status, {"status": done, "reason": ""})
    return found


@pytest.mark.parametrize(
    ("error", "code", "kept", "how"),
    [
        (KeyboardInterrupt(), 130, "interrupted", "Go on"),
        (Terminated(), 143, "interrupted", "Go on"),
        (Interrupted("fold 2 of 3: Stopped.", exit_code=130), 130, "interrupted", "Go on"),
        (PartFailed("fold 2 of 3: failed.", exit_code=3), 3, "failed", "When the cause is removed, go on"),
    ],
)
def test_the_message_says_how_to_go_on(parent: Parent, error: BaseException, code: int, kept: str, how: str) -> None:
    with pytest.raises((Interrupted, PartFailed)) as caught, status(parent, quiet()):
        raise error
    assert caught.value.exit_code == code
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert lines[1] == f"1 of 3 folds are finished. {how} with: cvlab train --resume {parent.path}"
    found = read_json(parent.folder.status)
    assert (found["status"], found["finished"]) == (kept, ["fold-1"])


def test_other_errors_are_noted_and_go_on_up(parent: Parent) -> None:
    with pytest.raises(DataError, match="gone") as caught, status(parent, quiet()):
        raise DataError("the data are gone")
    assert str(caught.value).endswith(f"go on with: cvlab train --resume {parent.path}")
    assert read_json(parent.folder.status) == {
        "status": "failed", "reason": "the data are gone", "finished": ["fold-1"],
    }  # fmt: skip
    with status(parent, quiet()):
        pass
    assert read_json(parent.folder.status)["status"] == "done"


@pytest.mark.parametrize(
    "error", [WriteError("report.md: cannot be written"), Interrupted("Stopped.", exit_code=130), KeyError("x")]
)
def test_a_full_disk_hides_neither_the_error_nor_how_to_go_on(
    parent: Parent, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(path: Path, value: object) -> None:
        raise WriteError("status.json: cannot be written")

    monkeypatch.setattr(repeat_status, "write_json", full)
    with pytest.raises(type(error)) as caught, status(parent, quiet()):
        raise error
    assert "status.json" not in str(caught.value)
    assert isinstance(error, KeyError) or str(caught.value).endswith(f"cvlab train --resume {parent.path}")


@pytest.mark.parametrize(
    ("outcome", "about", "said"),
    [
        (Outcome(0, SIGINT), {"status": "done", "reason": ""}, "Finished."),
        (Outcome(130, SIGINT), {"status": "interrupted", "reason": "Stopped in stage 'train'."}, "Stopped in stage"),
        (Outcome(-9, SIGINT), {"status": "running", "reason": ""}, "Stopped at once; what it saved last is intact."),
        (Outcome(-9, SIGINT), {"status": "failed", "reason": "of another time"}, "Stopped at once; what it saved"),
    ],
)
def test_what_is_said_of_a_stopped_part_is_true(
    parent: Parent, monkeypatch: pytest.MonkeyPatch, outcome: Outcome, about: Json, said: str
) -> None:
    write_text(parent.run("fold-2").last, "")
    write_json(parent.run("fold-2").status, about)
    monkeypatch.setattr(repeat_status, "run_part", lambda words, *, lock: outcome)
    with held_alone(parent) as lock, pytest.raises(Interrupted, match=f"^fold 2 of 3: {said}"):
        repeat_status.train(parent, "fold-2", lock=lock, verbose=False)


def test_where_nothing_was_begun_nothing_is_left(tmp_path: Path) -> None:
    found = Parent(RunFolder(tmp_path / "toy" / "20260101-000000"), FOLDS)
    write_json(found.folder.repetitions, FOLDS.json())
    message = r"^failed\. Nothing was trained, and no folder is left\.$"
    with pytest.raises(PartFailed, match=message) as caught, held_alone(found), status(found, quiet()):
        raise PartFailed("failed.", exit_code=2)
    assert caught.value.exit_code == 2
    assert not found.path.exists()


@pytest.mark.slow
def test_a_failing_part_keeps_its_exit_code(parent: Parent, capfd: pytest.CaptureFixture[str]) -> None:
    with held_alone(parent) as lock:
        parent.folder.repetitions.unlink()
        message = r"^fold 2 of 3: failed; the reason stands above\.$"
        with pytest.raises(PartFailed, match=message) as caught:
            repeat_status.train(parent, "fold-2", lock=lock, verbose=False)
    assert caught.value.exit_code == 2
    assert "there is no such part" in capfd.readouterr().err


def test_only_the_parents_own_leftovers_are_cleared(parent: Parent) -> None:
    own = [parent.path / ".report-1.tmp.md", parent.folder.predictions("test").parent / ".test-1.tmp.csv"]
    theirs = parent.run("fold-2").path / "checkpoints" / ".last-1.tmp.keras"
    for path in (*own, theirs):
        write_text(path, "")
    with held_alone(parent):
        assert not any(path.exists() for path in own)
        # Another command may be at work in a part.
        assert theirs.exists()
        with pytest.raises(RunFolderError, match="another process is using"), held_alone(parent):
            pass
