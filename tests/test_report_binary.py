"""The report at the operating point: every figure from the predictions, and files that do not fit each other."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
from PIL import Image

from cvlab.config import EvaluateConfig
from cvlab.errors import RunFolderError
from cvlab.metrics.classification import read_predictions
from cvlab.metrics.operating_point import choose
from cvlab.report import write_report
from cvlab.report_binary import LABELS, binary_sections
from cvlab.report_record import read_record
from cvlab.run_folder import RunFolder, read_json, write_json
from tests.report_fixture import rows
from tests.run_fixture import fake_run, write_predictions

# Nearly every test draws a figure, or reads a whole run: `scripts/test fast` leaves them out.
pytestmark = pytest.mark.slow

POINT_PLOTS = {"roc_operating_point.png", "precision_recall_operating_point.png"}


def with_point(run: RunFolder, **evaluate: Any) -> RunFolder:
    """Chooses the operating point of a run, as evaluation does."""
    point = choose(read_predictions(run.predictions("val")), EvaluateConfig(**evaluate))
    assert point is not None
    write_json(run.operating_point, point.to_json())
    return run


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of two classes with its report; tests only read it."""
    made = fake_run(tmp_path_factory.mktemp("runs"), names=("healthy", "ill"), samples=600, stages=("train",))
    write_report(with_point(made, threshold={"sensitivity": 0.9}))
    return made


@pytest.fixture
def run(reported: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy, to be changed by a test."""
    return RunFolder(Path(shutil.copytree(reported.path, tmp_path / "copy")))


def test_every_figure_is_that_of_the_predictions(reported: RunFolder) -> None:
    run, report = reported, reported.report.read_text()
    threshold = read_json(run.operating_point)["threshold"]
    by_label = {row[0]: row[1:] for row in rows(report, "At the operating point", head=True)}
    assert by_label["metric"] == ["val", "test"]
    for column, split in enumerate(("val", "test")):
        p = read_predictions(run.predictions(split))
        truth, score = p.target == 1, p.scores[:, 1]
        called = score >= threshold
        expected = {
            "sensitivity": sk.recall_score(truth, called),
            "specificity": sk.recall_score(~truth, ~called),
            "ppv": sk.precision_score(truth, called),
            "npv": sk.precision_score(~truth, ~called),
            "balanced_accuracy": sk.balanced_accuracy_score(truth, called),
            "mcc": sk.matthews_corrcoef(truth, called),
            "f1": sk.f1_score(truth, called),
            "roc_auc": sk.roc_auc_score(truth, score),
            "average_precision": sk.average_precision_score(truth, score),
        }
        for name, value in expected.items():
            assert by_label[LABELS[name]][column] == f"{value:.3f}", name
    tn, fp, fn, tp = sk.confusion_matrix(truth, called).ravel()
    assert by_label["test: 60 images"] == ["predicted ill", "predicted healthy"]
    assert by_label["truth ill"] == [f"{tp} found (true positives)", f"{fn} missed (false negatives)"]
    assert by_label["truth healthy"] == [f"{fp} false alarms (false positives)", f"{tn} cleared (true negatives)"]


def test_the_threshold_and_where_it_comes_from(run: RunFolder) -> None:
    report = run.report.read_text()
    threshold = read_json(run.operating_point)["threshold"]
    assert f"**ill** is predicted where its score is at least **{threshold:.3f}**" in report
    assert "chosen on 60 samples of **val** by the rule `{sensitivity: 0.9}`" in report
    with_point(run)
    report = write_report(run).read_text()
    assert "at least **0.500**; the other sections" in report
    assert "The configuration gives this threshold (`evaluate.threshold`)" in report


def test_the_table_over_thresholds_has_the_chosen_one_in_its_place(reported: RunFolder) -> None:
    run, report = reported, reported.report.read_text()
    head, *found = rows(report, "Over thresholds (test)", head=True)
    assert head[0] == "threshold"
    p = read_predictions(run.predictions("test"))
    threshold = read_json(run.operating_point)["threshold"]
    numbers = [float(row[0].strip("*")) for row in found]
    assert numbers == sorted(numbers)
    assert [row[0] for row in found if "*" in row[0]] == [f"**{threshold:.3f}**"]
    assert len(found) == 20
    for row, number in zip(found, numbers, strict=True):
        called = p.scores[:, 1] >= (threshold if "*" in row[0] else number)
        cells = [cell.strip("*") for cell in row]
        assert cells[1] == f"{sk.recall_score(p.target, called):.3f}"
        assert cells[-1] == f"{called.sum()}"


def test_of_two_classes_the_curves_are_those_of_the_positive_one(reported: RunFolder) -> None:
    assert "![ROC curve with the operating point (test)](plots/roc.png)" in reported.report.read_text()
    assert not POINT_PLOTS & {path.name for path in reported.plots.iterdir()}


def test_one_of_several_classes_against_the_rest(tmp_path: Path) -> None:
    run = with_point(fake_run(tmp_path, samples=400, stages=("train",)), positive_class="fear", threshold="f1")
    report = write_report(run).read_text()
    assert {path.name for path in run.plots.iterdir()} >= POINT_PLOTS | {"roc.png", "precision_recall.png"}
    assert "| truth another class |" in report
    run.operating_point.unlink()
    assert binary_sections(read_record(run), None, {"test": read_predictions(run.predictions("test"))}, {}, "test") == {
        "At the operating point": []
    }
    assert "## Results by class (test)" in report


def test_without_the_file_it_says_what_to_run(run: RunFolder) -> None:
    run.operating_point.unlink()
    report = write_report(run).read_text()
    assert f"There is no operating point yet; `cvlab evaluate {run.path}` chooses it on validation." in report
    assert "## Over thresholds" not in report


def test_a_point_of_other_predictions_is_refused(run: RunFolder) -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(60)
    write_predictions(
        run.predictions("val"), rng.integers(0, 2, 60), np.column_stack([1 - scores, scores]), ("healthy", "ill")
    )
    with pytest.raises(RunFolderError, match=r"operating_point\.json: was chosen from other predictions than"):
        write_report(run)


def test_without_test_it_is_about_val_and_other_data_stand_beside_it(run: RunFolder) -> None:
    run.predictions("test").unlink()
    scores = np.array([[0.9, 0.1], [0.2, 0.8]])
    write_predictions(run.predictions("data-other"), np.array([0, 0]), scores, ("healthy", "ill"))
    report = write_report(run).read_text()
    found = {row[0]: row[1:] for row in rows(report, "At the operating point", head=True)}
    assert found["metric"] == ["val", "data-other"]
    assert found["specificity"][1] == "0.500"
    assert found["sensitivity (recall)"][1] == "undefined (no sample is positive)"
    assert "## Over thresholds (val)" in report


def test_an_infinite_likelihood_ratio_says_so(run: RunFolder) -> None:
    scores = np.array([[0.9, 0.1], [0.0, 1.0]])
    write_predictions(run.predictions("test"), np.array([0, 1]), scores, ("healthy", "ill"))
    report = write_report(run).read_text()
    found = {row[0]: row[2:] for row in rows(report, "At the operating point", head=True)}
    assert found["positive likelihood ratio"] == ["infinite (no false positive)"]
    assert found["negative likelihood ratio"] == ["0.000"]


def test_pictures_of_telling_predictions_and_what_their_heat_maps_show(run: RunFolder) -> None:
    for name in ("confident_right", "near_threshold"):
        Image.new("RGB", (40, 30), "teal").save(run.pictures / f"{name}.png")
    report = write_report(run).read_text()
    part = report.split("\n## Predictions to look at\n")[1].split("\n## ")[0]
    assert re.findall(r"\(samples/(\w+)\.png\)", part) == ["near_threshold", "confident_right"]
    assert "Grad-CAM" not in part
    write_json(run.heat_maps, {"layer": "re_lu_9", "size": [8, 8], "explains": "logit", "split": "test"})
    part = write_report(run).read_text().split("\n## Predictions to look at\n")[1].split("\n## ")[0]
    assert "(`re_lu_9`, 8 x 8 places) saw what raises the logit of the predicted class" in part


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    made = fake_run(tmp_path, names=("a|b", "<b>*"), samples=200, stages=("train",), synthetic=True)
    report = write_report(with_point(made, threshold="youden")).read_text()
    assert r"| truth \<b\>\* |" in report
    assert r"predicted a\|b |" in report
