"""Figures of uncertainty, and the report's section: every number from the files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.axes import Axes
from matplotlib.patches import StepPatch
from PIL import Image
from sklearn.metrics import auc

from cvlab.document import block_markdown
from cvlab.errors import RunFolderError
from cvlab.metrics.classification import read_predictions as read_classes
from cvlab.metrics.regression import read_predictions as read_numbers
from cvlab.metrics.segmentation import MaskCounter, predictions_csv
from cvlab.metrics.uncertainty import LEVELS, observed_coverage, risk_coverage
from cvlab.metrics.uncertainty_table import ClassUncertainty, MaskUncertainty, RegressionUncertainty
from cvlab.plots import new_figure
from cvlab.plots_uncertainty import (
    WIDE,
    coverage_of_intervals,
    entropy_of_right_and_wrong,
    risk_coverage_curves,
)
from cvlab.reading_stages import decimals
from cvlab.report import write_report
from cvlab.report_record import read_record
from cvlab.report_uncertainty import uncertainty_section
from cvlab.run_folder import RunFolder, write_json, write_text
from tests.regression_run_fixture import fake_regression_run
from tests.run_fixture import fake_run

CHOSEN: dict[str, Any] = {
    "layers": "head",
    "samples": 30,
    "rule": "auto",
    "injected": ["dense", "output"],
    "split": "val",
    "rate": 0.05,
    "nll": [{"rate": 0.001, "value": None, "reason": "infinite: no variance"}, {"rate": 0.05, "value": 1.25}],
}


def axes() -> Axes:
    return new_figure(*WIDE, synthetic=False)[1]


def legend(ax: Axes) -> list[str]:
    found = ax.get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def asked_for(run: RunFolder, chosen: dict[str, Any]) -> RunFolder:
    config = yaml.safe_load(run.config.read_text())
    config.setdefault("evaluate", {})["dropout_injection"] = {"layers": "head", "samples": 30, "rate": "auto"}
    run.config.write_text(yaml.safe_dump(config))
    write_json(run.operating_point, {"dropout_injection": chosen})
    return run


def classified(parent: Path, **settings: Any) -> RunFolder:
    run = asked_for(fake_run(parent, samples=400, stages=("train",), **settings), CHOSEN)
    for split in ("val", "test"):
        p = read_classes(run.predictions(split))
        mean = 0.8 * p.scores + 0.2 / len(p.class_names)
        rest = (mean, 0.01 * mean, -(mean * np.log(mean)).sum(axis=1), mean[:, 0] / 10, p.class_names)
        ClassUncertainty(p.sample_id, p.target, *rest).write(run.uncertainty(split))
    return run


def measured(parent: Path) -> RunFolder:
    scale = {"valence": {"value": 4.0}, "arousal": {"value": None, "reason": "infinite: the variance is 0"}}
    run = asked_for(fake_regression_run(parent, samples=400, stages=("train",)), {**CHOSEN, "scale": scale})
    for split in ("val", "test"):
        p = read_numbers(run.predictions(split))
        variance = 0.02 + np.abs(p.predicted - p.target)
        variance[0, 1] = 0
        RegressionUncertainty(p.sample_id, p.target, p.predicted, variance, p.target_names).write(
            run.uncertainty(split)
        )
    return run


def cells(report: str) -> dict[str, list[str]]:
    part = report.split("\n## Uncertainty by dropout injection\n")[-1].split("\n## ")[0]
    lines = [line.strip("|").split(" | ") for line in part.splitlines() if line.startswith("| ")]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines}


def test_risk_curves_are_those_of_the_answers_with_their_area() -> None:
    rng = np.random.default_rng(0)
    curves = {name: risk_coverage(rng.random(40), rng.random(40)) for name in ("injected", "trained")}
    ax = risk_coverage_curves(curves, risk="error", title="Risk of $x$", split="test", ax=axes())
    lines = ax.get_lines()
    for line, limit, text, one in zip(lines[:4:2], lines[1:4:2], legend(ax), curves.values(), strict=False):
        coverage, risk = one
        np.testing.assert_array_equal(np.asarray(line.get_xydata()), np.column_stack([coverage, risk]))
        assert np.ravel(limit.get_ydata()).tolist() == pytest.approx([risk[-1]] * 2)
        assert text.endswith(f"AURC {risk.mean():.3g}")
        assert auc(coverage, risk) == pytest.approx(risk.mean(), abs=0.03)
    assert ax.get_title(loc="left") == r"Risk of \$x\$ (test)"


def test_coverage_of_intervals_beside_what_it_should_be() -> None:
    rng = np.random.default_rng(0)
    target, variance = rng.normal(size=90), np.full(90, 0.25)
    observed = {"scaled": observed_coverage(target, np.zeros(90), 4 * variance), "raw": LEVELS}
    ax = coverage_of_intervals(LEVELS, observed, name="age", split="val", ax=axes())
    _, scaled, raw = ax.get_lines()[:3]
    np.testing.assert_array_equal(np.asarray(scaled.get_xydata()), np.column_stack([LEVELS, observed["scaled"]]))
    np.testing.assert_array_equal(np.asarray(raw.get_ydata()), LEVELS)
    assert legend(ax)[2] == "raw\ncalibration error 0.000"


@pytest.mark.parametrize("right", [np.array([True, True, False]), np.ones(3, dtype=bool), np.zeros(3, dtype=bool)])
def test_shares_of_right_and_of_wrong_predictions_each_sum_to_one(right: np.ndarray) -> None:
    ax = entropy_of_right_and_wrong(np.array([0.0, 0.3, np.log(2)]), right, classes=2, split="test", ax=axes())
    drawn = [patch for patch in ax.patches if isinstance(patch, StepPatch) and not patch.get_fill()]
    for patch in drawn:
        assert patch.get_data()[0].sum() == pytest.approx(1)
    assert len(drawn) == len(np.unique(right))
    assert sum("none" in text for text in legend(ax)) == 2 - len(drawn)


@pytest.mark.slow
def test_the_section_of_classes_shows_the_network_as_trained_beside_the_passes(tmp_path: Path) -> None:
    run = classified(tmp_path, synthetic=True)
    report = write_report(run).read_text()
    found = cells(report)
    assert found["metric"] == ["val, as trained", "val, dropout injected", "test, as trained", "test, dropout injected"]
    p, u = read_classes(run.predictions("test")), ClassUncertainty.read(run.uncertainty("test"))
    rows = np.arange(len(p.target))
    nll = [f"{-np.log(scores[rows, p.target]).mean():.3f}" for scores in (p.scores, u.mean)]
    assert found["negative log-likelihood"][2:] == nll
    assert found["mean mutual information (nats)"][2:] == ["", decimals(u.mutual_information.mean())]
    assert found["**0.05**"] == ["**1.250**"]
    assert found["0.001"] == ["undefined (infinite: no variance)"]
    assert "The rate is **0.05**, the lowest negative log-likelihood on **val**" in report
    for name in ("risk_coverage", "entropy_right_wrong"):
        assert f"(plots/{name}.png)" in report
        assert (run.plots / f"{name}.png").is_file()


@pytest.mark.slow
def test_the_section_of_numbers_has_a_row_a_target_and_says_what_was_scaled(tmp_path: Path) -> None:
    run = measured(tmp_path)
    report = write_report(run).read_text()
    assert "of valence by 4.000; of arousal by nothing: the factor is undefined" in report
    assert "| test | arousal |" in report
    assert "undefined (infinite: the variance is 0, or next to it, for 1 of 40)" in report
    assert (run.plots / "interval_coverage_1_valence.png").is_file()
    assert not (run.plots / "interval_coverage_2_arousal.png").exists()
    assert (run.plots / "risk_coverage_2_arousal.png").is_file()


def section(run: RunFolder) -> list[str]:
    return [*map(block_markdown, uncertainty_section(read_record(run)))]


def test_without_the_setting_or_the_tables(tmp_path: Path) -> None:
    run = classified(tmp_path)
    config = run.config.read_text()
    run.config.write_text(config.replace("dropout_injection:", "other:"))
    assert section(run) == []
    run.config.write_text(config)
    undefined = {**CHOSEN, "rate": None, "reason": "no rate has a likelihood"}
    write_json(run.operating_point, {"dropout_injection": undefined})
    assert section(run)[0] == "There are no uncertainties: no rate has a likelihood."
    shutil.rmtree(run.uncertainty("test").parent)
    run.operating_point.unlink()
    assert section(run)[0].startswith("There are no uncertainties yet; `cvlab evaluate")


def with_masks(folder: Path) -> RunFolder:
    """A run with the masks of three images, as the network predicts them and as the mean of passes."""
    run = classified(folder)
    run.config.write_text(run.config.read_text().replace("name: classification", "name: segmentation"))
    write_json(run.operating_point, {"dropout_injection": {**CHOSEN, "threshold": 0.25}})
    truth = np.zeros((3, 4, 4))
    truth[0, 0] = truth[2, 1] = 1
    ids = np.array(["a", "b", "c"], dtype=object)
    counts = np.array([[4, 1, 0, 11], [0, 0, 0, 16], [0, 3, 4, 9]])
    for split in ("val", "test"):
        counter = MaskCounter(0.5)
        counter.add(ids, ids, truth * np.array([1, 1, 0])[:, None, None], truth)
        write_text(run.predictions(split), predictions_csv(counter.predictions()))
        same = np.full(3, 0.25)
        MaskUncertainty(ids, counts, same, same, same, np.full((3, 15), 0.16)).write(run.uncertainty(split))
    Image.new("RGB", (40, 30)).save(run.uncertain_masks)
    return run


def test_masks_have_their_metrics_and_the_picture_that_evaluation_drew(tmp_path: Path) -> None:
    text = "\n".join(section(with_masks(tmp_path)))
    found = cells(text)
    assert found["metric"] == ["val, as trained", "val, dropout injected", "test, as trained", "test, dropout injected"]
    mean = (8 / 9 + 1 + 0) / 3
    assert found["Dice, mean over all images"][2:] == ["0.667", f"{mean:.3f}"]
    assert found["Dice, mean over images with a true mask"][2:] == ["0.500", "0.444"]
    assert found["Dice, pooled over all pixels"][2:] == ["0.667", "0.500"]
    assert found["expected calibration error (ECE)"][2:] == ["", f"{15 * 3 * 0.16 / 48:.3f}"]
    assert found["area under risk over coverage (AURC)"][2:] == ["0.333", f"{1 - mean:.3f}"]
    assert "mean of the passes is at least **0.25**" in text
    assert "- test, dropout injected, AURC: every sample is as uncertain as any other" in text
    assert "![Most uncertain masks (test)](samples/uncertain_masks.png)" in text


def test_masks_of_other_samples_than_the_predictions_are_refused(tmp_path: Path) -> None:
    run = with_masks(tmp_path)
    path = run.uncertainty("test")
    path.write_text(path.read_text().replace("\nb,", "\nx,"))
    with pytest.raises(RunFolderError, match=r"test\.csv: holds other samples than .* `cvlab evaluate"):
        section(run)


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    run = classified(tmp_path)
    path = run.uncertainty("val")
    text = path.read_text()
    path.write_text(text.replace("faces/val_0003", "faces/val_9003"))
    with pytest.raises(RunFolderError, match=r"val\.csv: holds other samples than .* `cvlab evaluate"):
        section(run)
    path.write_text(text)
    write_json(run.operating_point, {"dropout_injection": {"rate": 0.05}})
    with pytest.raises(RunFolderError, match=r"operating_point\.json: 'dropout_injection' is damaged: expected "):
        section(run)
