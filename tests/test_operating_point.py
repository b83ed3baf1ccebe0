"""The operating point: each rule against a search over all thresholds, and what cannot be chosen."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from cvlab.config import EvaluateConfig
from cvlab.config_file import experiment_yaml, load_experiment
from cvlab.errors import ConfigError, DataError, RunFolderError
from cvlab.metrics.binary import Counts
from cvlab.metrics.classification_table import ClassificationPredictions
from cvlab.metrics.operating_point import (
    OperatingPoint,
    check_rule,
    choose,
    choose_threshold,
    find_positive_class,
    margins,
    threshold_text,
)
from tests.config_fixture import VALID, changed, problems_of

SHARES = st.sampled_from([0.05, 0.1, 0.25, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 1, 1.0])
BOTH = st.lists(st.tuples(st.booleans(), st.integers(0, 12)), min_size=2, max_size=30).filter(
    lambda samples: len({positive for positive, _ in samples}) == 2
)


def arrays(samples: list[tuple[bool, int]]) -> tuple[np.ndarray, np.ndarray]:
    positive, score = zip(*samples, strict=True)
    return np.array(positive), np.array(score) / 12


def exact(positive: np.ndarray, score: np.ndarray) -> dict[float, tuple[Fraction, Fraction, Fraction]]:
    """Sensitivity, specificity and F1 at each distinct score, as exact fractions."""
    found = {}
    for threshold in sorted({*score.tolist()}):
        c = Counts.at(positive, score, threshold)
        f1 = Fraction(2 * c.tp, 2 * c.tp + c.fp + c.fn)
        found[threshold] = (Fraction(c.tp, c.positives), Fraction(c.tn, c.negatives), f1)
    return found


@given(BOTH)
def test_youden_and_f1_are_the_best_of_all_and_the_largest_of_equals(samples: list[tuple[bool, int]]) -> None:
    positive, score = arrays(samples)
    table = exact(positive, score)
    best = max(sensitivity + specificity for sensitivity, specificity, _ in table.values())
    assert choose_threshold(positive, score, "youden") == max(t for t, (a, b, _) in table.items() if a + b == best)
    most = max(f1 for _, _, f1 in table.values())
    assert choose_threshold(positive, score, "f1") == max(t for t, (_, _, f1) in table.items() if f1 == most)


@given(BOTH)
def test_youden_reaches_what_scikit_learns_roc_curve_reaches(samples: list[tuple[bool, int]]) -> None:
    positive, score = arrays(samples)
    false_rate, true_rate, _ = roc_curve(positive, score, drop_intermediate=False)
    c = Counts.at(positive, score, choose_threshold(positive, score, "youden"))
    # The curve also has the point where nothing is positive, which no score of a sample gives.
    assert c.tp / c.positives - c.fp / c.negatives == pytest.approx((true_rate - false_rate)[1:].max(), abs=1e-9)


@given(BOTH, SHARES)
def test_a_wanted_sensitivity_or_specificity_is_reached_and_no_more_is_given_up(
    samples: list[tuple[bool, int]], share: float
) -> None:
    positive, score = arrays(samples)
    table = exact(positive, score)
    wanted = Fraction(str(share))
    enough = [t for t, (sensitivity, _, _) in table.items() if sensitivity >= wanted]
    assert choose_threshold(positive, score, {"sensitivity": share}) == max(enough)
    enough = [t for t, (_, specificity, _) in table.items() if specificity >= wanted]
    if enough:
        assert choose_threshold(positive, score, {"specificity": share}) == min(enough)
    else:
        with pytest.raises(DataError, match=r"\{specificity: .*\} cannot be reached on validation: the highest"):
            choose_threshold(positive, score, {"specificity": share})


def test_a_share_that_is_met_exactly_is_met() -> None:
    score = np.arange(40) / 40
    positive = score >= 0.5
    assert choose_threshold(positive, score, {"sensitivity": 0.95}) == score[21]
    assert choose_threshold(~positive, 1 - score, {"specificity": 0.95}) == (1 - score)[20]


def predictions(target: list[int], positive_score: list[float], names: tuple[str, ...]) -> ClassificationPredictions:
    second = np.array(positive_score)
    scores = np.column_stack([1 - second, second, *[np.zeros(len(second))] * (len(names) - 2)])
    ids = np.array([f"a/{i}" for i in range(len(target))], dtype=object)
    return ClassificationPredictions(ids, ids, np.array(target), scores.argmax(axis=1), scores, names)


def test_the_point_says_what_it_reaches_where_it_was_chosen() -> None:
    p = predictions([0, 0, 1, 1, 1], [0.1, 0.7, 0.6, 0.8, 0.9], ("no", "yes"))
    point = choose(p, EvaluateConfig(threshold={"specificity": 1}))
    assert point is not None
    assert (point.positive_class, point.threshold, point.split, point.samples) == ("yes", 0.8, "val", 5)
    assert [point.values[name]["value"] for name in ("sensitivity", "specificity", "tp")] == [2 / 3, 1.0, 2]
    other = choose(p, EvaluateConfig(positive_class="no", threshold={"sensitivity": 1}))
    assert other is not None
    assert other.threshold == 1 - 0.7
    again = OperatingPoint.from_json({**json.loads(json.dumps(point.to_json())), "temperature": 1.5})
    assert again == point


def test_a_number_is_taken_as_it_is_whatever_validation_holds() -> None:
    one_sided = predictions([1, 1], [0.2, 0.9], ("no", "yes"))
    point = choose(one_sided, EvaluateConfig(threshold=0.3))
    assert point is not None
    assert point.threshold == 0.3
    assert not point.is_chosen
    assert point.values["specificity"] == {"value": None, "reason": "no sample is negative"}


@pytest.mark.parametrize("rule", ["youden", "f1", {"sensitivity": 0.9}, {"specificity": 0.9}])
@pytest.mark.parametrize("target", [[0, 0], [1, 1]])
def test_a_rule_needs_both_kinds_on_validation(rule: Any, target: list[int]) -> None:
    p = predictions(target, [0.2, 0.9], ("no", "yes"))
    with pytest.raises(
        DataError, match=r"evaluate\.threshold: .*on validation.*expected both.*evaluate\.threshold=0\.5"
    ):
        choose(p, EvaluateConfig(threshold=rule))
    check_rule(rule, "yes", positives=1, negatives=1)


def test_the_positive_class() -> None:
    assert find_positive_class(("b", "a"), EvaluateConfig()) == "a"
    assert find_positive_class(("b", "a"), EvaluateConfig(positive_class="b")) == "b"
    assert find_positive_class(("a", "b", "c"), EvaluateConfig()) is None
    assert find_positive_class(("a", "b", "c"), EvaluateConfig(positive_class="a")) == "a"
    with pytest.raises(
        ConfigError, match=r"evaluate\.positive_class: .*'COVID', 'normal', received 'COVDI'; did you mean 'COVID'\?"
    ):
        find_positive_class(("COVID", "normal"), EvaluateConfig(positive_class="COVDI"))
    with pytest.raises(ConfigError, match=r"evaluate\.threshold: youden is about one class.*there are 3 classes"):
        find_positive_class(("a", "b", "c"), EvaluateConfig(threshold="youden"))
    assert choose(predictions([0, 1], [0.2, 0.9], ("a", "b", "c")), EvaluateConfig()) is None


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 1.5},
        {"threshold": "0.5"},
        {"threshold": None},
        {"values": {}},
        {"values": 3},
        {"samples": 3},
        {"rule": "yuden"},
        {"positive_class": 1},
    ],
)
def test_a_damaged_point_is_refused(change: dict[str, Any]) -> None:
    point = choose(predictions([0, 1], [0.2, 0.9], ("no", "yes")), EvaluateConfig())
    assert point is not None
    with pytest.raises(RunFolderError, match=r"operating_point\.json: is damaged"):
        OperatingPoint.from_json(point.to_json() | change)
    broken: tuple[Any, ...] = ([], {"threshold": 0.5}, None)
    for value in broken:
        with pytest.raises(RunFolderError, match="is damaged"):
            OperatingPoint.from_json(value)


def test_a_point_for_other_classes_is_refused() -> None:
    point = choose(predictions([0, 1], [0.2, 0.9], ("no", "yes")), EvaluateConfig())
    assert point is not None
    with pytest.raises(RunFolderError, match=r"'yes' is none of the classes of the predictions \(cat, dog\)"):
        point.of(predictions([0, 1], [0.2, 0.9], ("cat", "dog")))


def test_margins_are_shares_of_the_way_to_0_and_1() -> None:
    np.testing.assert_allclose(margins(np.array([0.0, 0.1, 0.2, 0.6, 1.0]), 0.2), [-1, -0.5, 0, 0.5, 1])
    np.testing.assert_allclose(margins(np.array([0.0, 1.0]), 1.0), [-1, 0])
    np.testing.assert_allclose(margins(np.array([0.0, 1.0]), 0.0), [0, 1])


def test_a_threshold_never_reads_as_0_or_1() -> None:
    assert [threshold_text(value) for value in (0.5, 0.12349, 0.99999994, 1e-5, 0.0, 1.0)] == [
        "0.500", "0.123", "0.9999999", "0.00001", "0", "1"
    ]  # fmt: skip


FORMS = (
    "a number above 0 and below 1, 'youden', 'f1', 'dice' (masks), {sensitivity: S} or {specificity: S} with 0 < S <= 1"
)


@pytest.mark.parametrize("threshold", ["0.25", "youden", "f1", "{sensitivity: 0.95}", "{specificity: 1}"])
def test_every_form_of_the_threshold_loads_and_repeats(tmp_path: Path, threshold: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(changed(("{top_k: 3}", f"{{positive_class: happy, threshold: {threshold}}}")))
    experiment = load_experiment(path)
    path.write_text(experiment_yaml(experiment))
    assert load_experiment(path) == experiment


@pytest.mark.parametrize(
    ("threshold", "problem"),
    [
        ("yuden", "received 'yuden'; did you mean 'youden'?"),
        ("1", "received 1."),
        ("0.0", "received 0.0."),
        ("true", "received true."),
        ("{sensitivty: 0.9}", "received {sensitivty: 0.9}; did you mean 'sensitivity'?"),
        ("{sensitivity: 95}", "received {sensitivity: 95}."),
        ("{sensitivity: 0.9, specificity: 0.9}", "received {sensitivity: 0.9, specificity: 0.9}."),
        ("null", "received null."),
    ],
)
def test_another_threshold_is_refused(tmp_path: Path, threshold: str, problem: str) -> None:
    (found,) = problems_of(tmp_path / "c.yaml", VALID.replace("top_k: 3", f"threshold: {threshold}"))
    assert found == f"c.yaml:28: evaluate.threshold: expected {FORMS}, {problem}"


def test_a_positive_class_is_text(tmp_path: Path) -> None:
    (found,) = problems_of(tmp_path / "c.yaml", VALID.replace("top_k: 3", "positive_class: 1"))
    assert found == "c.yaml:28: evaluate.positive_class: expected text or null, received 1; put it in quotes."
    (found,) = problems_of(tmp_path / "c.yaml", VALID.replace("top_k: 3", "positiv_class: a"))
    assert found == "c.yaml:28: evaluate.positiv_class: unknown key; did you mean 'positive_class'?"
