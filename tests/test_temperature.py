"""Temperature scaling against SciPy's minimisation and an example worked by hand, and where it breaks down."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from cvlab.errors import RunFolderError
from cvlab.metrics.temperature import (
    ALL_EQUAL,
    AT_HIGHEST,
    AT_LOWEST,
    HIGHEST,
    LOWEST,
    ONE_CLASS,
    Temperature,
    calibrated_cells,
    calibrated_replicates,
    fit_temperature,
    with_temperature,
)
from tests.test_calibration import Indices, Values, drawn


def two(positive: list[float]) -> Values:
    p = np.array(positive)
    return np.column_stack([1 - p, p])


def test_worked_example() -> None:
    # All scores say 0.9, three of four are right: sigmoid(ln 9 / T) = 0.75 = sigmoid(ln 3), so T = ln 9 / ln 3 = 2.
    fitted = fit_temperature(np.array([1, 1, 1, 0]), two([0.9, 0.9, 0.9, 0.9]))
    assert fitted.value == pytest.approx(2.0, abs=1e-9)
    assert fitted.nll_before == pytest.approx(-(3 * math.log(0.9) + math.log(0.1)) / 4, abs=1e-12)
    assert fitted.nll_after == pytest.approx(-(3 * math.log(0.75) + math.log(0.25)) / 4, abs=1e-12)
    assert (fitted.split, fitted.samples, fitted.note) == ("val", 4, "")


@pytest.mark.parametrize("classes", [2, 3, 8])
def test_the_minimum_is_that_of_scipy(classes: int) -> None:
    target, scores = drawn(300, classes, seed=classes)
    logits = np.log(scores)

    def loss(log_temperature: float) -> float:
        shares = log_softmax(logits / math.exp(log_temperature), axis=1)
        return float(-shares[np.arange(len(target)), target].mean())

    found = minimize_scalar(loss, bounds=(-2.3, 2.3), method="bounded", options={"xatol": 1e-10})
    fitted = fit_temperature(target, scores)
    assert fitted.value == pytest.approx(math.exp(found.x), abs=1e-5)
    assert fitted.nll_after == pytest.approx(found.fun, abs=1e-10)
    assert fitted.value != pytest.approx(1.0, abs=0.05)


@given(st.integers(0, 5000), st.integers(2, 60), st.sampled_from([2, 3, 6]), st.booleans())
def test_a_temperature_never_makes_validation_worse_nor_changes_what_is_predicted(
    seed: int, samples: int, classes: int, rounded: bool
) -> None:
    target, scores = drawn(samples, classes, seed, rounded=rounded)
    fitted = fit_temperature(target, scores)
    if fitted.value is None:
        assert fitted.note
        return
    assert LOWEST <= fitted.value <= HIGHEST
    assert fitted.nll_after is not None
    assert fitted.nll_after <= fitted.nll_before + 1e-6
    after = with_temperature(scores, fitted.value)
    np.testing.assert_allclose(after.sum(axis=1), 1, atol=1e-12)
    rows = np.arange(samples)
    assert (after[rows, scores.argmax(axis=1)] == after.max(axis=1)).all()


def test_scores_of_exactly_0_and_1_are_taken_as_1e_7() -> None:
    target, scores = np.array([1, 1, 1, 0, 0, 1]), two([1.0, 1.0, 1.0, 0.0, 1.0, 0.0])
    fitted = fit_temperature(target, scores)
    # Four of six are right: sigmoid(ln(1e7) / T) = 2 / 3 = sigmoid(ln 2).
    assert fitted.value == HIGHEST
    assert fitted.note == AT_HIGHEST
    assert fitted.nll_before == pytest.approx(2 * math.log(1e7) / 6, abs=1e-6)
    assert np.isfinite(with_temperature(scores, 0.1)).all()
    np.testing.assert_allclose(with_temperature(scores, 1.0), scores, atol=1.1e-7)


@pytest.mark.parametrize(
    ("target", "scores", "value", "note"),
    [
        ([1, 1, 0, 0], two([0.7, 0.9, 0.2, 0.4]), LOWEST, AT_LOWEST),  # told apart perfectly
        ([0, 0, 1, 1], two([0.7, 0.9, 0.2, 0.4]), HIGHEST, AT_HIGHEST),  # always wrong
        ([1, 1, 1], two([0.7, 0.9, 0.2]), None, ONE_CLASS),
        ([1, 0, 1], two([0.5, 0.5, 0.5]), None, ALL_EQUAL),
        ([0, 1, 2], np.full((3, 3), 1 / 3), None, ALL_EQUAL),
    ],
)
def test_where_there_is_no_minimum_it_is_said(
    target: list[int], scores: Values, value: float | None, note: str
) -> None:
    fitted = fit_temperature(np.array(target), scores)
    assert (fitted.value, fitted.note) == (value, note)
    assert (fitted.nll_after is None) == (value is None)
    assert Temperature.from_json({"temperature": json.loads(json.dumps(fitted.to_json()))}) == fitted


def test_calibrated_metrics_are_those_of_scikit_learn_and_the_order_stays() -> None:
    target, scores = drawn(300, 2, seed=9)
    cells = calibrated_cells(target, scores, 1.7)
    after = 1 / (1 + (scores[:, 0] / scores[:, 1]) ** (1 / 1.7))
    assert cells["loss"]["value"] == pytest.approx(log_loss(target, after), abs=1e-9)
    assert cells["brier"]["value"] == pytest.approx(brier_score_loss(target, after), abs=1e-9)
    assert [*cells] == ["loss", "brier", "ece", "ece_equal_mass"]
    assert roc_auc_score(target, after) == roc_auc_score(target, scores[:, 1])


def test_weights_count_samples_as_often_as_they_say() -> None:
    target, scores = drawn(40, 3, seed=10)
    weights = np.random.default_rng(1).integers(0, 3, (5, 40))
    found = calibrated_replicates(target, scores, 1.4, weights)
    for row, counts in enumerate(weights):
        again = np.repeat(np.arange(40), counts)
        expected = calibrated_cells(target[again], scores[again], 1.4)
        for name in ("loss", "brier", "ece"):
            assert found[name][row] == pytest.approx(expected[name]["value"], abs=1e-9), name


def point() -> dict[str, object]:
    target: Indices
    target, scores = drawn(50, 3, seed=11)
    return {"temperature": fit_temperature(target, scores).to_json()}


def test_what_is_stored_comes_back_and_damage_is_named() -> None:
    stored = point()
    found = Temperature.from_json(stored)
    assert found is not None
    assert found.to_json() == stored["temperature"]
    assert Temperature.from_json(None) is None
    assert Temperature.from_json({"threshold": 0.5}) is None
    for change in ({"value": 0.0}, {"value": "1"}, {"value": None}, {"nll_before": None}, {"samples": 0}):
        with pytest.raises(RunFolderError, match=r"operating_point\.json: 'temperature' is damaged"):
            Temperature.from_json({"temperature": {**found.to_json(), **change}})
    others: list[object] = [1.5, None, {}, []]
    for damaged in others:
        with pytest.raises(RunFolderError, match="is damaged"):
            Temperature.from_json({"temperature": damaged})
