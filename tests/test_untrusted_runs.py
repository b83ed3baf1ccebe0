"""Run folders and tables from anybody, and tables for anybody: nothing leaves the folder, no cell is a formula."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cvlab.data.samples import SampleTable, read_samples, samples_csv, text_column
from cvlab.errors import RunFolderError
from cvlab.metrics import classification_table, regression_table
from cvlab.metrics.prediction_rows import csv_line, read_rows
from cvlab.png_file import read_png
from cvlab.report_record import read_record
from cvlab.run_folder import RunFolder
from cvlab.spreadsheet import as_text, as_written
from tests.cli_fixture import Outcome, cvlab, refusal
from tests.experiment_fixture import write_toy
from tests.run_fixture import fake_run
from tests.test_untrusted_images import png_bomb
from tests.test_untrusted_yaml import LAUGHS

# Nearly every test draws a figure, or reads a whole run: `scripts/test fast` leaves them out.
pytestmark = pytest.mark.slow

FORMULAS = (
    "=cmd|' /C calc'!A0",
    "+1+cmd",
    "-2+3+cmd",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\uff1d1",
    "a,=1",
    "x;@y",
    "'=1",
    "'",
    "-5",
    "1e-3",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run(tmp_path_factory.mktemp("runs"), names=("a", "b"), samples=60, stages=("train",)).path


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(whole, tmp_path / "inner" / "run")))


def outside(run: RunFolder) -> set[str]:
    return {path.name for path in (*run.path.parent.iterdir(), *run.path.parent.parent.iterdir())}


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("config.yaml", LAUGHS, "expected at most 20,000 values"),
        ("config.yaml", "name: !!python/object/apply:os.system ['true']\n", "received the tag"),
        ("data.json", deep(200_000), "expected at most 100 levels"),
        ("data.json", '{"leaks": NaN}', "expected finite numbers"),
        ("data.json", '{"stages": [{"stage": "x", "counts": {}, "images": "many"}]}', "images: expected a whole"),
        ("model.json", '{"layers": [{"name": "x", "type": "y", "output_shape": 3}]}', "output_shape: expected a list"),
        ("data.json", '{"stages": [{"stage": "x", "counts": {}, "images": 1, "audit": {"x": 1}}]}', "'audit' of"),
        ("metrics.jsonl", deep(200_000), "expected at most 100 levels"),
        ("metrics.json", '{"test": {"accuracy": {"value": "x"}}}', "expected a number, received 'x'"),
        ("metrics.json", '{"test": {"accuracy": {"value": 1, "low": 0}}}', "both ends of each interval"),
        ("status.json", "\xff\xfe", "is damaged"),
        ("predictions/data-x.json", "{}", "data is missing"),
        ("predictions/data-x.json", '{"data": "/x", "notes": 3}', "notes: expected a list"),
        ("environment.json", '{"versions": [1]}', "versions: expected keys with values"),
    ],
)  # fmt: skip
def test_damaged_files_are_refused_in_one_line(name: str, content: str, reason: str, run: RunFolder) -> None:
    (run.path / name).write_text(content, encoding="latin-1")
    line = refusal("report", run.path)
    assert name in line
    assert reason in line


@pytest.mark.parametrize("name", ["data.json", "status.json", "metrics.jsonl", "predictions/test.csv"])
def test_files_that_never_end_are_not_waited_for(name: str, run: RunFolder) -> None:
    path = run.path / name
    path.unlink()
    os.mkfifo(path)
    with suppress(RunFolderError):
        read_record(run)
        read_rows(run.predictions("test"))
    path.unlink()
    with path.open("wb") as file:
        file.truncate(2_000_000_000)
    assert path.name in refusal("report", run.path)


@pytest.mark.parametrize("name", ["plots", "predictions", "checkpoints", "log.txt"])
def test_links_that_leave_the_run_folder_are_refused(name: str, run: RunFolder) -> None:
    target = run.path.parent / "target"
    target.mkdir()
    (target / "file").write_text("kept")
    place = run.path / name
    if place.is_dir():
        shutil.rmtree(place)
    place.symlink_to(target / "file" if name == "log.txt" else target)
    assert "is a link that leads out of the run folder" in refusal("report", run.path)
    assert [path.read_text() for path in target.iterdir()] == ["kept"]


def test_names_of_stages_do_not_leave_the_run_folder(run: RunFolder) -> None:
    stage = "../../evil\u202e"
    config = run.config.read_text().replace("name: train", f"name: {json.dumps(stage)}")
    data = json.loads(run.data.read_text())
    data["stages"][0]["stage"] = stage
    before = outside(run)
    run.config.write_text(config)
    run.data.write_text(json.dumps(data))
    run.history.write_text(run.history.read_text().replace('"train"', json.dumps(stage)))
    outcome = cvlab("report", run.path)
    assert outcome.code in (0, 2)
    assert all(line.isprintable() for line in (outcome.out + outcome.err).splitlines())
    assert outside(run) == before
    with pytest.raises(RunFolderError, match="is no name of a file in it"):
        run.stage_best("../../evil")
    with pytest.raises(RunFolderError, match="is no name of a file in it"):
        run.predictions("../../evil")


def test_pictures_of_a_run_are_png_files_of_a_bounded_size(run: RunFolder) -> None:
    path = run.pictures / "augmented.png"
    path.write_bytes(png_bomb())
    assert "augmented.png: cannot be read as a picture (is 50000 x 50000 pixels" in refusal("report", run.path)
    Image.new("RGB", (4, 4)).save(path, "GIF")
    with pytest.raises(RunFolderError, match=r"augmented\.png: cannot be read as a picture"):
        read_png(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RunFolderError, match="is no ordinary file"):
        read_png(path)


def table(names: tuple[str, ...]) -> SampleTable:
    columns = {name: text_column(names) for name in ("sample_id", "stage", "group", "path", "mask", "box", "content")}
    same = {"split": text_column(["train"] * len(names)), "variant": text_column([""] * len(names))}
    return SampleTable(**columns, **same, targets={"class": text_column(names)})


def cells_of(text: str) -> Iterator[str]:
    yield from (cell.strip('"') for line in re.split("[\r\n]+", text) for cell in re.split("[,;|\t]", line))


def has_formula(text: str) -> bool:
    starts = {*"=+-@\uff1d\uff0b\uff0d\uff20"}
    return any(cell[:1] in starts and as_text(cell) != cell for cell in cells_of(text) if cell)


def test_tables_of_samples_hold_no_formulas_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    text = samples_csv(table(FORMULAS))
    assert not has_formula(text)
    path.write_text(text, encoding="utf-8", newline="")
    again = read_samples(path)
    assert again.sample_id.tolist() == again.targets["class"].tolist() == [*FORMULAS]


def test_tables_of_predictions_hold_no_formulas_and_read_back(tmp_path: Path) -> None:
    path, count = tmp_path / "p.csv", len(FORMULAS)
    names = ("=cmd", "@b", "+c")
    scores = np.full((count, 3), 1 / 3, dtype=np.float32)
    scored = classification_table.predictions_csv(FORMULAS, FORMULAS, [0] * count, scores, names)
    values = np.linspace(-2, 2, count)[:, None]
    numbered = regression_table.predictions_csv(FORMULAS, FORMULAS, values, values, ["-x"])
    for text in (scored, numbered):
        assert not has_formula(text)
    path.write_text(scored, encoding="utf-8", newline="")
    classes = classification_table.read_predictions(path)
    assert [*classes.sample_id] == [*FORMULAS]
    assert classes.class_names == names
    path.write_text(numbered, encoding="utf-8", newline="")
    numbers = regression_table.read_predictions(path)
    assert [*numbers.group] == [*FORMULAS]
    np.testing.assert_array_equal(numbers.target, values)


_CELLS = st.text(st.sampled_from("=+-@'\",;|\t\r\n ab1.e\uff1d\uff20") | st.characters(codec="utf-8"), max_size=12)


@settings(max_examples=200)
@given(row=st.lists(_CELLS, min_size=2, max_size=4))
def test_any_cell_is_no_formula_and_reads_back(row: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    assert [as_written(as_text(cell)) for cell in row] == row
    text = csv_line(row)
    assert not has_formula(text)
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text(text, encoding="utf-8", newline="")
    assert read_rows(path) == [row]


class NetworkError(BaseException):
    """Something asked for the network. Not an Exception, so that nothing can take it for a failed download."""


def _refuse(*arguments: Any, **settings: Any) -> Any:
    raise NetworkError(f"the network was asked for: {arguments}")


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[Outcome]]]:
    """A whole small run by the command line (training evaluates, too), with every way to the network blocked."""
    folder = tmp_path_factory.mktemp("offline")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CVLAB_CACHE_DIR", str(folder / "cache"))
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, _refuse)
        for name in ("getaddrinfo", "gethostbyname", "create_connection"):
            patch.setattr(socket, name, _refuse)
        config = write_toy(folder, identities=5)
        words = ("stages.0.epochs=1", "model.dense_units=[4]", "evaluate.bootstrap.resamples=200")
        outcomes = [cvlab("train", config, *words, "--run-dir", folder / "runs")]
        (run,) = (folder / "runs" / "toy").iterdir()
        yield run, [*outcomes, cvlab("report", run)]


@pytest.mark.tensorflow
def test_training_evaluating_and_reporting_never_ask_for_the_network(offline: tuple[Path, list[Outcome]]) -> None:
    run, outcomes = offline
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    assert (run / "report.html").is_file()
    assert not re.search(r"(src|href)=[\"']?https?://[^\"'>]*\.(js|css|png)", (run / "report.html").read_text())


@pytest.mark.tensorflow
def test_samples_of_a_run_are_used_only_as_they_were(offline: tuple[Path, list[Outcome]], tmp_path: Path) -> None:
    run = Path(shutil.copytree(offline[0], tmp_path / "run"))
    before = {path.name for path in tmp_path.iterdir()}
    table_path = run / "samples.csv"
    found = read_samples(table_path)
    strange = found.with_columns(path=text_column(["/etc/passwd", *found.path[1:].tolist()]))
    table_path.write_text(samples_csv(strange), encoding="utf-8", newline="")
    outcome = cvlab("evaluate", run)
    assert outcome.code == 2
    assert "root:" not in outcome.out + outcome.err
    assert {path.name for path in tmp_path.iterdir()} == before
