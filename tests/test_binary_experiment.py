"""A whole experiment on two classes: the operating point comes from validation and from nothing else."""

from __future__ import annotations

import csv
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as sk
from PIL import Image

from cvlab.config import EvaluateConfig
from cvlab.data.samples import SampleTable, new_table, read_samples, samples_csv
from cvlab.data.source import Labels
from cvlab.data.synthetic import emotion
from cvlab.errors import ConfigError, DataError
from cvlab.experiment import evaluate
from cvlab.metrics.temperature import fit_temperature, with_temperature
from cvlab.run_folder import RunFolder, read_json
from cvlab.tasks import classification, regression
from tests.experiment_fixture import write_toy
from tests.test_experiment import request, run_toy

TWO_CLASSES = ("task.output=sigmoid", "data.classes=[happy, anger]", "stages.0.epochs=1")
SPLIT = "data.split={train: 0.4, val: 0.3, test: 0.3}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of two classes. Tests that change it work on a copy."""
    folder = tmp_path_factory.mktemp("binary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CVLAB_CACHE_DIR", str(folder / "cache"))
        config = write_toy(folder, identities=20)
        return run_toy(config, *TWO_CLASSES, SPLIT, "evaluate.threshold=youden", parent=folder / "runs")


@pytest.fixture
def run(finished: RunFolder, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(finished.path, tmp_path / "copy")))


def truth_and_score(run: RunFolder, split: str) -> tuple[np.ndarray, np.ndarray]:
    with run.predictions(split).open(newline="") as file:
        rows = list(csv.DictReader(file))
    return np.array([row["target"] == "anger" for row in rows]), np.array([float(row["score:anger"]) for row in rows])


def edit_config(run: RunFolder, old: str, new: str) -> None:
    text = run.config.read_text()
    assert old in text
    run.config.write_text(text.replace(old, new))


@pytest.mark.tensorflow
def test_the_operating_point_is_that_of_validation_and_metrics_are_judged_by_it(finished: RunFolder) -> None:
    point = read_json(finished.operating_point)
    truth, score = truth_and_score(finished, "val")
    false_rate, true_rate, thresholds = sk.roc_curve(truth, score, drop_intermediate=False)
    assert point["threshold"] == thresholds[1:][np.argmax((true_rate - false_rate)[1:].round(12))]
    assert (point["positive_class"], point["rule"], point["split"]) == ("anger", "youden", "val")
    metrics = read_json(finished.metrics)
    assert {name: cell["value"] for name, cell in point["values"].items()} == {
        name: cell["value"] for name, cell in metrics["val"]["binary"].items()
    }
    for split in ("train", "train-augmented", "val", "test"):
        truth, score = truth_and_score(finished, split)
        called = score >= point["threshold"]
        expected = {
            "sensitivity": sk.recall_score(truth, called),
            "specificity": sk.recall_score(~truth, ~called),
            "balanced_accuracy": sk.balanced_accuracy_score(truth, called),
            "f1": sk.f1_score(truth, called),
            "roc_auc": sk.roc_auc_score(truth, score),
            "average_precision": sk.average_precision_score(truth, score),
        }
        for name, value in expected.items():
            assert metrics[split]["binary"][name]["value"] == pytest.approx(value, abs=1e-9), (split, name)


@pytest.mark.tensorflow
def test_other_labels_of_test_change_its_figures_and_not_the_threshold(run: RunFolder, finished: RunFolder) -> None:
    table = read_samples(run.samples)
    labels = table.targets["class"].copy()
    other = (table.split == "test") & (labels == "happy")
    other[np.flatnonzero(other)[::2]] = False
    labels[other] = "anger"
    run.samples.write_text(samples_csv(dataclasses.replace(table, targets={"class": labels})))
    evaluate(run, request(), split=None, folder=None)
    assert run.operating_point.read_bytes() == finished.operating_point.read_bytes()
    before, after = (read_json(one.metrics) for one in (finished, run))
    assert before["val"] == after["val"]
    assert before["test"]["binary"]["tp"] != after["test"]["binary"]["tp"] or (
        before["test"]["binary"]["fn"] != after["test"]["binary"]["fn"]
    )


@pytest.mark.tensorflow
def test_evaluating_test_alone_keeps_the_stored_point(run: RunFolder) -> None:
    text = run.operating_point.read_text()
    point = read_json(run.operating_point)
    run.operating_point.write_text(text.replace(f'"threshold": {point["threshold"]!r}', '"threshold": 0.25'))
    evaluate(run, request(), split="test", folder=None)
    truth, score = truth_and_score(run, "test")
    assert read_json(run.operating_point)["threshold"] == 0.25
    assert read_json(run.metrics)["test"]["binary"]["tp"]["value"] == int((score[truth] >= 0.25).sum())
    evaluate(run, request(), split="val", folder=None)
    assert run.operating_point.read_text() == text
    shutil.rmtree(run.predictions("test").parent)
    evaluate(run, request(), split="test", folder=None)
    assert run.operating_point.read_text() == text
    assert run.predictions("val").is_file()


@pytest.mark.tensorflow
def test_another_rule_is_applied_to_the_stored_validation(run: RunFolder, tmp_path: Path) -> None:
    edit_config(run, "threshold: youden", "threshold: 0.125")
    folder = tmp_path / "others"
    emotion.write(folder, identities=3, images_per_identity=8, image_size=32, domain=1)
    for unknown in folder.iterdir():
        if unknown.is_dir() and unknown.name not in ("happy", "anger"):
            shutil.rmtree(unknown)
    evaluate(run, request(), split=None, folder=folder)
    assert read_json(run.operating_point)["threshold"] == 0.125
    (name,) = [name for name in read_json(run.metrics) if name.startswith("data-")]
    truth, score = truth_and_score(run, name)
    binary = read_json(run.metrics)[name]["binary"]
    assert binary["tp"]["value"] == int((truth & (score >= 0.125)).sum())


@pytest.mark.tensorflow
def test_other_data_with_near_duplicates_of_training_images_are_refused(run: RunFolder, tmp_path: Path) -> None:
    table = read_samples(run.samples)
    for label in ("happy", "anger"):
        chosen = table.take((table.split == "train") & (table.targets["class"] == label))
        (tmp_path / "copies" / label).mkdir(parents=True)
        for number, path in enumerate(chosen.path[:4]):
            darker = np.asarray(Image.open(path).convert("RGB")).astype(np.float64) * 0.95
            Image.fromarray(darker.astype(np.uint8)).save(tmp_path / "copies" / label / f"new_person{number}_1.png")
    with pytest.raises(DataError, match="near-duplicate stands in train of stage 'train'"):
        evaluate(run, request(), split=None, folder=tmp_path / "copies")


@pytest.mark.tensorflow
def test_pictures_beside_heat_maps_and_the_report(finished: RunFolder) -> None:
    names = {path.name for path in finished.pictures.iterdir()}
    assert names == {
        "augmented.png",
        "predictions.png",
        "confident_right.png",
        "confident_wrong.png",
        "near_threshold.png",
        "heat_maps.json",
    }
    where = read_json(finished.heat_maps)
    assert (where["size"], where["explains"], where["split"]) == ([2, 2], "logit", "test")
    with Image.open(finished.pictures / "near_threshold.png") as picture:
        assert picture.width > 1500
    report = finished.report.read_text()
    for heading in ("At the operating point", "Over thresholds (test)", "Predictions to look at"):
        assert f"\n## {heading}\n" in report
    assert "![Predictions nearest the threshold](samples/near_threshold.png)" in report


@pytest.mark.tensorflow
def test_a_misspelt_positive_class_stops_before_anything_is_predicted(run: RunFolder) -> None:
    edit_config(run, "positive_class: null", "positive_class: angr")
    shutil.rmtree(run.predictions("test").parent)
    expected = r"evaluate\.positive_class: expected one of 'happy', 'anger', received 'angr'; did you mean 'anger'\?"
    with pytest.raises(ConfigError, match=expected):
        evaluate(run, request(), split=None, folder=None)
    assert not run.predictions("train").exists()


@pytest.mark.tensorflow
def test_a_temperature_is_fitted_on_validation_stored_and_applied(run: RunFolder, finished: RunFolder) -> None:
    before = {split: run.predictions(split).read_bytes() for split in ("train", "val", "test")}
    assert "temperature" not in read_json(run.operating_point)
    edit_config(run, "temperature: false", "temperature: true")
    evaluate(run, request(), split="test", folder=None)
    assert {split: run.predictions(split).read_bytes() for split in before} == before
    point = read_json(run.operating_point)
    assert {name: value for name, value in point.items() if name != "temperature"} == read_json(
        finished.operating_point
    )
    positive, score = truth_and_score(run, "val")
    expected = fit_temperature(positive.astype(np.int64), np.column_stack([1 - score, score]))
    assert point["temperature"]["value"] == pytest.approx(expected.value, abs=1e-6)
    metrics = read_json(run.metrics)
    for split in before:
        cells = metrics[split]["calibrated"]
        positive, score = truth_and_score(run, split)
        after = with_temperature(np.column_stack([1 - score, score]), point["temperature"]["value"])[:, 1]
        assert cells["brier"]["value"] == pytest.approx(sk.brier_score_loss(positive, after), abs=1e-6)
        assert ("low" in cells["brier"] or "no_interval" in cells["brier"]) == (split != "train")
    stored = run.operating_point.read_text()
    run.operating_point.write_text(stored.replace(f'"value": {point["temperature"]["value"]!r}', '"value": 2.5'))
    evaluate(run, request(), split="test", folder=None)
    assert read_json(run.operating_point)["temperature"]["value"] == 2.5
    edit_config(run, "temperature: true", "temperature: false")
    evaluate(run, request(), split="test", folder=None)
    assert run.operating_point.read_bytes() == finished.operating_point.read_bytes()
    assert "calibrated" not in read_json(run.metrics)["test"]


@pytest.mark.tensorflow
def test_a_rule_that_cannot_be_met_says_how_to_go_on(run: RunFolder) -> None:
    _, score = truth_and_score(run, "val")
    table = read_samples(run.samples)
    labels = table.targets["class"].copy()
    # The highest score of validation belongs to a negative: no threshold calls all negatives negative.
    labels[np.flatnonzero(table.split == "val")[score.argmax()]] = "happy"
    run.samples.write_text(samples_csv(dataclasses.replace(table, targets={"class": labels})))
    edit_config(run, "threshold: youden", "threshold: {specificity: 1.0}")
    advice = (
        r"\{specificity: 1\.0\} cannot be reached on validation.*change evaluate\.threshold in config\.yaml of the run"
    )
    with pytest.raises(DataError, match=advice):
        evaluate(run, request(), split=None, folder=None)
    edit_config(run, "specificity: 1.0", "specificity: 0.5")
    evaluate(run, request(), split=None, folder=None)
    assert read_json(run.operating_point)["values"]["specificity"]["value"] >= 0.5


def table_of(val: list[str]) -> SampleTable:
    names = ["happy", "anger", "happy", *val]
    paths = [Path(f"/x/{i}.png") for i in range(len(names))]
    splits = ["train"] * 3 + ["val"] * len(val)
    return new_table(
        [f"x/{i}" for i in range(len(names))], paths, [p.name for p in paths], {"class": names}, split=splits
    )


def test_a_class_that_validation_lacks_is_refused_before_training() -> None:
    task = classification.build(classification.Config(), Labels(("happy", "anger")))
    with pytest.raises(
        DataError, match=r"youden chooses the threshold on validation, which has 0 samples of 'anger' and 2"
    ):
        task.check_evaluation(EvaluateConfig(threshold="youden"), table_of(["happy", "happy"]))
    task.check_evaluation(EvaluateConfig(threshold="youden"), table_of(["happy", "anger"]))
    task.check_evaluation(EvaluateConfig(), table_of(["happy", "happy"]))
    with pytest.raises(DataError, match=r"evaluate\.temperature: .* two classes or more, found happy only"):
        task.check_evaluation(EvaluateConfig(temperature=True), table_of(["happy", "happy"]))
    task.check_evaluation(EvaluateConfig(temperature=True), table_of(["happy", "anger"]))
    with pytest.raises(ConfigError, match="did you mean 'anger'"):
        task.check_evaluation(EvaluateConfig(positive_class="ange"), table_of(["happy", "anger"]))


def test_numbers_have_no_positive_class() -> None:
    task = regression.build(regression.Config(), Labels(numbers=("x",)))
    task.check_evaluation(EvaluateConfig(), table_of([]))
    with pytest.raises(
        ConfigError, match=r"evaluate\.positive_class: regression has no classes; leave it out"
    ) as caught:
        task.check_evaluation(EvaluateConfig(positive_class="x", threshold=0.3, temperature=True), table_of([]))
    assert len(caught.value.problems) == 3


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (["evaluate.positive_class=angr"], ConfigError, r"evaluate\.positive_class: .*did you mean 'anger'"),
        (
            ["data.classes=[happy, anger, sad]", "task.output=softmax", "evaluate.threshold=f1"],
            ConfigError,
            "3 classes",
        ),
    ],
)
def test_training_does_not_start_with_what_evaluation_would_refuse(
    tmp_path: Path, settings: list[str], error: type[Exception], message: str
) -> None:
    config = write_toy(tmp_path, identities=5)
    with pytest.raises(error, match=message):
        run_toy(config, *TWO_CLASSES, *settings, parent=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
