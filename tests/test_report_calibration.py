"""Calibration, published figures and definitions in a report: every figure from the predictions."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
import yaml

from cvlab import (
    report_binary,
    report_calibration,
    report_classification,
    report_regression,
    report_segmentation,
    report_uncertainty,
)
from cvlab.config import EvaluateConfig
from cvlab.config_evaluate import Bootstrap
from cvlab.data.source import Labels
from cvlab.document import Document, Paragraph, Section, Table, block_markdown
from cvlab.errors import RunFolderError
from cvlab.metrics.calibration import judged
from cvlab.metrics.classification import ClassificationPredictions, read_predictions
from cvlab.metrics.temperature import Temperature, with_temperature
from cvlab.report import write_report
from cvlab.report_binary import read_point
from cvlab.report_calibration import Judged, calibration_section, read_temperature
from cvlab.report_definitions import with_definitions, with_links
from cvlab.report_expected import expected_section
from cvlab.report_record import RunRecord, read_record
from cvlab.run_folder import RunFolder, read_json, write_json
from cvlab.tasks import classification
from tests.run_fixture import fake_run
from tests.test_calibration import drawn

# Nearly every test draws a figure, or reads a whole run: `scripts/test fast` leaves them out.
pytestmark = pytest.mark.slow

FIGURES = [
    {"metric": "test.accuracy", "value": 0.5, "source": "Lee <b> 2018"},
    {"metric": "test.accuracy", "value": 0.5, "source": "Kim 2019", "samples": 4000},
    {"metric": "test.per_class.ill.recall", "value": 0.8125, "source": "Kim 2019"},
    {"metric": "test.binary.f1", "value": 0.1, "source": "Kim 2019"},
    {"metric": "test.top_2_accuracy", "value": 0.9, "source": "Kim 2019"},
]


def evaluated(run: RunFolder, *names: str, **settings: Any) -> RunFolder:
    """Does what evaluation does without the network, with few resamples."""
    evaluate = EvaluateConfig(temperature=True, bootstrap=Bootstrap(resamples=200), top_k=2, **settings)
    config = yaml.safe_load(run.config.read_text())
    config["evaluate"] = {"temperature": True, "top_k": 2}
    run.config.write_text(yaml.safe_dump(config | {"expected": FIGURES}, sort_keys=False))
    task = classification.build(classification.Config(), Labels(names))
    point = task.operating_point(run.predictions("val"), evaluate)
    assert point is not None
    write_json(run.operating_point, point)
    tables = {"train": None, "val": 1, "test": 1}
    write_json(
        run.metrics,
        {split: task.metrics(run.predictions(split), evaluate, point, seed=seed) for split, seed in tables.items()},
    )
    return run


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of two classes with its report; tests only read it."""
    made = fake_run(tmp_path_factory.mktemp("runs"), names=("healthy", "ill"), samples=600, stages=("train",))
    write_report(evaluated(made, "healthy", "ill"))
    return made


@pytest.fixture
def run(reported: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy, to be changed by a test."""
    return RunFolder(Path(shutil.copytree(reported.path, tmp_path / "copy")))


def section(run: RunFolder, heading: str) -> str:
    return run.report.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]


def rows(run: RunFolder, heading: str) -> list[list[str]]:
    lines = [line for line in section(run, heading).splitlines() if line.startswith("| ") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_calibration_is_that_of_the_predictions(reported: RunFolder) -> None:
    cells = {row[0]: row[1:] for row in rows(reported, "Calibration")}
    assert cells["metric"] == ["val", "test"]
    for column, split in enumerate(("val", "test")):
        p = read_predictions(reported.predictions(split))
        brier = sk.brier_score_loss(p.target, p.scores[:, 1])
        assert re.match(rf"{brier:.3f} \(0\.\d\d\d to 0\.\d\d\d\)$", cells["Brier score"][column])
        parts = [float(cells[f"Brier score, {part}"][column]) for part in ("reliability", "resolution", "uncertainty")]
        assert parts[0] - parts[1] + parts[2] == pytest.approx(brier, abs=0.002)
        assert re.match(r"0\.\d\d\d \(at most 0\.\d\d\d\)$", cells["ECE by chance, bins of equal width"][column])
    text = section(reported, "Calibration")
    assert "Judged is the score of **ill**" in text
    assert "![reliability diagram (test)](plots/reliability.png)" in text
    assert (reported.plots / "reliability.png").is_file()


def test_what_a_temperature_changes_is_shown_for_every_split(reported: RunFolder) -> None:
    fitted = read_json(reported.operating_point)["temperature"]
    assert f"a temperature of **{fitted['value']:.3f}**, fitted to 60 samples of **val**" in section(
        reported, "Calibration"
    )
    by_split = {row[0]: row for row in rows(reported, "Calibration") if row[0] in ("val", "test")}
    assert [*by_split] == ["val", "test"]
    p = read_predictions(reported.predictions("test"))
    after = with_temperature(p.scores, fitted["value"])
    plain = p.scores / p.scores.sum(axis=1, keepdims=True)
    before, later = (sk.log_loss(p.target, scores) for scores in (plain, after))
    assert by_split["test"][1] == f"{before:.3f} → {later:.3f} ({later - before:+.3f})"
    stored = read_json(reported.metrics)["test"]
    assert stored["calibrated"]["loss"]["value"] == pytest.approx(later, abs=1e-9)
    assert {"low", "high", "method"} <= {*stored["calibrated"]["ece"]}
    assert "calibrated" in read_json(reported.metrics)["train"]
    np.testing.assert_array_equal(after.argmax(axis=1), p.predicted)


def test_several_classes_are_judged_by_their_highest_score(tmp_path: Path) -> None:
    names = ("a", "b", "c")
    run = evaluated(fake_run(tmp_path, names=names, samples=300, stages=("train",)), *names)
    assert [*read_json(run.operating_point)] == ["temperature"]
    predictions = {"val": read_predictions(run.predictions("val"))}
    metrics = {"val": read_json(run.metrics)["val"]}
    record = read_record(run)
    assert read_point(record, predictions) is None
    temperature = read_temperature(record, predictions)
    assert temperature is not None

    def text(fitted: Temperature | None) -> str:
        blocks = calibration_section(record, predictions, metrics, "val", temperature=fitted, positive=None)
        return "\n".join(map(block_markdown, blocks))

    assert "Judged is the highest score: of the images where it is 0.8, 80 in 100 predictions" in text(temperature)
    undefined = dataclasses.replace(temperature, value=None, note="no <b>")
    assert r"There is no temperature, which would be fitted to 30 samples of **val**: no \<b\>." in text(undefined)
    assert "There is no temperature yet; `cvlab evaluate" in text(None)


def test_the_first_class_is_judged_where_it_is_the_positive_one() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    names = np.array(["a", "b", "c"], dtype=object)
    p = ClassificationPredictions(names, names, np.array([0, 0, 1]), scores.argmax(axis=1), scores, ("no", "yes"))
    for positive, name, score in ((None, "yes", 0.1), ("yes", "yes", 0.1), ("no", "no", 0.9)):
        one = Judged.of(p, positive)
        assert (one.name, judged(one.target, one.scores)[0][0]) == (name, score)
        assert judged(one.target, one.scores)[1].tolist() == [float(name == "no")] * 2 + [float(name == "yes")]


def test_what_the_error_says_depends_on_chance() -> None:
    target, scores = drawn(300, 3, seed=1)
    names = np.array([f"s{number}" for number in range(300)], dtype=object)
    p = ClassificationPredictions(names, names, target, scores.argmax(axis=1), scores, ("a", "b", "c"))
    one = Judged.of(p, None)
    assert "The ECE of test, 0.010, is no evidence against the scores." in one.reading("test", 0.01)
    said = one.reading("test", 0.3)
    assert (
        "is more than that: the scores are not calibrated. On average they are too high: the mean score is 0." in said
    )


def test_a_temperature_of_other_predictions_is_refused(run: RunFolder) -> None:
    point = read_json(run.operating_point)
    point["temperature"]["nll_before"] += 0.01
    write_json(run.operating_point, point)
    with pytest.raises(RunFolderError, match=r"its temperature was fitted to other predictions than .*val\.csv holds"):
        write_report(run)
    point["temperature"] = 1.5
    write_json(run.operating_point, point)
    with pytest.raises(RunFolderError, match="'temperature' is damaged"):
        write_report(run)
    run.metrics.unlink()
    (block,) = expected_section(read_record(run))
    assert "There are no metrics yet; `cvlab evaluate" in block_markdown(block)


def test_published_figures_stand_beside_the_run_s_own(reported: RunFolder) -> None:
    head, first, other_data, recall, f1, missing = rows(reported, "Against published figures")
    assert head == ["metric", "source", "comparison", "published", "this run"]
    metrics = read_json(reported.metrics)["test"]
    accuracy = metrics["accuracy"]
    own = f"{accuracy['value']:.3f} ({accuracy['low']:.3f} to {accuracy['high']:.3f})"
    assert first == [
        "test: accuracy",
        r"Lee \<b\> 2018",
        "**not covered: the interval of this run lies above it**",
        "0.500",
        own,
    ]
    assert other_data[2] == "no comparison: published on 4,000 samples, here 60; data or split differ"
    assert recall[0] == "test, ill: recall"
    assert (recall[3], len(recall[4].split(" ")[0])) == ("0.8125", len("0.0000"))
    assert f1[0] == "test, positive class: F1"
    assert f1[4].startswith(f"{metrics['binary']['f1']['value']:.3f} (")
    assert missing[0] == "test: top k accuracy"
    assert missing[2] == "no comparison: undefined here (the top 2 of 2 classes always hold the truth)"
    assert "A published figure belongs to its own data and split" in section(reported, "Against published figures")


def test_synthetic_data_are_compared_with_nothing(run: RunFolder) -> None:
    write_json(run.data, read_json(run.data) | {"synthetic": True, "leaks": ["a leak"]})
    table, _, leaks = expected_section(read_record(run))
    assert isinstance(table, Table)
    assert {row[2] for row in table.rows} == {"no comparison: synthetic sample data"}
    assert "This run leaks between its splits" in block_markdown(leaks)


def test_numbers_are_defined_and_linked_to_their_definitions(reported: RunFolder) -> None:
    text = reported.report.read_text()
    terms = text.split("\n## What the numbers mean\n")[1]
    assert "\n### accuracy (Classification)\n" in terms
    assert "\n### accuracy (At the operating point)\n" in terms
    assert "\n### Brier score, resolution\n" in terms
    assert "\n### temperature\n" in terms
    assert "\n### bootstrap interval\n" in terms
    assert "RMSE" not in terms
    page = reported.report_page.read_text()
    links = {*re.findall(r'href="#([^"]+)"', page)}
    targets = {*re.findall(r'id="([^"]+)"', page)}
    assert links <= targets
    assert '<a href="#classification-cohen-kappa">Cohen\'s kappa</a>' in page.replace("&#39;", "'")
    assert '<a href="#binary-f1">test, positive class: F1</a>' in page
    assert '<a href="#class-recall">recall</a>' in page
    assert {
        "binary-ppv",
        "calibration-ece-by-chance",
        "calibration-ece-equal-mass-by-chance",
        "training-val-loss",
        "binary-mcc",
    } <= links
    defined = {target for target in targets if re.match(r"(classification|binary|class|calibration)-", target)}
    assert defined - links <= {"binary-predicted-positive"}


LABELLED: list[tuple[str, str, dict[str, str]]] = [
    ("classification", "Results", report_classification.LABELS),
    ("classification", "Results by class (test)", report_classification.PER_CLASS),
    ("classification", "At the operating point", report_binary.LABELS),
    ("classification", "Over thresholds (test)", report_binary.OVER_THRESHOLDS),
    ("classification", "Calibration", report_calibration.LABELS | report_calibration.CHANGED),
    ("classification", "Uncertainty by dropout injection", report_uncertainty.CLASS_LABELS),
    ("regression", "Results", report_regression.LABELS),
    ("regression", "Results by target (test)", report_regression.LABELS),
    ("regression", "Uncertainty by dropout injection", report_uncertainty.NUMBER_LABELS),
    ("segmentation", "Results", report_segmentation.LABELS),
    ("segmentation", "Over thresholds (test)", report_segmentation.OVER_THRESHOLDS),
    ("segmentation", "Before and after each stage", report_segmentation.CHANGES),
    ("segmentation", "Uncertainty by dropout injection", report_uncertainty.MASK_LABELS),
]


def of_task(run: RunFolder, task: str) -> RunRecord:
    record = read_record(run)
    return dataclasses.replace(record, config=record.config | {"task": {"name": task}})


def defined_columns(record: RunRecord, heading: str, columns: list[str]) -> list[str]:
    """The anchors that the line below a table links to."""
    table = Table(columns, [["1"] * len(columns)])
    document = with_definitions(record, Document("", [], [Section(heading, [table])]))
    _, line = with_links(record, document).sections[0].blocks
    assert isinstance(line, Paragraph)
    links = re.findall(r"\(#([a-z0-9-]+)\)", line.text)
    assert {*links} <= {one.anchor for one in document.sections}
    return links


@pytest.mark.parametrize(("task", "heading", "labels"), LABELLED)
def test_every_name_in_a_table_has_its_definition(
    reported: RunFolder, task: str, heading: str, labels: dict[str, str]
) -> None:
    filled = {key: label.replace("{structure}", r"tumour \<b\>") for key, label in labels.items() if label}
    shown = {key: label.replace("{group}", "patient") for key, label in filled.items()}
    links = defined_columns(of_task(reported, task), heading, [*shown.values()])
    assert [link.split("-", 2 if link.startswith("uncertainty") else 1)[-1].replace("-", "_") for link in links] == [
        *shown
    ]


@pytest.mark.parametrize(
    ("task", "heading", "columns", "expected"),
    [
        (
            "regression",
            "Results by target (test)",
            ["RMSE ± standard error", "truth (mean ± sd)"],
            ["rmse", "truth-mean"],
        ),
        ("regression", "Results", ["loss (huber)"], ["loss"]),
        ("segmentation", "Results by group (test)", ["Dice", "with tumour"], ["dice", "nonempty-images"]),
        ("segmentation", "Results by patient (test)", ["Dice", "with tumour"], ["dice", "nonempty-images"]),
        ("classification", "Training", ["val loss there", "images/s"], ["val-loss", "images-per-second"]),
        ("classification", "Results", ["top 12 accuracy", "macro F1"], ["top-k-accuracy", "macro-f1"]),
        ("segmentation", "Stage train: classification", ["accuracy"], ["accuracy"]),
    ],
)
def test_other_names_have_theirs(
    reported: RunFolder, task: str, heading: str, columns: list[str], expected: list[str]
) -> None:
    record = of_task(reported, task)
    if heading.startswith("Stage "):
        stages = [{"name": "train", "task": {"name": "classification"}}, {"name": "masks"}]
        record = dataclasses.replace(record, config=record.config | {"stages": stages})
    assert [anchor.partition("-")[2] for anchor in defined_columns(record, heading, columns)] == expected


def test_a_class_named_like_a_number_is_no_number(reported: RunFolder) -> None:
    table = Table(["class", "F1"], [["accuracy", "1"], ["F1", "1"]])
    document = Document("", [], [Section("Results by class (test)", [table])])
    shown, line = with_links(read_record(reported), document).sections[0].blocks
    assert isinstance(shown, Table)
    assert shown.rows == [["accuracy", "1"], ["F1", "1"]]
    assert line == Paragraph("Defined at the end: [F1](#class-f1).")
