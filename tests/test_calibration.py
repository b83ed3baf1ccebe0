"""Calibration against scikit-learn, plain loops and examples worked by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from cvlab.config_evaluate import Bootstrap
from cvlab.metrics.calibration import (
    BINS,
    CALIBRATION,
    calibration_cells,
    equal_mass_edges,
    error_by_chance,
    error_replicates,
    errors_by_chance,
    expected_calibration_error,
    judged,
    reliability_bins,
)
from cvlab.metrics.intervals import with_intervals
from cvlab.metrics.replicates import Resampling

Values = NDArray[np.float64]
Indices = NDArray[np.int64]


def drawn(samples: int, classes: int, seed: int, *, rounded: bool = False) -> tuple[Indices, Values]:
    """Truth and scores of a network that is somewhat right; rounded scores have ties and exact 0 and 1."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, classes, samples)
    logits = 2.0 * rng.normal(size=(samples, classes))
    logits[np.arange(samples), target] += 1.5
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if rounded:
        scores = np.round(scores * 4) / 4
        scores[:, -1] = np.maximum(1 - scores[:, :-1].sum(axis=1), 0)
        scores /= scores.sum(axis=1, keepdims=True)
    return target, scores


def values(target: Indices, scores: Values) -> dict[str, float]:
    return {name: cell["value"] for name, cell in calibration_cells(target, scores).items()}


@pytest.mark.parametrize("classes", [2, 3, 8])
def test_brier_is_that_of_scikit_learn(classes: int) -> None:
    target, scores = drawn(400, classes, seed=1)
    expected = (
        brier_score_loss(target, scores[:, 1])
        if classes == 2
        else brier_score_loss(target, scores, labels=range(classes), scale_by_half=False)
    )
    assert values(target, scores)["brier"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_bins_and_errors_are_those_of_scikit_learn(strategy: str) -> None:
    target, scores = drawn(30 * BINS, 2, seed=2)
    share, score = calibration_curve(target, scores[:, 1], n_bins=BINS, strategy=strategy)
    bins = (
        reliability_bins(*judged(target, scores))
        if strategy == "uniform"
        else reliability_bins(*judged(target, scores), equal_mass_edges(scores[:, 1]))
    )
    np.testing.assert_allclose(bins.share, share, atol=1e-12)
    np.testing.assert_allclose(bins.score, score, atol=1e-12)
    assert bins.samples.sum() == len(target)
    if strategy == "quantile":
        assert {*bins.samples} == {30}
    error = float((bins.samples * np.abs(share - score)).sum() / len(target))
    name = {"uniform": "ece", "quantile": "ece_equal_mass"}[strategy]
    assert values(target, scores)[name] == pytest.approx(error, abs=1e-12)


def plain_loops(target: Indices, scores: Values) -> dict[str, float]:
    """Every metric by loops over bins and samples, with the terms within bins of Stephenson et al. 2008."""
    n, classes = scores.shape
    shown = [1] if classes == 2 else [*range(classes)]
    confidence = [row[1] if classes == 2 else max(row) for row in scores]
    right = [t == 1 if classes == 2 else [*row].index(max(row)) == t for t, row in zip(target, scores, strict=True)]
    found = dict.fromkeys(CALIBRATION, 0.0)
    found["ece"] = (
        sum(
            abs(sum(r - c for r, c in zip(right, confidence, strict=True) if math.ceil(c * BINS - 1e-12) in places))
            for places in ({0, 1}, *({place} for place in range(2, BINS + 1)))
        )
        / n
    )
    for k in shown:
        f, o = scores[:, k], (target == k).astype(float)
        found["brier"] += float(np.mean((f - o) ** 2))
        found["brier_uncertainty"] += o.mean() * (1 - o.mean())
        for places in ({0, 1}, *({place} for place in range(2, BINS + 1))):
            inside = [i for i in range(n) if math.ceil(f[i] * BINS - 1e-12) in places]
            if not inside:
                continue
            mean_f, mean_o = f[inside].mean(), o[inside].mean()
            found["brier_reliability"] += len(inside) * (mean_f - mean_o) ** 2 / n
            resolution = len(inside) * (mean_o - o.mean()) ** 2 / n
            variance = sum((f[i] - mean_f) ** 2 for i in inside) / n
            covariance = 2 * sum((o[i] - mean_o) * (f[i] - mean_f) for i in inside) / n
            found["brier_resolution"] += resolution - variance + covariance
    return found


@given(st.integers(0, 10_000), st.integers(1, 60), st.sampled_from([2, 3, 5]), st.booleans())
def test_every_metric_is_that_of_plain_loops_and_the_parts_sum_exactly(
    seed: int, samples: int, classes: int, rounded: bool
) -> None:
    target, scores = drawn(samples, classes, seed, rounded=rounded)
    found, expected = values(target, scores), plain_loops(target, scores)
    for name in CALIBRATION:
        if name != "ece_equal_mass":
            assert found[name] == pytest.approx(expected[name], abs=1e-9), name
    parts = found["brier_reliability"] - found["brier_resolution"] + found["brier_uncertainty"]
    assert parts == pytest.approx(found["brier"], abs=1e-12)
    assert expected_calibration_error(target, scores)["value"] == pytest.approx(found["ece"], abs=1e-12)


@given(st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), min_size=1, max_size=80))
def test_bins_of_equal_mass_never_tear_equal_scores_apart(found: list[float]) -> None:
    score = np.array(found)
    edges = equal_mass_edges(score)
    bins = reliability_bins(score, np.zeros(len(score)), edges)
    assert len(bins.samples) == len(edges) + 1  # none is empty
    for value in np.unique(score):
        assert ((bins.low < value) & (value <= bins.high)).sum() + (value == 0) == 1
    if len(np.unique(score)) == len(score):
        assert np.ptp(bins.samples) <= 1


def test_distinct_scores_fill_bins_of_equal_mass_evenly() -> None:
    score = np.random.default_rng(3).uniform(size=47)
    counts = reliability_bins(score, np.zeros(47), equal_mass_edges(score)).samples
    assert len(counts) == BINS
    assert {*counts} == {3, 4}


def test_worked_example_of_two_classes() -> None:
    # Four scores of 0.8, three of them true, and one of 0.3 that is not.
    p = np.array([0.8, 0.8, 0.8, 0.8, 0.3])
    found = values(np.array([1, 1, 1, 0, 0]), np.column_stack([1 - p, p]))
    assert found["brier"] == pytest.approx((3 * 0.04 + 0.64 + 0.09) / 5, abs=1e-12)
    assert found["ece"] == pytest.approx((4 * 0.05 + 0.3) / 5, abs=1e-12)
    assert found["brier_reliability"] == pytest.approx((4 * 0.05**2 + 0.3**2) / 5, abs=1e-12)
    assert found["brier_resolution"] == pytest.approx((4 * 0.15**2 + 0.6**2) / 5, abs=1e-12)
    assert found["brier_uncertainty"] == pytest.approx(0.24, abs=1e-12)


@given(st.integers(0, 1000), st.integers(2, 40))
def test_either_class_of_two_says_the_same(seed: int, samples: int) -> None:
    target, scores = drawn(samples, 2, seed)
    assert values(1 - target, scores[:, ::-1]) == pytest.approx(values(target, scores), abs=1e-9)


@given(st.integers(0, 1000), st.integers(1, 40), st.sampled_from([2, 4]))
def test_weights_count_samples_as_often_as_they_say(seed: int, samples: int, classes: int) -> None:
    target, scores = drawn(samples, classes, seed, rounded=bool(seed % 2))
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 3, (4, samples))
    weights[:, rng.integers(samples)] += 1
    found = error_replicates(target, scores, weights)
    for row, counts in enumerate(weights):
        again = np.repeat(np.arange(samples), counts)
        expected = values(target[again], scores[again])
        for name in ("brier", "ece"):
            assert found[name][row] == pytest.approx(expected[name], abs=1e-9), name
        # The edges of equal mass are those of the whole sample.
        score, true = judged(target, scores)
        bins = reliability_bins(score[again], true[again], equal_mass_edges(score))
        error = (bins.samples * np.abs(bins.share - bins.score)).sum() / len(again)
        assert found["ece_equal_mass"][row] == pytest.approx(error, abs=1e-9)


def test_the_error_of_calibrated_scores_by_chance() -> None:
    # One bin of 100 certain halves: the mean of |k - 50| / 100 with k binomial is 0.0796 (exact sum).
    mean, high = error_by_chance(np.full(100, 0.5))
    exact = sum(math.comb(100, k) * 0.5**100 * abs(k - 50) / 100 for k in range(101))
    assert mean == pytest.approx(exact, abs=0.005)
    assert 0.09 <= high <= 0.11  # |k - 50| <= 9 in 94 %, <= 10 in 96 %
    assert error_by_chance(np.array([0.0, 1.0, 1.0])) == (0.0, 0.0)
    score = np.random.default_rng(4).uniform(size=500)
    rng = np.random.default_rng(5)
    truths = [(rng.random(500) < score).astype(np.int64) for _ in range(200)]
    errors = [expected_calibration_error(truth, np.column_stack([1 - score, score]))["value"] for truth in truths]
    assert error_by_chance(score)[0] == pytest.approx(np.mean(errors), abs=0.003)


@pytest.mark.parametrize(("samples", "sureness"), [(150, 2.5), (150, 1.0)])
def test_intervals_of_the_calibration_error_hold_the_truth(samples: int, sureness: float) -> None:
    """Percentiles and BCa hold it in 0 to 90 of 100 cases; the truth is that of the binned error, without noise."""

    def draw(rng: np.random.Generator, count: int) -> tuple[Values, Values]:
        logits = 1.5 * rng.normal(size=count)
        return 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(-sureness * logits))

    true, score = draw(np.random.default_rng(0), 200_000)
    gaps = np.bincount(np.searchsorted(np.arange(1, BINS) / BINS, score, side="left"), weights=true - score)
    truth = float(np.abs(gaps).sum() / len(score)) if sureness != 1 else 0.0
    held = 0
    for repeat in range(30):
        rng = np.random.default_rng(repeat + 1)
        true, score = draw(rng, samples)
        cell = ece_with_interval((rng.random(samples) < true).astype(np.int64), np.column_stack([1 - score, score]))
        assert cell["low"] <= cell["value"] <= cell["high"]
        assert cell["method"] == f"basic bootstrap, 200 resamples of {samples} samples"
        held += cell["low"] <= truth <= cell["high"]
    assert held >= 23


def ece_with_interval(target: Indices, scores: Values) -> dict[str, Any]:
    table = Resampling(
        group=np.arange(len(target)),
        strata=None,
        class_names=(),
        replicates=lambda weights: {"ece": error_replicates(target, scores, np.asarray(weights))["ece"]},
        proportions={},
        areas={},
        by_chance={("ece",): errors_by_chance(scores)["ece"]},
    )
    cells = {"ece": expected_calibration_error(target, scores)}
    found: dict[str, Any] = with_intervals(cells, table, Bootstrap(resamples=200), seed=1)["ece"]
    return found
