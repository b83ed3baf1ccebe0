"""What several runs come to together: numbers against scikit-learn and by hand, and what does not belong together."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk

from cvlab.errors import RunFolderError
from cvlab.metrics.classification import read_predictions
from cvlab.metrics.segmentation import read_predictions as read_masks
from cvlab.metrics.spread import spread, spread_of_all
from cvlab.pooling import is_pooled, pool
from cvlab.repetitions import Parent
from cvlab.report_repetitions import headline, write_repetition_report
from cvlab.run_folder import read_json, write_json, write_text
from cvlab.run_forms import misfit
from tests.repetition_fixture import BINARY, MASKS, NUMBERS, experiment_of, write_data, write_repetition

# Nearly every test draws a figure, or reads a whole run: `scripts/test fast` leaves them out.
pytestmark = pytest.mark.slow


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_data(tmp_path)
    return tmp_path


@pytest.fixture
def films(data: Path) -> Parent:
    """Three folds of a binary classification, each with its own threshold."""
    return write_repetition(data / "runs", experiment_of(data, BINARY), "folds", 3)


def value(cell: dict[str, Any]) -> float:
    return float(cell["value"])


def test_the_spread_is_that_of_numpy() -> None:
    found = spread({f"seed-{n}": {"value": v, "low": 0.0} for n, v in enumerate((0.5, 0.75, 0.7))})
    assert found["mean"] == pytest.approx(0.65, abs=1e-12)
    assert found["standard_deviation"] == pytest.approx(np.std([0.5, 0.75, 0.7], ddof=1), abs=1e-12)
    assert (found["minimum"], found["maximum"]) == (0.5, 0.75)
    assert found["values"] == {"seed-0": 0.5, "seed-1": 0.75, "seed-2": 0.7}
    assert "reason" not in found


def test_one_undefined_value_leaves_no_mean() -> None:
    nothing = {"value": None, "reason": "no sample is positive"}
    found = spread({"fold-1": {"value": 0.5}, "fold-2": nothing})
    assert found["reason"] == "undefined in fold-2 (no sample is positive)"
    assert [found[key] for key in ("mean", "standard_deviation", "minimum", "maximum")] == [None] * 4
    assert spread({"a": nothing, "b": nothing})["reason"] == "undefined in every run (no sample is positive)"
    single = spread({"fold-1": {"value": 0.5}})
    assert (single["mean"], single["standard_deviation"], single["reason"]) == (0.5, None, "one run shows no spread")


def test_only_what_all_runs_have_is_spread() -> None:
    one = {"accuracy": {"value": 1.0}, "by_group": {"p1": {"dice": 1.0}}, "samples": 3, "matrix": [[1]]}
    one |= {"per_class": {"a": {"f1": {"value": 0.5}}, "b": {"f1": {"value": 0.1}}}}
    two = {"accuracy": {"value": 0.0}, "by_group": {"p2": {"dice": 1.0}}, "samples": 4, "matrix": [[2]]}
    two |= {"per_class": {"a": {"f1": {"value": 0.7}}}}
    found = spread_of_all({"x": one, "y": two})
    assert [*found] == ["accuracy", "per_class"]
    assert found["per_class"] == {"a": {"f1": spread({"x": {"value": 0.5}, "y": {"value": 0.7}})}}


def test_a_class_may_be_called_value() -> None:
    metrics = {"per_class": {"value": {"f1": {"value": 0.5}}, "b": {"f1": {"value": 0.7}}}}
    assert spread_of_all({"x": metrics, "y": metrics})["per_class"]["value"]["f1"]["mean"] == 0.5
    assert misfit("metrics.json", {"test": metrics}) == ""
    assert misfit("metrics.json", {"test": {"accuracy": {"value": {"value": 1}}}})
    assert misfit("metrics.json", {"test": {"per_class": {"value": {"f1": {"value": "x"}}}}})


def test_pooled_predictions_are_those_of_the_folds(films: Parent) -> None:
    p = read_predictions(films.folder.predictions("test"))
    parts = [read_predictions(films.run(part).predictions("test")) for part in films.repetitions.parts]
    assert p.sample_id.tolist() == sorted(name for part in parts for name in part.sample_id)
    scores = {name: row.tolist() for part in parts for name, row in zip(part.sample_id, part.scores, strict=True)}
    assert p.scores.tolist() == [scores[name] for name in p.sample_id]
    with films.folder.out_of_fold.open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [row["sample_id"] for row in rows] == p.sample_id.tolist()
    for part, name in zip(parts, films.repetitions.parts, strict=True):
        assert {row["sample_id"] for row in rows if row["part"] == name} == {*part.sample_id}
    found = read_json(films.folder.metrics)["test"]
    assert value(found["accuracy"]) == pytest.approx(sk.accuracy_score(p.target, p.predicted), abs=1e-12)
    assert value(found["mcc"]) == pytest.approx(sk.matthews_corrcoef(p.target, p.predicted), abs=1e-12)
    assert "low" in found["accuracy"]
    assert found["samples"] == 48


def test_each_fold_decides_at_its_own_threshold(films: Parent) -> None:
    """The counts are sums of the folds' own; no single threshold would give them."""
    own = [read_json(films.run(part).metrics)["test"]["binary"] for part in films.repetitions.parts]
    points = [read_json(films.run(part).operating_point)["threshold"] for part in films.repetitions.parts]
    assert len({*points}) == 3
    found = read_json(films.folder.metrics)["test"]["binary"]
    counts = {name: sum(int(cells[name]["value"]) for cells in own) for name in ("tp", "fp", "fn", "tn")}
    assert {name: found[name]["value"] for name in counts} == counts
    tp, fp, fn, tn = counts.values()
    assert value(found["sensitivity"]) == pytest.approx(tp / (tp + fn), abs=1e-12)
    assert value(found["specificity"]) == pytest.approx(tn / (tn + fp), abs=1e-12)
    assert value(found["ppv"]) == pytest.approx(tp / (tp + fp), abs=1e-12)
    p = read_predictions(films.folder.predictions("test"))
    area = sk.roc_auc_score(p.target == 1, p.scores[:, 1])
    assert value(found["roc_auc"]) == pytest.approx(area, abs=1e-12)
    mean = read_json(films.folder.summary)["splits"]["test"]["binary"]["roc_auc"]["mean"]
    assert mean == pytest.approx(np.mean([value(cells["roc_auc"]) for cells in own]), abs=1e-12)
    assert abs(mean - area) > 1e-3
    for name in ("sensitivity", "specificity", "roc_auc"):
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]


def test_masks_are_pooled_as_each_fold_has_counted_them(data: Path) -> None:
    scans = write_repetition(data / "runs", experiment_of(data, MASKS), "folds", 3)
    parts = [read_masks(scans.run(part).predictions("test")).counts for part in scans.repetitions.parts]
    tp, fp, fn = (sum(int(getattr(counts, name).sum()) for counts in parts) for name in ("tp", "fp", "fn"))
    found = read_json(scans.folder.metrics)["test"]
    assert value(found["dice_pooled"]) == pytest.approx(2 * tp / (2 * tp + fp + fn), abs=1e-12)
    dice = np.concatenate([counts.dice() for counts in parts])
    assert value(found["dice_all"]) == pytest.approx(dice.mean(), abs=1e-12)
    assert found["groups"]["value"] == 12
    thresholds = [read_json(scans.run(part).operating_point)["threshold"] for part in scans.repetitions.parts]
    assert len({*thresholds}) > 1


def test_numbers_are_pooled(data: Path) -> None:
    faces = write_repetition(data / "runs", experiment_of(data, NUMBERS), "folds", 4)
    found = read_json(faces.folder.metrics)["test"]
    parts = [read_json(faces.run(part).metrics)["test"] for part in faces.repetitions.parts]
    squares = sum(part["samples"] * np.square(value(part["per_target"]["valence"]["rmse"])) for part in parts)
    assert value(found["per_target"]["valence"]["rmse"]) == pytest.approx(np.sqrt(squares / 48), abs=1e-9)
    assert "CCC" in write_repetition_report(faces).read_text()


def test_seeds_have_a_spread_and_nothing_pooled(data: Path) -> None:
    parent = write_repetition(data / "runs", experiment_of(data, BINARY), "seeds", 3)
    assert not parent.folder.predictions("test").exists()
    assert not parent.folder.metrics.exists()
    found = read_json(parent.folder.summary)["splits"]
    assert [*found] == ["train", "val", "test"]
    values = [value(read_json(parent.run(part).metrics)["test"]["accuracy"]) for part in parent.repetitions.parts]
    assert found["test"]["accuracy"]["standard_deviation"] == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    lines = [*headline(parent, ["accuracy"])]
    assert (
        lines[1]
        == f"test: accuracy {np.mean(values):.3f} ± {np.std(values, ddof=1):.3f} (mean ± standard deviation of 3 seeds)"
    )
    text = write_repetition_report(parent).read_text()
    assert "trained 3 times, with the seeds 5, 6, 7, on one split of 48 images" in text
    assert "All folds together" not in text


def test_without_all_folds_nothing_is_pooled_and_old_pools_go(films: Parent) -> None:
    run = films.run("fold-2")
    write_json(run.status, {"status": "interrupted", "reason": ""})
    pool(films)
    for path in (films.folder.predictions("test"), films.folder.metrics, films.folder.out_of_fold):
        assert not path.exists()
    assert read_json(films.folder.summary)["parts"] == ["fold-1", "fold-3"]
    text = write_repetition_report(films).read_text()
    assert "Not complete: 2 of 3 are finished." in text
    assert f"cvlab train --resume {films.path}" in text
    assert "Not before all folds are finished" in text
    for part in films.repetitions.parts:
        films.run(part).status.unlink()
    with pytest.raises(RunFolderError, match="no part is finished"):
        pool(films)


def test_a_part_that_was_evaluated_on_its_own_is_noticed(films: Parent) -> None:
    assert is_pooled(films)
    metrics = films.run("fold-2").metrics
    found = read_json(metrics)
    write_json(metrics, {**found, "test": {**found["test"], "accuracy": {"value": 0.123}}})
    assert not is_pooled(films)
    pool(films)
    assert read_json(films.folder.summary)["splits"]["test"]["accuracy"]["minimum"] == 0.123
    assert is_pooled(films)
    pooled = films.folder.predictions("test")
    pooled.write_text(pooled.read_text().replace(",ill,", ",well,", 1))
    assert not is_pooled(films)
    films.folder.summary.unlink()
    assert not is_pooled(films)


@pytest.mark.parametrize("content", [{}, {"test": {}}, {"test": {"accuracy": {"value": {}}}}])
def test_damaged_pooled_metrics_are_no_pool_or_refused(films: Parent, content: Any) -> None:
    films.folder.metrics.write_text(json.dumps(content))
    if misfit("metrics.json", content):
        with pytest.raises(RunFolderError, match="damaged"):
            is_pooled(films)
    else:
        assert not is_pooled(films)


@pytest.mark.parametrize("content", [[], {}, {"parts": []}, {"parts": ["fold-1"], "splits": {"test": {}}}])
def test_a_damaged_summary_is_no_pool(films: Parent, content: Any) -> None:
    films.folder.summary.write_text(json.dumps(content))
    assert not is_pooled(films)


def test_metrics_of_a_part_without_test_are_named(films: Parent) -> None:
    metrics = films.run("fold-1").metrics
    write_json(metrics, {"val": read_json(metrics)["val"]})
    with pytest.raises(RunFolderError, match=r"fold-1/metrics.json: lacks the metrics of test\. To write them anew"):
        pool(films)


def test_parts_of_other_data_are_not_pooled(films: Parent) -> None:
    samples = films.run("fold-2").samples
    text = samples.read_text()
    name = text.splitlines()[1].split(",")[0]
    samples.write_text(text.replace(f"{name},", f"{name}x,", 1))
    message = rf"(?s)fold-2/samples.csv: holds other files, labels or groups than fold-1 \(2 samples\).*{name}"
    with pytest.raises(RunFolderError, match=message):
        pool(films)


def test_seeds_of_other_splits_are_not_summarised(data: Path) -> None:
    parent = write_repetition(data / "runs", experiment_of(data, BINARY), "seeds", 2)
    samples = parent.run("seed-6").samples
    samples.write_text(samples.read_text().replace(",val,", ",train,", 1))
    with pytest.raises(RunFolderError, match=r"seed-6/samples.csv: holds other files, labels, groups or splits"):
        pool(parent)


def test_folds_that_test_an_image_twice_are_not_pooled(films: Parent) -> None:
    samples = films.run("fold-2").samples
    samples.write_text(samples.read_text().replace(",train,train,", ",train,test,", 1))
    with pytest.raises(RunFolderError, match="expected each of 48 samples in the test split of one of them"):
        pool(films)


def test_edited_predictions_are_not_pooled(films: Parent) -> None:
    path = films.run("fold-3").predictions("test")
    lines = path.read_text().splitlines(keepends=True)
    write_text(path, "".join(lines[:-1]))
    with pytest.raises(RunFolderError, match=r"fold-3/predictions/test.csv: does not hold the 16 samples"):
        pool(films)
    write_text(path, "".join(lines).replace("score:well", "score:fine"))
    with pytest.raises(RunFolderError, match="expected the columns sample_id, group"):
        pool(films)


def report_without_tensorflow(folder: Path) -> str:
    """Runs `cvlab report` and returns what it prints."""
    code = (
        "import sys\nfrom cvlab.cli import app\n"
        f"app(['report', {str(folder)!r}], standalone_mode=False)\n"
        "assert not {'tensorflow', 'keras', 'jax'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_report_holds_the_numbers_of_the_files(films: Parent) -> None:
    assert report_without_tensorflow(films.path).startswith(f"Report: {films.folder.report_page}")
    text, page = films.folder.report.read_text(), films.folder.report_page.read_text()
    pooled, spreads = read_json(films.folder.metrics)["test"], read_json(films.folder.summary)["splits"]["test"]
    cell, over = pooled["accuracy"], spreads["accuracy"]
    shown = f"{cell['value']:.3f} ({cell['low']:.3f} to {cell['high']:.3f})"
    assert f"| accuracy | {over['mean']:.3f} ± {over['standard_deviation']:.3f} |" in text
    assert shown in text
    over = spreads["binary"]["specificity"]
    means = f"{over['mean']:.3f} ± {over['standard_deviation']:.3f} | {over['minimum']:.3f} to {over['maximum']:.3f}"
    value = pooled["binary"]["specificity"]
    assert f"| specificity at the operating point, for well | {means} | {value['value']:.3f} (" in text
    # Every number that is shown is defined, and on the page linked to its definition.
    assert "## What the numbers mean" in text
    assert '<a href="#binary-specificity">specificity</a>' in page
    for part in films.repetitions.parts:
        assert f"[report.html]({part}/report.html), [report.md]({part}/report.md)" in text
        assert films.run(part).report.is_file()
    for heading in ("Summary", "The runs", "Spread of the results (test)", "All folds together", "Repeat this"):
        assert f"## {heading}\n" in text
        assert heading in page
    for heading in ("Results by class (test)", "ROC (test)", "Confusion matrix (test)"):
        assert f"### {heading}\n" in text
    # What is about one network, its threshold or its training is left to the reports of the parts.
    for heading in ("Accuracy of the best weights", "There is no operating point", "Learning curves"):
        assert heading not in text
    assert f"cvlab train {films.folder.config} --folds 3" in text
    before = text
    assert write_repetition_report(films).read_text() == before


def test_the_positive_class_and_warnings_of_the_data_are_named(films: Parent) -> None:
    for part, warnings in {"fold-1": ["a <b>", "c"], "fold-2": ["a <b>"], "fold-3": ["a <b>"]}.items():
        data = read_json(films.run(part).data)
        data["stages"][0]["warnings"] = warnings
        write_json(films.run(part).data, data)
    text = write_repetition_report(films).read_text()
    assert "| sensitivity at the operating point, for well | " in text
    assert "| ROC AUC of well | " in text
    assert "**well** against the rest" in text
    assert "### What to beware of\n\n- a \\<b\\>\n- fold-1: c\n" in text


def test_runs_that_differ_in_more_are_named(films: Parent) -> None:
    run = films.run("fold-2")
    run.config.write_text(run.config.read_text().replace("epochs: 2", "epochs: 9"))
    text = write_repetition_report(films).read_text()
    assert "The runs differ in more than what is repeated" in text
    assert "fold-2: stages.0.epochs: 9, and 2 in fold-1" in text
