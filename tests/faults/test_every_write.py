"""A training that dies between any two writes goes on as if nothing had happened."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from cvlab.checkpoint import read_state
from cvlab.console import Console
from cvlab.errors import CvlabError
from cvlab.experiment import Request, evaluate, resume, train
from cvlab.models.keras_archive import RUN_STATE
from cvlab.run_folder import RunFolder, read_json
from cvlab.training_run import TrainingRun
from tests.experiment_fixture import write_toy
from tests.faults.kill_and_resume import differences

pytestmark = pytest.mark.tensorflow


class Killed(BaseException):
    """Stands for a kill: from this moment on, nothing is written any more."""


class WritesUntil:
    """Counts renames and raises `Killed` from the given one on."""

    def __init__(self, last: int) -> None:
        self.last, self.count = last, 0
        self.replace = Path.replace

    def __call__(self, path: Path, target: Any) -> Path:
        self.count += 1
        if self.count > self.last:
            raise Killed
        return self.replace(path, target)


def request(output: io.StringIO | None = None) -> Request:
    return Request(Console(output or io.StringIO()), ["cvlab", "train"])


def run_toy(config: Path, parent: Path, *overrides: str) -> RunFolder:
    return train(config, overrides, request(), sample=False, parent=parent)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunFolder, int]:
    """Configuration, uninterrupted run, and the number of its writes."""
    folder = tmp_path_factory.mktemp("writes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CVLAB_CACHE_DIR", str(folder / "cache"))
        config = write_toy(folder, tune=True)
        run_toy(config, folder / "first")
        writes = WritesUntil(10_000)
        patch.setattr(Path, "replace", lambda path, target: writes(path, target))
        return config, run_toy(config, folder / "runs"), writes.count


def copied(run: RunFolder, folder: Path) -> RunFolder:
    """A finished run to do something to."""
    return RunFolder.open(Path(shutil.copytree(run.path, folder / "runs" / "toy" / run.path.name)))


@pytest.mark.parametrize("part", range(4))
def test_dying_between_two_writes(whole: tuple[Path, RunFolder, int], tmp_path: Path, part: int) -> None:
    config, run, total = whole
    writes = WritesUntil(10 + part * (total - 11) // 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", lambda path, target: writes(path, target))
        with pytest.raises(Killed):
            run_toy(config, tmp_path / "runs")
    (path,) = (tmp_path / "runs").glob("toy/*")
    assert differences(run.path, resume(RunFolder.open(path), [], request()).path) == []


def test_half_written_files_are_cleared(whole: tuple[Path, RunFolder, int], tmp_path: Path) -> None:
    run = copied(whole[1], tmp_path)
    for name in ("predictions/.test-abc.tmp.csv", "checkpoints/.last-abc.tmp.keras"):
        (run.path / name).write_text("half")
    evaluate(run, request(), split=None, folder=None)
    assert not list(run.path.rglob(".*.tmp*"))
    assert differences(whole[1].path, run.path) == []


def test_results_of_older_weights_do_not_survive(whole: tuple[Path, RunFolder, int], tmp_path: Path) -> None:
    run = copied(whole[1], tmp_path)
    before = {path.name: path.read_bytes() for path in run.predictions("test").parent.glob("*.csv")}
    (run.path / "predictions" / "data-old.csv").write_bytes(before["test.csv"])
    resume(run, ["stages.1.epochs=2"], request())
    assert not (run.path / "predictions" / "data-old.csv").exists()
    assert set(read_json(run.metrics)) >= {"train", "val", "test", "tune-after/test"}


def change_state(run: RunFolder, **changes: Any) -> None:
    """Changes the state in `last.keras`."""
    state = read_state(run.last)
    state["training"] |= changes
    with zipfile.ZipFile(run.last) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(run.last, "w") as archive:
        for name, data in (content | {RUN_STATE: json.dumps(state).encode()}).items():
            archive.writestr(name, data)


def test_a_missing_best_model_of_a_finished_run_is_an_error_and_is_written_again(
    whole: tuple[Path, RunFolder, int], tmp_path: Path
) -> None:
    run = copied(whole[1], tmp_path)
    best = run.best.read_bytes()
    run.best.unlink()
    with pytest.raises(CvlabError, match=r"best\.keras: is missing"):
        evaluate(run, request(), split=None, folder=None)
    resume(run, [], request())
    assert run.best.read_bytes() == best
    run.best.unlink()
    # The last epoch was the best one: its weights are those of `last.keras`.
    run.stage_best("tune").write_bytes(best[:1000])
    resume(run, [], request())
    assert differences(whole[1].path, run.path) == []
    run.best.unlink()
    change_state(run, best_epoch=0)
    run.stage_best("tune").write_bytes(best[:1000])
    with pytest.raises(CvlabError, match=r"tune\.best\.keras: is damaged or cut short"):
        resume(run, [], request())
    run.stage_best("tune").unlink()
    with pytest.raises(CvlabError, match=r"tune\.best\.keras: is missing: .*it was removed") as caught:
        resume(run, [], request())
    assert "go on with" not in str(caught.value)
    assert not run.best.exists()


def test_a_run_that_has_trained_is_never_begun_anew_over_its_results(
    whole: tuple[Path, RunFolder, int], tmp_path: Path
) -> None:
    run = RunFolder(Path(shutil.copytree(whole[1].path, tmp_path / "run")))
    last = run.last.read_bytes()
    run.last.unlink()
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(CvlabError, match=r"last\.keras: is missing, though this run has trained"):
        resume(run, ["stages.1.epochs=2"], request())
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before
    run.last.write_bytes(last)
    run.samples.unlink()
    with pytest.raises(CvlabError, match=r"samples\.csv: cannot be read"):
        resume(run, ["stages.1.epochs=2"], request())


@pytest.mark.parametrize(
    ("key", "value"), [("batch", 10**9), ("batch", 1), ("epoch", -1), ("seeds", [[-1, 0]]), ("rate_scale", -1)]
)
def test_a_state_that_no_training_saved_is_refused(
    whole: tuple[Path, RunFolder, int], tmp_path: Path, key: str, value: Any
) -> None:
    run = RunFolder(Path(shutil.copytree(whole[1].path, tmp_path / "run")))
    change_state(run, ended="", **{key: value})
    with pytest.raises(CvlabError, match=r"damaged|seed states"):
        resume(run, ["stages.1.epochs=2"], request())


def test_a_cosine_that_has_begun_gets_no_more_epochs(whole: tuple[Path, RunFolder, int], tmp_path: Path) -> None:
    run = run_toy(whole[0], tmp_path / "runs", "train.schedule={name: cosine}")
    with pytest.raises(CvlabError, match=r"stages\.1\.epochs: was 1, now 2"):
        resume(run, ["stages.1.epochs=2"], request())


def test_another_configuration_is_refused_before_the_first_checkpoint_too(
    whole: tuple[Path, RunFolder, int], tmp_path: Path
) -> None:
    writes, runs = WritesUntil(3), tmp_path / "runs"

    def replace(path: Path, target: Path) -> Path:
        return writes(path, target) if runs in target.parents else writes.replace(path, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(Killed):
            run_toy(whole[0], tmp_path / "runs")
    (path,) = (tmp_path / "runs").glob("toy/*")
    with pytest.raises(CvlabError, match=r"model\.width: was 0\.25, now 0\.5"):
        resume(RunFolder.open(path), ["model.width=0.5"], request())


def test_data_that_vanish_while_training_end_in_one_message_and_the_run_goes_on(
    whole: tuple[Path, RunFolder, int], tmp_path: Path
) -> None:
    data, gone = whole[0].parent / "data", tmp_path / "gone"
    trained = TrainingRun.train_stages

    def train_stages(*words: Any) -> None:
        trained(*words)
        data.rename(gone)

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TrainingRun, "train_stages", train_stages)
            with pytest.raises(CvlabError) as raised:
                run_toy(whole[0], tmp_path / "runs")
    finally:
        gone.rename(data)
    (path,) = (tmp_path / "runs").glob("toy/*")
    assert "No such file or directory" in str(raised.value)
    assert str(raised.value).endswith(f"go on with: cvlab train --resume {path}")
    assert read_json(path / "status.json")["status"] == "failed"
    assert differences(whole[1].path, resume(RunFolder.open(path), [], request()).path) == []
