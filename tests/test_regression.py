"""The task: settings, what it needs of the data, and what it makes of outputs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvlab.config import EvaluateConfig
from cvlab.config_file import load_experiment
from cvlab.data.samples import SampleTable, new_table, text_column
from cvlab.data.source import Labels
from cvlab.errors import ConfigError, DataError, RunFolderError
from cvlab.metrics.regression import read_predictions, regression_metrics
from cvlab.tasks.regression import LONGEST_LINE, Config, Regression, build
from tests.config_fixture import changed, problems_of

AFFECT = Labels(("happy", "sad"), ("valence", "arousal"))
CLASSIFICATION = "{name: classification, output: softmax, class_weights: balanced, loss: {name: cross_entropy}}"


def settings(**values: Any) -> Config:
    return Config(**values)


def table(**targets: list[str]) -> SampleTable:
    count = len(next(iter(targets.values())))
    names = [f"faces/{number}.png" for number in range(count)]
    made = new_table(names, [Path("/data") / name for name in names], names, targets)
    return made.with_columns(split=text_column(["train", "train", "val", "test"][:count]))


FACES = {"valence": ["0.1", "-0.25", "0.333333333333", "1.0"], "arousal": ["-1.0", "0.5", "0.0", "-0.004"]}
OUTPUTS = np.array([[0.2, -0.8], [-0.25, 0.4], [0.5, 0.1], [0.75, 0.001]], dtype=np.float32)


def task(**values: Any) -> Regression:
    return build(settings(**values), AFFECT)


@pytest.mark.parametrize(
    ("new", "problem"),
    [
        ("{name: regression, targets: []}", "task.targets: expected at least 1 value, received []."),
        ("{name: regression, targets: a}", "task.targets: expected a list or null, received 'a'."),
        ("{name: regression, targets: [a, b, a]}", "task.targets: expected each target once, received 'a' twice."),
        ("{name: regression, loss: mse}", "task.loss: expected a mapping such as {name: mse}, received 'mse'."),
        ("{name: regression, loss: {name: rmse}}", "task.loss.name: expected 'mse', 'mae', 'huber' or 'ccc', received "
         "'rmse'; did you mean 'mse'?"),
        ("{name: regression, loss: {name: huber, delta: 0}}", "task.loss.delta: expected above 0, received 0."),
        ("{name: regression, loss: {name: mae, delta: 1}}", "task.loss.delta: unknown key; the keys of 'mae' are "
         "name."),
        ("{name: regression, target: [a]}", "task.target: unknown key; did you mean 'targets'?"),
    ],
)  # fmt: skip
def test_wrong_settings_are_named(tmp_path: Path, new: str, problem: str) -> None:
    assert problems_of(tmp_path / "c.yaml", changed((CLASSIFICATION, new))) == [f"c.yaml:3: {problem}"]


def test_settings_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    new = "{name: regression, targets: [arousal], loss: {name: huber}}"
    path.write_text(changed((CLASSIFICATION, new), ("monitor: val_loss", "monitor: val_ccc")))
    read = load_experiment(path).stages[0].task
    assert read.model_dump() == {"name": "regression", "targets": ["arousal"], "loss": {"name": "huber", "delta": 1.0}}
    assert settings().model_dump() == {"name": "regression", "targets": None, "loss": {"name": "mse"}}
    assert Config.monitors == {"loss": False, "rmse": False, "ccc": True}


def test_targets_are_all_numbers_of_the_data_or_those_named_in_that_order() -> None:
    assert task().targets == ("valence", "arousal")
    named = task(targets=["arousal", "valence"])
    assert named.outputs == ("regression", "arousal", "valence")
    np.testing.assert_array_equal(named.encode(table(**FACES)), task().encode(table(**FACES))[:, ::-1])


def test_unknown_targets_are_named_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError) as caught:
        task(targets=["valense", "arousal", "age"])
    assert caught.value.problems == [
        "task.targets: expected numbers out of valence, arousal, received 'valense'; did you mean 'valence'?",
        "task.targets: expected numbers out of valence, arousal, received 'age'.",
    ]


@pytest.mark.parametrize(
    ("labels", "offer"), [(Labels(("cat", "dog")), "only the classes cat, dog"), (Labels(), "no labels")]
)
def test_data_without_numbers_are_refused_with_the_way_to_name_them(labels: Labels, offer: str) -> None:
    with pytest.raises(ConfigError, match=f"but the data offer {offer}.*data.columns.numbers") as caught:
        build(settings(), labels)
    assert len(caught.value.problems) == 1


def test_other_data_need_the_targets_and_may_have_more() -> None:
    assert task().misfit(Labels((), ("age", "arousal", "valence"))) == ""
    assert task().misfit(Labels((), ("age", "arousal"))) == "expected the numbers valence, arousal; found age, arousal"
    assert task().misfit(Labels(("a", "b"))) == "expected the numbers valence, arousal; found none"


def test_truth_is_the_exact_number_and_encoded_in_float32() -> None:
    faces = table(**FACES)
    truth = task().labels(faces)
    assert truth.dtype == np.float64
    assert truth[:, 0].tolist() == [0.1, -0.25, 0.333333333333, 1.0]
    encoded = task().encode(faces)
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(encoded, truth.astype(np.float32))
    assert task().sample_weights(faces) is None
    assert task().summary(faces) == {"train": {"images": 2}, "val": {"images": 1}, "test": {"images": 1}}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "expected numbers for valence, arousal of every sample"),
        ("high", "could not convert string to float: 'high'"),
        ("nan", r"faces/1.png: arousal: expected a finite number of at most 3.4e\+38, received nan"),
        ("1e39", "received 1e[+]39"),
    ],
)
def test_a_truth_that_is_no_number_is_refused(value: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        task().encode(table(valence=["0", "0"], arousal=["1", value]))
    with pytest.raises(DataError, match="'arousal'"):
        task().encode(table(valence=["0", "0"]))


@pytest.mark.parametrize("loss", [{"name": "mse"}, {"name": "huber", "delta": 0.1}, {"name": "ccc"}])
def test_predictions_metrics_and_what_is_monitored_agree(tmp_path: Path, loss: dict[str, Any]) -> None:
    one, faces = build(Config.model_validate({"loss": loss}), AFFECT), table(**FACES)
    path = tmp_path / "test.csv"
    path.write_text(one.predictions_csv(OUTPUTS, faces))
    read = read_predictions(path)
    assert read.sample_id.tolist() == faces.sample_id.tolist()
    assert read.group.tolist() == faces.group.tolist()
    assert read.target_names == ("valence", "arousal")
    np.testing.assert_array_equal(read.target, one.labels(faces))
    np.testing.assert_array_equal(read.predicted, OUTPUTS)
    metrics = one.metrics(path, EvaluateConfig())
    assert metrics == regression_metrics(read, loss=loss)
    for name, value in one.monitor(OUTPUTS, faces).items():
        assert value == pytest.approx(metrics[name]["value"], rel=1e-12)


def test_outputs_that_are_no_numbers_end_training_and_are_not_written() -> None:
    outputs = OUTPUTS.copy()
    outputs[2, 1] = np.nan
    assert math.isnan(task().monitor(outputs, table(**FACES))["loss"])
    with pytest.raises(RunFolderError, match=r"'faces/2.png', column 'predicted:arousal': .* received nan"):
        task().predictions_csv(outputs, table(**FACES))


def test_pictures_show_truth_and_prediction_of_three_targets_at_most() -> None:
    faces = table(**FACES)
    assert task().picture_titles(OUTPUTS, faces)[0] == "valence 0.10 → 0.20\narousal -1.00 → -0.80"
    assert task().picture_titles(OUTPUTS, faces)[3] == "valence 1.00 → 0.75\narousal 0.00 → 0.00"
    assert task().picture_names(faces)[1] == "valence -0.25\narousal 0.50"
    many = [f"a rather long name of\u200b{number}" for number in range(5)]
    one = build(settings(), Labels((), tuple(many)))
    (title,) = one.picture_titles(np.full((1, 5), 12.5), table(**{name: ["-3.14159"] for name in many}))
    assert title.splitlines() == ["a rather … -3.14 → 12.50"] * 3 + ["…"]
    assert all(len(line) <= LONGEST_LINE for line in title.splitlines())


@pytest.mark.tensorflow
def test_the_output_layer_is_linear_and_float32_under_any_precision() -> None:
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), task().output_layer()])
        layer = model.layers[-1]
    finally:
        keras.config.set_dtype_policy(before)
    assert (layer.units, layer.activation, layer.name) == (2, keras.activations.linear, "output")
    assert (layer.compute_dtype, layer.variable_dtype) == ("float32", "float32")
    assert [metric.name for metric in task().training_metrics()] == ["rmse"]
