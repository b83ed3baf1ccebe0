from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt
from PIL import Image
from scipy.stats import pearsonr
from sklearn.metrics import r2_score

from cvlab.errors import RunFolderError
from cvlab.metrics.regression import RegressionPredictions, read_predictions
from cvlab.plots import new_figure
from cvlab.report import write_report
from cvlab.report_parts import Figure
from cvlab.report_regression import _plane
from cvlab.run_folder import RunFolder, read_json, write_json, write_text
from tests.regression_run_fixture import fake_history, fake_regression_run, write_table
from tests.report_fixture import heavy_modules, rows
from tests.run_fixture import fake_scores, fake_targets, write_predictions

# Nearly every test draws a figure, or reads a whole run: `scripts/test fast` leaves them out.
pytestmark = pytest.mark.slow

PLOTS = {
    "curve_loss.png",
    "curve_rmse.png",
    "curve_ccc.png",
    "valence_arousal.png",
    "prediction_1_valence.png",
    "prediction_2_arousal.png",
    "residuals_1_valence.png",
    "residuals_2_arousal.png",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of two stages with its report; tests only read it."""
    run = fake_regression_run(tmp_path_factory.mktemp("runs"))
    write_report(run)
    return run


@pytest.fixture
def small(tmp_path: Path) -> RunFolder:
    """A small run of one stage and one target, to be changed by a test."""
    return fake_regression_run(tmp_path, names=("age",), samples=600, stages=("train",))


def by_hand(p: RegressionPredictions) -> dict[str, list[float]]:
    """Each metric of each target, by NumPy, SciPy and scikit-learn."""
    values: dict[str, list[float]] = {name: [] for name in ("RMSE", "MAE", "CORR", "SAGR", "CCC", "R²")}
    for t, q in zip(p.target.T, p.predicted.T, strict=True):
        r = float(pearsonr(t, q).statistic)
        values["RMSE"].append(float(np.sqrt(((q - t) ** 2).mean())))
        values["MAE"].append(float(np.abs(q - t).mean()))
        values["CORR"].append(r)
        values["SAGR"].append(float(((t > 0) == (q > 0)).mean()))
        values["CCC"].append(float(2 * r * t.std() * q.std() / (t.var() + q.var() + (t.mean() - q.mean()) ** 2)))
        values["R²"].append(float(r2_score(t, q)))
    return values


def test_results_are_means_over_the_targets_of_the_predictions(run: RunFolder) -> None:
    report = run.report.read_text()
    cells = {row[0]: row[1:] for row in rows(report, "Results")}
    for column, split in enumerate(("val", "test")):
        p = read_predictions(run.predictions(split))
        for metric, values in by_hand(p).items():
            assert cells[metric][column] == f"{np.mean(values):.3f}"
        assert cells["loss (mse)"][column] == f"{((p.predicted - p.target) ** 2).mean():.3f}"
        assert cells["samples"][column] == f"{len(p.target)}"
    assert list(cells) == ["loss (mse)", "RMSE", "MAE", "CORR", "SAGR", "CCC", "R²", "samples"]
    assert "Means over 2 targets: valence, arousal. CORR is Pearson's" in report


def test_each_target_has_its_own_values(run: RunFolder) -> None:
    p = read_predictions(run.predictions("test"))
    values = by_hand(p)
    found = rows(run.report.read_text(), "Results by target (test)")
    for index, (name, rmse, *others, truth, predicted) in enumerate(found):
        assert name == p.target_names[index]
        assert rmse.split(" ± ")[0] == f"{values['RMSE'][index]:.3f}"
        assert others == [f"{values[metric][index]:.3f}" for metric in ("MAE", "CORR", "SAGR", "CCC", "R²")]
        assert truth == f"{p.target[:, index].mean():.3f} ± {p.target[:, index].std():.3f}"
        assert predicted == f"{p.predicted[:, index].mean():.3f} ± {p.predicted[:, index].std():.3f}"
    assert len(found) == 2


def test_before_and_after_of_each_stage_with_the_change(run: RunFolder) -> None:
    changes = rows(run.report.read_text(), "Before and after each stage")
    assert [row[:2] for row in changes] == [[stage, split] for stage in ("train", "tune") for split in ("val", "test")]
    for stage, split, rmse, _, _, ccc in changes:
        before, after = (
            by_hand(read_predictions(run.predictions(split, moment=f"{stage}-{m}"))) for m in ("before", "after")
        )
        for shown, metric in ((rmse, "RMSE"), (ccc, "CCC")):
            old, new = np.mean(before[metric]), np.mean(after[metric])
            pattern = rf"{old:.3f} → {new:.3f} \(([-+0-9.e]+)\)"
            match = re.fullmatch(pattern, shown)
            assert match, (shown, pattern)
            assert float(match[1]) == pytest.approx(new - old, abs=5e-4)


def test_errors_of_the_best_weights_stand_for_every_split(run: RunFolder) -> None:
    found = rows(run.report.read_text(), "Error of the best weights")
    assert [row[0] for row in found] == [
        "training images plain", "training images augmented", "validation", "test"
    ]  # fmt: skip
    for (_, rmse, ccc, samples), split in zip(found, ("train", "train-augmented", "val", "test"), strict=True):
        p = read_predictions(run.predictions(split))
        assert [rmse, ccc] == [f"{np.mean(by_hand(p)[metric]):.3f}" for metric in ("RMSE", "CCC")]
        assert int(samples.replace(",", "")) == len(p.target)


def test_pictures_exist_and_links_are_relative(run: RunFolder) -> None:
    links = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", run.report.read_text())
    assert {Path(link).name for link in links} == PLOTS | {"augmented.png"}
    assert {file.name for file in run.plots.iterdir()} == PLOTS
    for link in links:
        with Image.open(run.path / link) as image:
            image.load()


def test_findings_stand_in_the_report(run: RunFolder) -> None:
    report = run.report.read_text()
    assert "- Stage tune: best epoch " in report
    assert "- RMSE of the best weights, mean of 2 targets: training images plain " in report
    assert "- Overfitting: RMSE of the best weights " in report


def test_the_same_files_give_the_same_bytes(run: RunFolder) -> None:
    before = {path: path.read_bytes() for path in [run.report, *run.plots.iterdir()]}
    write_report(run)
    assert {path: path.read_bytes() for path in [run.report, *run.plots.iterdir()]} == before


def test_the_loss_is_the_configured_one(tmp_path: Path) -> None:
    loss = {"name": "huber", "delta": 0.1}
    run = fake_regression_run(tmp_path, names=("age",), samples=300, stages=("train",), loss=loss)
    p = read_predictions(run.predictions("test"))
    e = np.abs(p.predicted - p.target)
    expected = np.where(e <= 0.1, e**2 / 2, 0.1 * e - 0.005).mean()
    (shown,) = [row[2] for row in rows(write_report(run).read_text(), "Results") if row[0] == "loss (huber)"]
    assert float(shown) == pytest.approx(expected, rel=5e-3)


def test_one_target_has_no_means_and_no_plane(small: RunFolder) -> None:
    report = write_report(small).read_text()
    assert "Means over" not in report
    assert "Before and after" not in report
    assert {file.name for file in small.plots.iterdir()} == {
        "curve_loss.png", "curve_rmse.png", "curve_ccc.png", "prediction_1_age.png", "residuals_1_age.png"
    }  # fmt: skip


def plane(names: tuple[str, ...], target: list[list[float]]) -> list[Figure]:
    ids = np.array([f"s{number}" for number in range(len(target))], dtype=object)
    truth = np.array(target)
    return _plane(RegressionPredictions(ids, ids, truth, truth / 2, names), "test")


def test_the_plane_has_valence_across_whatever_the_order_and_case_of_the_targets() -> None:
    ((stem, _, size, draw, _),) = plane(("Arousal", "age", "VALENCE"), [[0.1, 30, 0.9], [0.2, 40, -1.0]])
    ax = draw(new_figure(*size, synthetic=False)[1])
    assert stem == "valence_arousal"
    np.testing.assert_array_equal(np.asarray(ax.collections[0].get_offsets()), np.array([[0.9, 0.1], [-1.0, 0.2]]))
    np.testing.assert_array_equal(np.asarray(ax.collections[1].get_offsets()), np.array([[0.45, 0.05], [-0.5, 0.1]]))


def test_there_is_no_plane_on_another_scale_or_without_both() -> None:
    assert plane(("valence", "arousal"), [[1.01, 0.0]]) == []
    assert plane(("valence", "arousal_2"), [[1.0, 0.0]]) == []


def test_synthetic_data_are_marked_in_every_figure(tmp_path: Path) -> None:
    run = fake_regression_run(tmp_path, samples=100, stages=("train",), synthetic=True)
    assert write_report(run).read_text().startswith("# SYNTHETIC SAMPLE DATA: vgg_affect")
    for plot in run.plots.iterdir():
        with Image.open(plot) as image:
            alert_pixels = (np.asarray(image.convert("RGB")) == (0xB3, 0x26, 0x1E)).all(axis=2).sum()
        assert alert_pixels > 100, plot.name


def test_without_test_the_report_shows_val_and_says_so(small: RunFolder) -> None:
    small.predictions("test").unlink()
    report = write_report(small).read_text()
    assert "There is no test split" in report
    assert "## Results by target (val)" in report
    assert "![age, residuals (val)](plots/residuals_1_age.png)" in report


def test_other_data_that_were_evaluated_stand_beside_test(small: RunFolder) -> None:
    shutil.copyfile(small.predictions("val"), small.predictions("data-hos|pital"))
    report = write_report(small).read_text()
    assert r"| metric | val | test | data-hos\|pital |" in report
    assert r"| data-hos\|pital | " in report


def test_without_predictions_it_says_what_to_run_first(small: RunFolder) -> None:
    small.predictions("val").unlink()
    small.predictions("test").unlink()
    with pytest.raises(RunFolderError, match=r"no predictions of test or val.*cvlab evaluate .*20250102-030405` first"):
        write_report(small)


def test_undefined_values_are_called_undefined_with_the_reason(small: RunFolder) -> None:
    write_table(small.predictions("test"), np.full((5, 1), 0.5), np.full((5, 1), 0.25), ("age",))
    report = write_report(small).read_text()
    cells = {row[0]: row[2] for row in rows(report, "Results")}
    assert cells["CORR"] == "undefined (the truth and the prediction are constant)"
    assert cells["R²"] == "undefined (the truth is constant)"
    assert cells["CCC"] == "0.000"
    assert "- Too few samples: 5 test samples" in report
    assert "- Sign agreement (SAGR) on test: age: the truth is never negative" in report
    assert "nan" not in report


def test_hostile_target_names_stay_text(tmp_path: Path) -> None:
    names = ("a|b <script>", "`t`", "line\nbreak", "*b* __x__", "$x$ [a](b) \\|")
    shown = [name.replace("\n", r"\n") for name in names]
    run = fake_regression_run(tmp_path, names=names, samples=60, stages=("one",))
    tokens = MarkdownIt("commonmark").enable("table").parse(write_report(run).read_text())
    cells = [
        "".join(child.content for child in tokens[place + 1].children or [])
        for place, token in enumerate(tokens)
        if token.type == "td_open"
    ]
    for name in shown:
        assert cells.count(name) == 1
    children = [child for token in tokens for child in token.children or []]
    captions = ["".join(part.content for part in child.children or []) for child in children if child.type == "image"]
    assert {f"{name}, residuals (test)" for name in shown} <= {*captions}
    assert {child.type for child in children} <= {
        "text", "text_special", "code_inline", "image", "link_open", "link_close", "strong_open", "strong_close"
    }  # fmt: skip
    assert not any(token.type == "html_block" for token in tokens)


def test_a_damaged_table_is_named(small: RunFolder) -> None:
    path = small.predictions("val")
    path.write_text(path.read_text().replace("target:age", "target"))
    with pytest.raises(RunFolderError, match=r"val.csv: row 1 \(the header\), column 3: expected 'target:'"):
        write_report(small)


def test_before_and_after_must_speak_of_the_same_samples(tmp_path: Path) -> None:
    run = fake_regression_run(tmp_path, samples=60)
    path = run.predictions("val", moment="tune-after")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(RunFolderError, match="expected the same samples and targets"):
        write_report(run)


def with_stages(run: RunFolder, tasks: dict[str, dict[str, Any]]) -> None:
    """Gives a run the stages that `tasks` names, each with its task."""
    config = yaml.safe_load(run.config.read_text())
    config["stages"] = [{"name": name, "epochs": 3, "task": task} for name, task in tasks.items()]
    write_text(run.config, yaml.safe_dump(config))
    write_text(run.history, "".join(json.dumps(line) + "\n" for line in fake_history([*tasks], epochs=3)))
    data = read_json(run.data)
    write_json(run.data, data | {"stages": [{**data["stages"][0], "stage": name} for name in tasks]})


def test_a_regression_that_follows_a_classification_speaks_of_its_own_stages(tmp_path: Path) -> None:
    run = fake_regression_run(tmp_path, samples=120, stages=("affect",))
    regression = {"name": "regression", "targets": None, "loss": {"name": "mse"}}
    with_stages(run, {"expressions": {"name": "classification"}, "affect": regression})
    target = fake_targets(40, 3, 0)
    for split in ("val", "test"):
        path = run.predictions(split, moment="expressions-after")
        write_predictions(path, target, fake_scores(target, 3, 2.0, 0), ("a", "b", "c"))
    report = write_report(run).read_text()
    assert "## Before and after each stage" not in report
    assert "- Stage affect: best epoch" in report
    assert "- Stage expressions: best epoch" not in report
    assert "macro F1" in report.split("## Stage expressions: classification")[1].split("\n## ")[0]


def test_a_regression_before_another_task_has_its_results_in_a_section(tmp_path: Path) -> None:
    run = fake_regression_run(tmp_path, samples=120, stages=("affect", "other"))
    target = fake_targets(40, 3, 0)
    for split in ("train", "train-augmented", "val", "test"):
        write_predictions(run.predictions(split), target, fake_scores(target, 3, 2.0, 0), ("a", "b", "c"))
    regression = {"name": "regression", "targets": None, "loss": {"name": "mae"}}
    with_stages(run, {"affect": regression, "other": {"name": "classification"}})
    report = write_report(run).read_text()
    heading = "Stage affect: regression"
    found = {row[0]: row[1:] for row in rows(report, heading)}
    for column, split in enumerate(("val", "test")):
        p = read_predictions(run.predictions(split, moment="affect-after"))
        assert found["RMSE"][column] == f"{np.mean(by_hand(p)['RMSE']):.3f}"
        assert found["loss (mae)"][column] == f"{np.abs(p.predicted - p.target).mean():.3f}"
    part = report.split(f"## {heading}")[1].split("\n## ")[0]
    assert "![RMSE by epoch](plots/affect_curve_rmse.png)" in part
    assert (run.plots / "affect_curve_rmse.png").is_file()


def test_report_needs_neither_tensorflow_nor_pyplot(small: RunFolder) -> None:
    assert heavy_modules(small) == []
