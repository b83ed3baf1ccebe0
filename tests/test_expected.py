"""Published figures: what may be named, and when a comparison is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvlab.config_file import experiment_yaml, load_experiment
from cvlab.errors import ConfigError
from cvlab.expected import check_expected, expected_results
from tests.config_fixture import VALID, problems_of

LINE = len(VALID.splitlines()) + 2
ONE_STAGE = ["stages=[{name: train, epochs: 1, learning_rate: 1e-3}]"]
REGRESSION = "{name: affect, epochs: 1, learning_rate: 1e-3, task: {name: regression, targets: [valence]}}"
TWO_TASKS = [f"stages=[{{name: classes, epochs: 1, learning_rate: 1e-3}}, {REGRESSION}]"]


def figures(*texts: str) -> str:
    return VALID + "expected:\n" + "".join(f"  - {{{text}}}\n" for text in texts)


def figure(metric: str, more: str = "") -> str:
    return figures(f"metric: {metric}, value: 0.5, source: Lee 2018{more}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (figure("test.acuracy"), "received 'test.acuracy'; did you mean 'test.accuracy'?"),
        (
            figure("tst.accuracy"),
            "expected one of the tables train, train-augmented, val, test, train-before/val, train-before/test, "
            "train-after/val, train-after/test, tune-before/val, tune-before/test, tune-after/val, tune-after/test, a "
            "dot and a metric, such as test.accuracy (docs/metrics.md has all), received 'tst.accuracy'; did you mean "
            "'test.accuracy'?",
        ),
        (figure("test.top_2_accuracy"), "did you mean 'test.top_3_accuracy'?"),
        (figure("test.per_class.a.b.recal"), "did you mean 'test.per_class.a.b.recall'?"),
        (figure("test.binary.sensitvity"), "did you mean 'test.binary.sensitivity'?"),
        (figure("tune-after/test.binary.f1"), "expected a metric of classification, such as tune-after/test.loss"),
        (figure("test.confusion_matrix"), "expected a metric of classification, such as test.loss"),
        (
            figure("test.calibrated.ece"),
            "expected `evaluate.temperature: true` with it, received 'test.calibrated.ece'",
        ),
        (figure("5"), "expected text, received 5; put it in quotes"),
    ],
)
def test_a_metric_must_be_one_that_the_run_reports(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = problems_of(tmp_path / "c.yaml", text)
    assert found.startswith(f"c.yaml:{LINE}: expected.0.metric: ")
    assert problem in found


def test_a_task_that_is_no_name_is_named_before_its_figures(tmp_path: Path) -> None:
    text = figure("test.accuracy").replace("name: classification", "name: []", 1)
    (found,) = problems_of(tmp_path / "c.yaml", text)
    assert "task.name: expected" in found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("metric: test.accuracy, value: .nan, source: x", "value: expected a finite number, received .nan"),
        ("metric: test.accuracy, value: high, source: x", "value: expected a number, received 'high'"),
        ("metric: test.accuracy, value: 0.5, source: ' '", "source: expected where the figure was published, such as"),
        ("metric: test.accuracy, value: 0.5", "source: is missing; add `source: ...`"),
        ("metric: test.accuracy, value: 0.5, source: x, samples: 0", "samples: expected at least 1, received 0"),
        ("metric: test.accuracy, value: 0.5, source: x, smaples: 9", "unknown key; did you mean 'samples'?"),
    ],
)
def test_each_figure_is_whole(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = problems_of(tmp_path / "c.yaml", figures(text))
    assert found.startswith(f"c.yaml:{LINE}: expected.0.")
    assert problem in found


def test_figures_of_stages_are_those_of_their_task(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(figure("classes-after/test.accuracy"))
    assert load_experiment(path, TWO_TASKS).expected[0].metric == "classes-after/test.accuracy"
    path.write_text(figure("test.per_target.valence.rmse"))
    load_experiment(path, TWO_TASKS)
    (found,) = problems_of(path, figure("test.accuracy"), *TWO_TASKS)
    assert "expected a metric of regression, such as test.loss" in found
    (found,) = problems_of(path, figure("train-after/test.accuracy"), *ONE_STAGE)
    assert "expected one of the tables train, train-augmented, val, test, a dot" in found


def test_figures_are_carried_into_the_configuration_of_the_run(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(figure("test.accuracy", ", samples: 4000"))
    experiment = load_experiment(path)
    again = tmp_path / "config.yaml"
    again.write_text(experiment_yaml(experiment))
    assert load_experiment(again).expected == experiment.expected
    assert (experiment.expected[0].value, experiment.expected[0].samples) == (0.5, 4000)


@pytest.mark.parametrize(
    ("metric", "outputs", "words", "problem"),
    [
        (
            "test.per_class.hapy.f1",
            ("happy", "sad"),
            [],
            "a class out of happy, sad, received 'hapy'; did you mean 'happy'?",
        ),
        ("test.per_class.happy.f1", ("happy", "sad"), [], ""),
        ("test.binary.f1", ("a", "b"), [], ""),
        ("test.binary.f1", ("a", "b", "c"), [], "expected `evaluate.positive_class` with it: there are 3 classes"),
        ("test.binary.f1", ("a", "b", "c"), ["evaluate.positive_class=b"], ""),
        ("tune-after/test.per_class.a.f1", ("happy", "sad"), [], "a class out of happy, sad, received 'a'"),
    ],
)
def test_classes_are_checked_when_they_are_known(
    tmp_path: Path, metric: str, outputs: tuple[str, ...], words: list[str], problem: str
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(figure(metric))
    experiment = load_experiment(path, words)
    stages = [("classification", "softmax", *outputs)] * 2
    if not problem:
        check_expected(experiment, stages)
        return
    with pytest.raises(ConfigError) as caught:
        check_expected(experiment, stages)
    assert problem in caught.value.problems[0]
    assert caught.value.problems[0].startswith("expected.0.metric: ")


def test_targets_are_checked_too(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(figure("test.per_target.valance.rmse"))
    experiment = load_experiment(path, TWO_TASKS)
    with pytest.raises(ConfigError, match=r"a target out of valence, received 'valance'; did you mean 'valence'\?"):
        check_expected(experiment, [("classification", "softmax", "a", "b"), ("regression", "valence")])


METRICS = {
    "test": {
        "accuracy": {"value": 0.6, "low": 0.55, "high": 0.65},
        "mcc": {"value": None, "reason": "every sample is of one class"},
        "loss": {"value": 1.0},
        "per_class": {"a.b": {"recall": {"value": 0.5, "low": 0.4, "high": 0.6}}},
        "samples": 247,
    }
}


@pytest.mark.parametrize(
    ("metric", "value", "samples", "covered", "verdict"),
    [
        ("test.accuracy", 0.58, None, True, "the interval of this run covers it"),
        ("test.accuracy", 0.58, 247, True, "the interval of this run covers it"),
        ("test.accuracy", 0.65, None, True, "the interval of this run covers it"),
        ("test.accuracy", 0.7, None, False, "not covered: the interval of this run lies below it"),
        ("test.accuracy", 0.5, None, False, "not covered: the interval of this run lies above it"),
        (
            "test.accuracy",
            0.58,
            4000,
            None,
            "no comparison: published on 4,000 samples, here 247; data or split differ",
        ),
        ("test.per_class.a.b.recall", 0.3, None, False, "not covered: the interval of this run lies above it"),
        ("test.mcc", 0.3, None, None, "no comparison: undefined here (every sample is of one class)"),
        ("test.loss", 0.9, None, None, "this run is 0.100 above it; without an interval nothing follows from it"),
        ("test.binary.f1", 0.9, None, None, "no comparison: this run does not report it"),
        ("val.accuracy", 0.9, None, None, "no comparison: this run has no predictions of val"),
    ],
)
def test_a_comparison_is_drawn_where_there_is_something_to_compare(
    metric: str, value: float, samples: int | None, covered: bool | None, verdict: str
) -> None:
    given = {"metric": metric, "value": value, "source": "Lee 2018", "samples": samples}
    (result,) = expected_results([given], METRICS, synthetic=False)
    assert (result.covered, result.verdict) == (covered, verdict)
    (drawn,) = expected_results([given], METRICS, synthetic=True)
    assert (drawn.covered, drawn.verdict) == (None, "no comparison: synthetic sample data")
    assert (drawn.value, drawn.source) == (value, "Lee 2018")
