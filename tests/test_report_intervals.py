"""Reports show the intervals of metrics.json, and refuse one that is not about the predictions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from cvlab.config import EvaluateConfig
from cvlab.config_evaluate import Bootstrap
from cvlab.document import block_markdown
from cvlab.errors import RunFolderError
from cvlab.metrics import classification_replicates, regression_replicates, segmentation_replicates
from cvlab.metrics.binary import binary_metrics
from cvlab.metrics.classification import classification_metrics, read_predictions
from cvlab.metrics.intervals import with_intervals
from cvlab.metrics.operating_point import choose
from cvlab.metrics.regression import read_predictions as read_numbers
from cvlab.metrics.regression import regression_metrics
from cvlab.metrics.segmentation import read_predictions as read_masks
from cvlab.metrics.segmentation import segmentation_metrics
from cvlab.report import write_report
from cvlab.report_intervals import about_intervals, brackets, interval_cautions, with_stored_intervals
from cvlab.report_record import read_record
from cvlab.report_text import number
from cvlab.run_folder import RunFolder, read_json, write_json, write_text
from tests.regression_run_fixture import fake_regression_run
from tests.run_fixture import fake_run
from tests.segmentation_run_fixture import fake_segmentation_run

# Nearly every test draws a figure, or reads a whole run: `scripts/test fast` leaves them out.
pytestmark = pytest.mark.slow

QUICK = Bootstrap(resamples=200)


def tables(run: RunFolder) -> list[str]:
    folder = run.predictions("test").parent
    return [path.relative_to(folder).with_suffix("").as_posix() for path in sorted(folder.rglob("*.csv"))]


def with_metrics(run: RunFolder, *, intervals: bool = True) -> RunFolder:
    """Adds the metrics.json of a classification, with or without intervals, and the operating point of two classes."""
    found: dict[str, Any] = {}
    point = choose(read_predictions(run.predictions("val")), EvaluateConfig())
    if point is not None:
        write_json(run.operating_point, point.to_json())
    for name in tables(run):
        p = read_predictions(run.predictions("test").parent / f"{name}.csv")
        at = None if "/" in name else point
        cells = classification_metrics(p, top_k=2)
        if at is not None:
            cells["binary"] = binary_metrics(*at.of(p), threshold=at.threshold)
        if (intervals and not name.startswith("train")) or name.startswith("train-after"):
            table = classification_replicates.resampling(p, top_k=2, point=at)
            cells = with_intervals(cells, table, QUICK, seed=42)
        found[name] = cells
    write_json(run.metrics, found)
    return run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return with_metrics(fake_run(tmp_path, names=("no", "yes"), samples=800, stages=("train",)))


def shown(cell: dict[str, Any]) -> str:
    return f"{cell['value']:.3f} ({cell['low']:.3f} to {cell['high']:.3f})"


def test_a_number_is_shown_with_its_interval() -> None:
    assert number({"value": 0.4623, "low": 0.4369, "high": 0.4871}) == "0.462 (0.437 to 0.487)"
    assert number({"value": 1.0, "no_interval": "every resample gives this value"}) == "1.000 (no interval)"
    assert number({"value": 12}) == "12"
    assert number({"value": 0.5}) == "0.500"
    assert number({"value": None, "reason": "never predicted"}) == "undefined (never predicted)"
    assert number({"value": 0.99841, "low": 0.99, "high": 0.9991}, "{:.4f}".format) == "0.9984 (0.9900 to 0.9991)"


def test_intervals_of_a_classification_stand_beside_the_values(run: RunFolder) -> None:
    report, metrics = write_report(run).read_text(), read_json(run.metrics)
    val, test = metrics["val"], metrics["test"]
    assert f"| accuracy | {shown(val['accuracy'])} | {shown(test['accuracy'])} |" in report
    assert f"| {shown(test['per_class']['yes']['recall'])} |" in report
    assert f"| specificity | {shown(val['binary']['specificity'])} | {shown(test['binary']['specificity'])} |" in report
    assert "In brackets stand 95 % intervals: BCa bootstrap (200 resamples) of whole groups" in report
    assert "val: 27 groups; test: 27 groups." in report
    assert re.search(r"\| training images plain \| 0\.\d{3} \|", report)


def computed(run: RunFolder, *names: str) -> dict[str, Any]:
    folder = run.predictions("test").parent
    return {
        Path(name).name: classification_metrics(read_predictions(folder / f"{name}.csv"), top_k=2) for name in names
    }


def test_what_an_earlier_stage_ended_with_has_intervals(tmp_path: Path) -> None:
    run = with_metrics(fake_run(tmp_path, samples=300))
    found = with_stored_intervals(
        read_record(run), computed(run, "train-after/test", "train-after/val"), moment="train-after"
    )
    assert found["test"] == read_json(run.metrics)["train-after/test"]
    assert "low" in found["val"]["accuracy"]


def test_few_groups_and_metrics_without_an_interval_are_named(tmp_path: Path) -> None:
    run = with_metrics(fake_run(tmp_path, samples=300))
    record = read_record(run)
    metrics = with_stored_intervals(record, computed(run, "val", "test"))
    blocks = about_intervals(record, metrics, {"accuracy": "accuracy", "macro_f1": "macro F1"})
    text = "\n".join(map(block_markdown, blocks))
    assert "- test: only 10 groups: the intervals are rough, and rather too narrow." in text
    assert "- test: anger, contempt, disgust, fear, happy and 2 more: fewer than 6 groups, so that" in text
    metrics["test"]["macro_f1"] = {"value": 0.5, "no_interval": "it rests on 2 groups"}
    text = "\n".join(map(block_markdown, about_intervals(record, metrics, {"macro_f1": "macro F1", "loss": "loss"})))
    assert "- test, no interval of macro F1: it rests on 2 groups." in text
    text = "\n".join(map(block_markdown, about_intervals(record, metrics, {"macro_f1": "macro F1"})))
    assert "test, no interval" not in text
    assert "test: only 10 groups: the intervals are rough, and rather too narrow." in interval_cautions(metrics)
    assert brackets(metrics) == " In brackets stand 95 % intervals."
    assert brackets({"train": metrics["test"]}) == ""


def test_splits_with_other_intervals_are_told_apart(run: RunFolder) -> None:
    record = read_record(run)
    metrics = with_stored_intervals(record, computed(run, "val", "test"))
    metrics["val"] = {**metrics["val"], "intervals": {**metrics["val"]["intervals"], "unit": "image", "units": 800}}
    text = block_markdown(about_intervals(record, metrics, {"accuracy": "accuracy"}, group="patient")[0])
    assert text.startswith("In brackets stand 95 % intervals. Of val: Wilson for proportions,")
    assert " Of test: BCa bootstrap (200 resamples) of whole patients, " in text
    assert text.endswith("val: 800 images; test: 27 patients.")


def test_a_run_that_was_evaluated_before_there_were_intervals_still_reports(run: RunFolder) -> None:
    with_metrics(run, intervals=False)
    record, plain = read_record(run), computed(run, "train", "val", "test")
    assert with_stored_intervals(record, plain) == plain
    (block,) = about_intervals(record, plain, {})
    assert block_markdown(block) == f"These values have no intervals; `cvlab evaluate {run.path}` adds them."
    run.metrics.unlink()
    assert with_stored_intervals(record, plain) == plain


@pytest.mark.parametrize(
    ("path", "where"),
    [
        (("test", "accuracy", "value"), "test, accuracy: 0.123, but it is "),
        (("val", "per_class", "yes", "recall", "value"), "val, per_class, yes, recall: 0.123, but it is "),
        (("test", "binary", "tp", "value"), "test, binary, tp: 0.123, but it is "),
        (("train", "samples"), "train, samples: 0.123, but it is "),
        (("test", "confusion_matrix"), "test, confusion_matrix: 0.123, but it is "),
    ],
)
def test_a_value_that_was_edited_is_refused(run: RunFolder, path: tuple[str, ...], where: str) -> None:
    metrics = read_json(run.metrics)
    inner = metrics
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = 0.123
    write_json(run.metrics, metrics)
    with pytest.raises(RunFolderError) as raised:
        write_report(run)
    message = str(raised.value)
    assert where in message
    assert str(run.metrics) in message
    assert str(run.predictions(path[0])) in message
    assert f"cvlab evaluate {run.path}" in message


def test_predictions_that_were_edited_are_refused(run: RunFolder) -> None:
    path = run.predictions("test")
    first, second, *rest = path.read_text().splitlines(keepends=True)
    cells = second.split(",")
    cells[2] = "yes" if cells[2] == "no" else "no"
    write_text(path, "".join([first, ",".join(cells), *rest]))
    with pytest.raises(RunFolderError, match="one of the two files was changed after the evaluation"):
        write_report(run)


def test_metrics_of_another_version_or_shape(run: RunFolder) -> None:
    metrics = read_json(run.metrics)
    del metrics["test"]["mcc"], metrics["train"]
    metrics["test"]["another"] = {"value": 1.0}
    write_json(run.metrics, metrics)
    record = read_record(run)
    found = with_stored_intervals(record, computed(run, "train", "test"))
    assert {*found["test"]["mcc"]} == {"value"}
    assert "low" in found["test"]["accuracy"]
    assert "intervals" not in found["train"]
    write_json(run.metrics, [])
    with pytest.raises(RunFolderError, match=r"expected keys with values, received \[\]"):
        with_stored_intervals(record, computed(run, "test"))


def test_intervals_of_a_regression(tmp_path: Path) -> None:
    run = fake_regression_run(tmp_path)
    cells = {}
    for name in ("val", "test"):
        p = read_numbers(run.predictions(name))
        table = regression_replicates.resampling(p)
        cells[name] = with_intervals(regression_metrics(p), table, QUICK, seed=1)
    write_json(run.metrics, cells)
    report = write_report(run).read_text()
    assert f"| RMSE | {shown(cells['val']['rmse'])} | {shown(cells['test']['rmse'])} |" in report
    for target in cells["test"]["per_target"].values():
        assert f"{shown(target['ccc'])} |" in report


def test_intervals_of_masks(tmp_path: Path) -> None:
    run = fake_segmentation_run(tmp_path)
    cells = {}
    for name in ("val", "test"):
        p = read_masks(run.predictions(name))
        cells[name] = with_intervals(segmentation_metrics(p), segmentation_replicates.resampling(p), QUICK, seed=1)
    write_json(run.metrics, cells)
    report = write_report(run).read_text()
    assert f"{number(cells['val']['dice_pooled'])} | {number(cells['test']['dice_pooled'])} | 0.000 |" in report
    assert "In brackets stand 95 % intervals" in report
