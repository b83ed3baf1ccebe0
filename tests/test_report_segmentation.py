from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import f1_score, jaccard_score

from cvlab.document import Block, Picture, Pictures, block_markdown
from cvlab.errors import RunFolderError
from cvlab.metrics.segmentation import MaskCounter, choose, predictions_csv, read_predictions, segmentation_metrics
from cvlab.reading_segmentation import read_curves
from cvlab.report_expected import expected_section
from cvlab.report_record import TaskReport, read_record
from cvlab.report_segmentation import build, stage_results
from cvlab.run_folder import RunFolder, read_json, write_json
from tests.report_fixture import heavy_modules
from tests.segmentation_run_fixture import FIRST, PATIENTS, SKILLS, fake_segmentation_run, fake_volume, write_table

# Nearly every test draws a figure, or reads a whole run: `scripts/test fast` leaves them out.
pytestmark = pytest.mark.slow

PLOTS = {
    "curve_loss.png",
    "curve_dice.png",
    "curve_iou.png",
    "curve_accuracy.png",
    "dice_histogram.png",
    "dice_by_group.png",
    "dice_over_thresholds.png",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of two stages; tests only read it."""
    return fake_segmentation_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def report(run: RunFolder) -> TaskReport:
    return build(read_record(run))


@pytest.fixture
def small(tmp_path: Path) -> RunFolder:
    """A run of one stage without figures of epochs, to be changed by a test."""
    run = fake_segmentation_run(tmp_path, stages=("train",))
    run.history.write_text("")
    return run


def markdown(blocks: list[Block]) -> list[str]:
    return [*map(block_markdown, blocks)]


def pictures(report: TaskReport) -> list[Picture]:
    blocks = [block for blocks in report.sections.values() for block in blocks if isinstance(block, Pictures)]
    return [*report.curves, *(picture for block in blocks for picture in block.pictures)]


def cells(blocks: list[Block]) -> dict[str, list[str]]:
    """The rows of all tables by their first cell."""
    lines = [
        line for block in markdown(blocks) for line in block.splitlines() if line.startswith("| ") and "---" not in line
    ]
    split = [[cell.strip(" *") for cell in line.strip("|").split(" | ")] for line in lines]
    return {row[0]: row[1:] for row in split}


def by_hand(split: str, threshold: float) -> dict[str, str]:
    """Every mean, from the masks by scikit-learn."""
    patients = range(FIRST[split], FIRST[split] + PATIENTS[split])
    volumes = [fake_volume(patient, 9, SKILLS[split]) for patient in patients]
    truth = np.concatenate([t for _, t in volumes])
    called = np.concatenate([p.astype(np.float64) >= threshold for p, _ in volumes]).astype(np.uint8)
    shown: dict[str, float] = {}
    for label, score in (("Dice", f1_score), ("IoU", jaccard_score)):
        images: list[float] = [
            score(t.ravel(), c.ravel(), zero_division=1.0) for t, c in zip(truth, called, strict=True)
        ]
        groups = [
            score(truth[start : start + 9].ravel(), called[start : start + 9].ravel())
            for start in range(0, len(truth), 9)
        ]
        shown |= {
            f"{label}, mean over all images": float(np.mean(images)),
            f"{label}, mean over images with tumour": float(np.mean(np.array(images)[truth.any(axis=(1, 2))])),
            f"{label}, pooled over all pixels": score(truth.ravel(), called.ravel()),
            f"{label}, by group, mean of the volumes": float(np.mean(groups)),
            f"{label}, by group, median of the volumes": float(np.median(groups)),
        }
    return {name: f"{value:.3f}" for name, value in shown.items()}


def test_results_are_those_of_the_masks(run: RunFolder, report: TaskReport) -> None:
    threshold = read_json(run.operating_point)["threshold"]
    found = cells(report.sections["Results"])
    for column, split in enumerate(("val", "test")):
        for name, value in by_hand(split, threshold).items():
            assert found[name][column] == value, name
    assert found["metric"] == ["val", "test", "predicting nothing (test)"]
    assert found["Dice, mean over images with tumour"][2] == "0.000"
    assert found["precision (pooled)"][2] == "undefined"
    assert re.fullmatch(r"0\.\d{4}", found["pixel accuracy"][0])
    assert found["images"] == ["36", "45", "45"]
    assert "two empty masks count as 1, and one empty mask as 0" in "".join(markdown(report.sections["Results"]))


def test_the_threshold_is_the_chosen_one_and_stands_out(run: RunFolder, report: TaskReport) -> None:
    point = read_json(run.operating_point)
    (said,) = markdown(report.sections["Mask threshold"])
    assert f"at least **{point['threshold']:g}**" in said
    rule = f"by the rule `dice` (the largest Dice pooled over all pixels, {point['dice_pooled']:.3f} there)"
    assert f"chosen on 36 images of **val** {rule}" in said
    table, picture = markdown(report.sections["Over thresholds (test)"])
    assert picture == "![Dice over thresholds (test)](plots/dice_over_thresholds.png)"
    bold = [line for line in table.splitlines() if line.startswith("| **")]
    assert len(bold) == 1
    assert bold[0].startswith(f"| **{point['threshold']:.2f}** |")
    values = by_hand("test", point["threshold"])
    assert bold[0].split(" | ")[1] == f"**{values['Dice, pooled over all pixels']}**"
    assert len(table.splitlines()) == 2 + 19


def test_each_group_is_a_volume_and_the_worst_stands_first(run: RunFolder, report: TaskReport) -> None:
    found = cells(report.sections["Results by group (test)"])
    p = read_predictions(run.predictions("test"))
    sums: dict[str, Any] = defaultdict(lambda: np.zeros(4, dtype=int))
    for name, *counts in zip(p.group, *vars(p.counts).values(), strict=True):
        sums[name] += counts
    scores = []
    for name, (tp, fp, fn, _) in sums.items():
        dice, iou = 2 * tp / (2 * tp + fp + fn), tp / (tp + fp + fn)
        assert found[name] == ["9", "5", f"{tp + fn:,}", f"{tp + fp:,}", f"{dice:.3f}", f"{iou:.3f}"]
        scores.append((dice, name))
    assert [*found][1:] == [name for _, name in sorted(scores)]


def test_before_and_after_are_compared_at_one_threshold(run: RunFolder, report: TaskReport) -> None:
    head, table = markdown(report.sections["Before and after each stage"])
    assert head == "All of these at threshold 0.50."
    rows = [line.split(" | ") for line in table.splitlines()[2:]]
    assert [(row[0].strip("| "), row[1]) for row in rows] == [
        (stage, split) for stage in ("train", "tune") for split in ("val", "test")
    ]
    for stage, split, pooled, *_ in rows:
        values = [
            float(p.at(9).pooled().dice()[0])
            for moment in ("before", "after")
            for p in [read_predictions(run.predictions(split, moment=f"{stage.strip('| ')}-{moment}"))]
        ]
        assert pooled == f"{values[0]:.3f} → {values[1]:.3f} ({values[1] - values[0]:+.3f})"


def test_figures_are_drawn_and_listed(run: RunFolder, report: TaskReport) -> None:
    assert {Path(picture.path).name for picture in pictures(report)} == PLOTS
    for picture in pictures(report):
        with Image.open(run.path / picture.path) as image:
            image.load()


def test_findings_say_which_mean_is_which(report: TaskReport) -> None:
    results = cells(report.sections["Results"])
    (which,) = [finding for finding in report.findings if finding.startswith("Which mean is which (test)")]
    empty, right = 45 - 25, int(results["images without one: both masks are empty"][1])
    over_all = f"over all 45 images {results['Dice, mean over all images'][1]}"
    assert f"{over_all} counts {right} of the {empty} images without tumour as 1" in which
    assert f"and {empty - right} as 0 (predicting nothing at all would reach 0.444)" in which
    assert f"over the 25 images with tumour it is {results['Dice, mean over images with tumour'][1]}" in which
    assert f"each of 5 groups as one volume, mean {results['Dice, by group, mean of the volumes'][1]}" in which
    assert any(finding.startswith("Stage tune: best epoch") and "val_dice" in finding for finding in report.findings)
    assert any(finding.startswith("Too few groups: 5 groups in test (mean Dice") for finding in report.findings)
    assert not any(
        finding.startswith(("Known groups", "Biased", "Nothing", "Not better")) for finding in report.findings
    )


def metrics_of(path: Path, patients: list[int], skill: float, *, change: Any = None) -> dict[str, Any]:
    write_table(path, patients, skill)
    p = read_predictions(path)
    return segmentation_metrics(change(p) if change else p)


def findings(metrics: dict[str, Any], start: str) -> list[str]:
    return [text for text in read_curves([], metrics, structure="tumour") if text.startswith(start)]


def test_findings_on_leaking_groups_overfitting_and_nothing_predicted(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    train = metrics_of(path, [*range(12)], 0.95)
    val = metrics_of(path, [*range(2, 14)], 0.3)
    (known,) = findings({"train": train, "test": val}, "Known groups")
    assert "90 of 108 test images belong to groups whose other images were trained on (10 of 12 groups)" in known
    assert findings({"train": train, "val": val}, "Overfitting")
    assert not findings({"train": val, "val": train}, "Overfitting")
    assert findings({"train": val, "train-augmented": train, "val": val}, "Biased augmentation")
    write_table(path, [1, 2], 0.9, threshold=1.0)
    (nothing,) = findings({"val": segmentation_metrics(read_predictions(path))}, "Nothing predicted")
    assert "no pixel of validation is called tumour" in nothing
    write_table(path, [1, 2], 0.9, threshold=0.0)
    everything = segmentation_metrics(read_predictions(path))
    assert findings({"val": everything}, "Not better than nothing")
    (detection,) = findings({"val": everything}, "Detection by image")
    assert "something is predicted in 10 of 10 images with tumour; false alarms in 8 of 8 images without" in detection


def test_without_test_the_report_shows_val_and_says_so(small: RunFolder) -> None:
    small.predictions("test").unlink()
    report = build(read_record(small))
    assert markdown(report.sections["Results"])[0].startswith("There is no test split")
    assert "Results by group (val)" in report.sections
    assert "Before and after each stage" not in {name for name, blocks in report.sections.items() if blocks}
    assert {Path(picture.path).name for picture in pictures(report)} == {name for name in PLOTS if "curve" not in name}


def test_without_predictions_it_says_what_to_run_first(small: RunFolder) -> None:
    small.predictions("val").unlink()
    small.predictions("test").unlink()
    with pytest.raises(RunFolderError, match=r"no predictions of test or val.*cvlab evaluate .*20250102-030405` first"):
        build(read_record(small))


def test_a_table_counted_at_another_threshold_is_refused(small: RunFolder) -> None:
    write_table(small.predictions("test"), range(200, 205), 0.7, threshold=0.9)
    with pytest.raises(RunFolderError, match=r"test\.csv: was not counted at the threshold of operating_point\.json"):
        build(read_record(small))


def test_other_images_than_the_threshold_was_chosen_on_are_refused(small: RunFolder) -> None:
    threshold = read_json(small.operating_point)["threshold"]
    write_table(small.predictions("val"), range(100, 102), 0.75, threshold=threshold)
    with pytest.raises(RunFolderError, match=r"val\.csv: .* or holds other images"):
        build(read_record(small))


def test_a_given_threshold_off_the_grid_and_none_at_all(small: RunFolder) -> None:
    for split in SKILLS:
        first = FIRST[split.removesuffix("-augmented")]
        write_table(small.predictions(split), range(first, first + 3), 0.8, threshold=0.42)
    write_json(small.operating_point, choose(read_predictions(small.predictions("val")), 0.42).to_json())
    report = build(read_record(small))
    assert "at least **0.42**. The configuration gives this threshold" in markdown(report.sections["Mask threshold"])[0]
    assert "**" not in markdown(report.sections["Over thresholds (test)"])[0]
    small.operating_point.unlink()
    report = build(read_record(small))
    assert "There is no threshold yet; `cvlab evaluate" in markdown(report.sections["Mask threshold"])[0]
    assert not any("over thresholds" in picture.caption for picture in pictures(report))


def test_images_that_are_groups_of_their_own_have_no_volumes(small: RunFolder) -> None:
    for split in SKILLS:
        path = small.predictions(split)
        lines = [line.split(",") for line in path.read_text().splitlines()]
        lines[1:] = [[row[0], row[0], *row[2:]] for row in lines[1:]]
        path.write_text("".join(",".join(row) + "\n" for row in lines))
    report = build(read_record(small))
    assert markdown(report.sections["Results by group (test)"]) == [
        "Every image is the only one of its group: there are no volumes."
    ]
    assert not any("by group" in picture.caption for picture in pictures(report))
    # Their means are those over all images: no sentence and no table calls them those of volumes.
    (which,) = [finding for finding in report.findings if finding.startswith("Which mean is which")]
    assert "volume" not in which
    assert "volume" not in "\n".join(markdown(report.sections["Results"] + report.sections["Dice of the best weights"]))


def test_groups_are_called_what_the_source_calls_them(small: RunFolder) -> None:
    data = read_json(small.data)
    data["stages"][0]["group_name"] = "patient"
    write_json(small.data, data)
    report = build(read_record(small))
    assert "| Dice, by patient, mean of the volumes |" in "\n".join(markdown(report.sections["Results"]))
    assert "| patients | 4 | 5 | 5 |" in "\n".join(markdown(report.sections["Results"]))
    assert "| patient | images |" in "\n".join(markdown(report.sections["Results by patient (test)"]))
    assert any(picture.caption == "Dice by patient (test)" for picture in pictures(report))
    assert any("by patient, each of 5 patients as one volume" in finding for finding in report.findings)
    assert any(finding.startswith("Too few patients: 5 patients in test") for finding in report.findings)
    words = [*report.findings, *(text for blocks in report.sections.values() for text in markdown(blocks))]
    named = [text.replace(str(small.path), "").replace("dice_by_group", "") for text in words]
    assert [text for text in named if "group" in text] == []


def test_published_figures_of_volumes_have_the_names_of_the_data(small: RunFolder) -> None:
    data = read_json(small.data)
    data["stages"][0]["group_name"] = "patient"
    write_json(small.data, data)
    metrics = ("dice_group_mean", "image_sensitivity")
    figures = "".join(f"  - {{metric: test.{name}, value: 0.836, source: Buda}}\n" for name in metrics)
    small.config.write_text(f"{small.config.read_text()}\nexpected:\n{figures}")
    found = segmentation_metrics(read_predictions(small.predictions("test")))
    write_json(small.metrics, {"test": {name: {"value": found[name]["value"]} for name in metrics}})
    table = markdown(expected_section(read_record(small)))[0]
    assert "| test: Dice, by patient, mean of the volumes | Buda |" in table
    assert "| test: images with tumour where anything is predicted (sensitivity) | Buda |" in table


def test_volumes_without_any_true_pixel_are_named(small: RunFolder, report: TaskReport) -> None:
    assert not any("without any true pixel" in text for text in markdown(report.sections["Results"]))
    counter = MaskCounter(read_json(small.operating_point)["threshold"])
    for patient in ("A", "B"):
        truth = np.zeros((2, 4, 4))
        truth[:, 0] = patient == "A"
        counter.add([f"{patient}{number}" for number in range(2)], [patient] * 2, truth, truth)
    small.predictions("test").write_text(predictions_csv(counter.predictions()))
    said = markdown(build(read_record(small)).sections["Results"])[-2]
    assert said.startswith("- test: 1 group without any true pixel; such a volume counts as 1")


def test_an_earlier_stage_has_its_results_and_curves(run: RunFolder) -> None:
    blocks = stage_results(read_record(run), "train")
    found = cells(blocks)
    p = read_predictions(run.predictions("test", moment="train-after"))
    assert found["Dice, pooled over all pixels"][1] == f"{float(p.counts.pooled().dice()[0]):.3f}"
    assert "![Dice by epoch](plots/train_curve_dice.png)" in "\n".join(markdown(blocks))
    assert (run.plots / "train_curve_dice.png").is_file()


def test_the_structure_is_named_as_it_is(tmp_path: Path) -> None:
    run = fake_segmentation_run(tmp_path, stages=("train",), structure="a|b_*c*")
    run.history.write_text("")
    report = build(read_record(run))
    assert r"images with a\|b\_\*c\*" in markdown(report.sections["Results"])[0]
    assert any(r"Dice of images with a\|b" in picture.caption for picture in pictures(report))


def test_report_needs_neither_tensorflow_nor_pyplot(small: RunFolder) -> None:
    assert heavy_modules(small, "cvlab.report_segmentation.build(cvlab.report_record.read_record(run))") == []
