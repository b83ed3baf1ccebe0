from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt
from PIL import Image

from cvlab.errors import RunFolderError
from cvlab.metrics.classification import classification_metrics, classification_text, read_predictions
from cvlab.report import write_report
from cvlab.run_folder import RunFolder, read_json, write_json
from tests.report_fixture import heavy_modules, rows
from tests.run_fixture import fake_run, write_predictions

# Nearly every test draws a figure, or reads a whole run: `scripts/test fast` leaves them out.
pytestmark = pytest.mark.slow

PLOTS = {
    "confusion_counts.png",
    "confusion_rates.png",
    "curve_accuracy.png",
    "curve_loss.png",
    "f1_by_class.png",
    "precision_recall.png",
    "reliability.png",
    "roc.png",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of two stages with its report; tests only read it."""
    run = fake_run(tmp_path_factory.mktemp("runs"))
    write_report(run)
    return run


@pytest.fixture
def small(tmp_path: Path) -> RunFolder:
    """A small run of one stage and two classes, to be changed by a test."""
    return fake_run(tmp_path, names=("no", "yes"), samples=200, stages=("train",))


def edit(path: Path, **changes: Any) -> None:
    write_json(path, read_json(path) | changes)


def test_main_results_are_those_of_the_predictions(run: RunFolder) -> None:
    cells = {row[0]: row[1:] for row in rows(run.report.read_text(), "Results")}
    for column, split in enumerate(("val", "test")):
        p = read_predictions(run.predictions(split))
        confusion = np.zeros((8, 8))
        np.add.at(confusion, (p.target, p.predicted), 1)
        recall = confusion.diagonal() / confusion.sum(axis=1)
        assert cells["accuracy"][column] == f"{(p.target == p.predicted).mean():.3f}"
        assert cells["balanced accuracy"][column] == f"{recall.mean():.3f}"
        assert cells["samples"][column] == f"{len(p.target)}"
        metrics = classification_metrics(p)
        assert cells["macro F1"][column] == f"{metrics['macro_f1']['value']:.3f}"
        assert cells["Matthews correlation"][column] == f"{metrics['mcc']['value']:.3f}"
    assert len(cells) == 16


def test_classes_text_report_and_accuracies_are_those_of_the_predictions(run: RunFolder) -> None:
    report = run.report.read_text()
    p = read_predictions(run.predictions("test"))
    per_class = classification_metrics(p)["per_class"]
    by_class = rows(report, "Results by class (test)")
    assert [row[0] for row in by_class] == list(p.class_names)
    for name, precision, recall, *_, support in by_class:
        assert precision == f"{per_class[name]['precision']['value']:.3f}"
        assert recall == f"{per_class[name]['recall']['value']:.3f}"
        assert int(support) == (p.target == p.class_names.index(name)).sum()
    assert classification_text(p).rstrip() in report
    images = {row[0]: row[1] for row in rows(report, "Accuracy of the best weights")}
    for label, split in (("training images plain", "train"), ("training images augmented", "train-augmented")):
        table_of_split = read_predictions(run.predictions(split))
        assert images[label] == f"{(table_of_split.target == table_of_split.predicted).mean():.3f}"


def test_before_and_after_of_each_stage_with_the_change(run: RunFolder) -> None:
    changes = rows(run.report.read_text(), "Before and after each stage")
    assert [row[:2] for row in changes] == [[stage, split] for stage in ("train", "tune") for split in ("val", "test")]
    for stage, split, accuracy, *_ in changes:
        before, after = (
            (p.target == p.predicted).mean()
            for p in (read_predictions(run.predictions(split, moment=f"{stage}-{m}")) for m in ("before", "after"))
        )
        assert accuracy == f"{before:.3f} → {after:.3f} ({after - before:+.3f})"


def test_samples_are_counted_by_split_and_class_once_when_stages_agree(run: RunFolder) -> None:
    report = run.report.read_text()
    counts = read_json(run.data)["stages"][0]["counts"]
    cells = rows(report, "Samples")
    for name, *numbers, total in cells[:-1]:
        assert [int(value.replace(",", "")) for value in numbers] == [counts[split][name] for split in counts]
        assert int(total) == sum(counts[split][name] for split in counts)
    assert cells[-1] == ["**all**", "**1,280**", "**160**", "**160**", "**1,600**"]
    assert len(cells) == 9


def test_pictures_exist_and_links_are_relative(run: RunFolder) -> None:
    report = run.report.read_text()
    links = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", report)
    assert {Path(link).name for link in links} == PLOTS | {"augmented.png"}
    assert {file.name for file in run.plots.iterdir()} == PLOTS
    for link in links:
        with Image.open(run.path / link) as image:
            image.load()
    assert "![training images after augmentation](samples/augmented.png)" in report
    assert "predictions.png" not in report


def test_report_says_what_was_run_and_how_to_repeat_it(run: RunFolder) -> None:
    report = run.report.read_text()
    assert report.startswith("# vgg_emotion_tune 20250102-030405\n")
    assert "SYNTHETIC" not in report
    assert "LEAKAGE" not in report
    assert "| model | vggnet, 1,200,000 parameters |" in report
    assert "| data | image_folder, `/data/emotion/train` |" in report
    assert "| data of stage tune | image_folder, `/data/emotion/tune`, `/data/more` |" in report
    assert "| python | 3.11.7 |\n| cvlab | 0.1.0 |" in report
    assert "| command | `cvlab train configs/vgg_emotion_tune.yaml` |" in report
    assert "- Stage train, tune: 1,600 images in 540 groups\n" in report
    assert "| samples | 1,280 train, 160 val, 160 test (540 groups) |" in report
    assert "| top 2 accuracy | " in report
    assert "| training time | 5 min 50 s, 28 epochs |" in report
    assert "| seed | 42, deterministic |" in report
    assert "`0123abc`, with changes that are not committed" in report
    assert f"```yaml\n{run.config.read_text().rstrip()}\n```" in report
    assert f"cvlab train {run.path}/config.yaml" in report
    assert "- Stage train: WARNING: class contempt has 9 samples" in report
    assert "- Overfitting: " in report
    assert "| conv_1 | Conv2D | 64 x 64 x 32 | trained | 896 |" in report


def test_the_same_files_give_the_same_bytes(run: RunFolder, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in [run.report, run.report_page, *run.plots.iterdir()]}
    write_report(run)
    assert {path: path.read_bytes() for path in before} == before


def test_what_must_not_be_overlooked_stands_first(small: RunFolder) -> None:
    edit(small.data, synthetic=True, allow_leakage=True, leaks=["group <b>x</b>\nin train and val", "image 2"])
    edit(small.status, status="failed", reason="the loss is no number")
    title, note, red, state, *_ = write_report(small).read_text().split("\n\n")
    assert title == "# SYNTHETIC SAMPLE DATA: vgg_emotion_tune 20250102-030405"
    assert note.startswith("> **SYNTHETIC SAMPLE DATA.** ")
    assert "say nothing about real images" in note
    assert red.startswith('<p style="color:red"><b>LEAKAGE (data.allow_leakage is on): 2 findings;')
    assert "<li>group &lt;b&gt;x&lt;/b&gt;\\nin train and val</li>\n<li>image 2</li>" in red
    assert state.startswith("> **This run is not complete: failed (the loss is no number). Its numbers are those of")
    for plot in small.plots.iterdir():
        with Image.open(plot) as image:
            alert_pixels = (np.asarray(image.convert("RGB")) == (0xB3, 0x26, 0x1E)).all(axis=2).sum()
        assert alert_pixels > 100, plot.name


def test_without_test_the_report_shows_val_and_says_so(small: RunFolder) -> None:
    small.predictions("test").unlink()
    report = write_report(small).read_text()
    assert "There is no test split" in report
    assert "## Results by class (val)" in report
    assert "![ROC curves (val)](plots/roc.png)" in report


def test_the_speed_of_a_head_on_features_that_were_computed_once_is_named_as_such(small: RunFolder) -> None:
    small.history.write_text(small.history.read_text().replace("}\n", ', "features": "computed once"}\n'))
    assert {row[6] for row in rows(write_report(small).read_text(), "Training")} == {"106 (head alone)"}


def test_other_data_that_were_evaluated_stand_beside_test(small: RunFolder) -> None:
    small.predictions("val").unlink()
    small.history.unlink()
    shutil.rmtree(small.pictures)
    path = small.predictions("data-hos|pital")
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0, 1]])
    write_predictions(path, np.array([0, 1, 1, 1]), scores, ("no", "yes"))
    report = write_report(small).read_text()
    assert r"| metric | test | data-hos\|pital |" in report
    assert {row[0]: row[2] for row in rows(report, "Results")}["accuracy"] == "0.750"
    assert r"| data-hos\|pital | 0.750 |" in report
    assert "There is no test split" not in report
    assert "curve_loss" not in report
    assert "samples/" not in report
    assert "| training time | 0 s, 0 epochs |" in report


def test_without_predictions_it_says_what_to_run_first(small: RunFolder) -> None:
    small.predictions("val").unlink()
    small.predictions("test").unlink()
    with pytest.raises(RunFolderError, match=r"no predictions of test or val.*cvlab evaluate .*20250102-030405` first"):
        write_report(small)
    assert not small.report.exists()


def test_undefined_values_are_called_undefined_with_the_reason(small: RunFolder) -> None:
    scores = np.tile([0.9, 0.1], (4, 1))
    write_predictions(small.predictions("test"), np.zeros(4, dtype=np.int64), scores, ("no", "yes"))
    report = write_report(small).read_text()
    cells = {row[0]: row[2] for row in rows(report, "Results")}
    assert cells["Matthews correlation"] == "undefined (every sample is of one class)"
    assert cells["macro ROC AUC"] == "undefined (not defined for any class)"
    assert "- test, macro precision: precision is undefined for yes and counts as 0." in report
    by_class = rows(report, "Results by class (test)")
    assert by_class[1][:3] == ["yes", "undefined (never predicted)", "undefined (no sample is of this class)"]
    assert "nan" not in report


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    names = ("a|b", "<script>", "`tick`", "line\nbreak", "*bold* __x__", "$x$ &amp;", "[a](b)", "\\|")
    shown = [*names[:3], r"line\nbreak", *names[4:]]
    run = fake_run(tmp_path, names=names, samples=120, stages=("one", "two|<b>"), synthetic=True)
    data = read_json(run.data)
    data["stages"][1]["counts"]["train"]["a|b"] += 1
    write_json(run.data, data)
    tokens = MarkdownIt("commonmark").enable("table").parse(write_report(run).read_text())
    cells = [
        "".join(child.content for child in tokens[place + 1].children or [])
        for place, token in enumerate(tokens)
        if token.type == "td_open"
    ]
    for name in shown:
        assert cells.count(name) == 3, "a table of samples for each stage, as they differ, and the results by class"
    assert cells.count("two|<b>") == 4
    kinds = {child.type for token in tokens for child in token.children or []}
    assert kinds <= {
        "text",
        "text_special",
        "code_inline",
        "image",
        "link_open",
        "link_close",
        "strong_open",
        "strong_close",
    }
    assert not any(token.type == "html_block" for token in tokens)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data.json", "{", "expected JSON"),
        ("data.json", "[]", "expected keys with values, received []"),
        ("metrics.jsonl", '{"stage": "train", "epoch": 1}\n{"sta', "line 2: is damaged"),
        ("metrics.jsonl", "3\n", "line 1: is damaged: expected keys with values, received 3"),
        ("config.yaml", "a: [", "cannot be read as YAML"),
        ("config.yaml", "- a\n", "expected a mapping"),
        ("config.yaml", "task: {name: clasification}\n", "received 'clasification'; did you mean 'classification'?"),
        (
            "config.yaml",
            "name: x\n",
            "task.name: expected one of 'classification', 'regression', 'segmentation', received None",
        ),
    ],
)
def test_damaged_files_are_named(small: RunFolder, name: str, content: str, message: str) -> None:
    (small.path / name).write_text(content)
    with pytest.raises(RunFolderError) as caught:
        write_report(small)
    assert str(caught.value).startswith(f"{small.path / name}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["data.json", "model.json", "environment.json"])
def test_missing_files_are_named(small: RunFolder, name: str) -> None:
    (small.path / name).unlink()
    with pytest.raises(RunFolderError, match=f"{name}: cannot be read"):
        write_report(small)


def test_before_and_after_must_speak_of_the_same_samples(tmp_path: Path) -> None:
    run = fake_run(tmp_path, names=("no", "yes"), samples=60)
    path = run.predictions("val", moment="tune-after")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    with pytest.raises(RunFolderError, match="expected the same samples and classes"):
        write_report(run)


def test_report_needs_neither_tensorflow_nor_pyplot(small: RunFolder) -> None:
    assert heavy_modules(small) == []


def test_the_configuration_in_the_report_reads_back(run: RunFolder) -> None:
    yaml_block = run.report.read_text().split("```yaml\n")[1].split("\n```")[0]
    assert yaml.safe_load(yaml_block) == yaml.safe_load(run.config.read_text())
