"""Intervals in the cells of metrics.json: by which method, equal to what a plain loop gives, and never made up."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
from benchmarks import coverage
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from cvlab.config_evaluate import Bootstrap
from cvlab.metrics import classification_replicates, regression_replicates, segmentation_replicates
from cvlab.metrics.binary import binary_metrics
from cvlab.metrics.calibration import DECOMPOSITION
from cvlab.metrics.class_means import MEANS
from cvlab.metrics.classification import ClassificationPredictions, classification_metrics
from cvlab.metrics.intervals import with_intervals
from cvlab.metrics.operating_point import OperatingPoint
from cvlab.metrics.regression import RegressionPredictions, regression_metrics
from cvlab.metrics.segmentation import PixelCounts, SegmentationPredictions, segmentation_metrics
from cvlab.statistics.bootstrap import bca_interval, group_weights, jackknife_weights, percentile_interval
from cvlab.statistics.delong import auc_interval, delong
from cvlab.statistics.proportions import wilson

QUICK = Bootstrap(resamples=200)


def strings(values: Any) -> np.ndarray:
    return np.array([str(value) for value in values], dtype=object)


def classes(
    n: int, k: int = 3, *, group: Any = None, seed: int = 0, target: Any = None, skill: float = 1.5
) -> ClassificationPredictions:
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, k, size=n) if target is None else np.asarray(target).astype(np.int64)
    logits = draw.normal(size=(n, k))
    logits[np.arange(n), truth] += skill
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    groups = strings(range(n) if group is None else group)
    names = tuple(["no", "a.b", "per_class", "value", "low", "intervals", *map(str, range(k))][:k])
    return ClassificationPredictions(strings(range(n)), groups, truth, scores.argmax(axis=1), scores, names)


def of_classes(
    p: ClassificationPredictions, how: Bootstrap = QUICK, *, seed: int = 3, point: OperatingPoint | None = None
) -> dict[str, Any]:
    cells = classification_metrics(p, top_k=2)
    if point is not None:
        cells["binary"] = binary_metrics(*point.of(p), threshold=point.threshold)
    return with_intervals(cells, classification_replicates.resampling(p, top_k=2, point=point), how, seed=seed)


def ends(cell: dict[str, Any]) -> tuple[float, float]:
    return cell["low"], cell["high"]


def test_independent_samples_have_the_intervals_of_wilson_and_delong() -> None:
    p = classes(150)
    point = OperatingPoint("a.b", 0.5, 0.3, "val", 150, {})
    found = of_classes(p, point=point)
    right = int((p.target == p.predicted).sum())
    assert ends(found["accuracy"]) == wilson(right, 150)
    assert found["accuracy"]["method"] == "Wilson"
    is_class = p.target == 1
    recall = found["per_class"]["a.b"]["recall"]
    assert ends(recall) == wilson(int((is_class & (p.predicted == 1)).sum()), int(is_class.sum()))
    auc = found["per_class"]["a.b"]["roc_auc"]
    value, covariance = delong(is_class, p.scores[:, 1][None])
    assert auc["value"] == pytest.approx(value[0], abs=1e-12)
    assert ends(auc) == auc_interval(value[0], covariance[0, 0])
    assert found["binary"]["roc_auc"] == {**auc}
    called = p.scores[:, 1] >= 0.3
    for name, hit, of in [
        ("sensitivity", called & is_class, is_class),
        ("specificity", ~called & ~is_class, ~is_class),
        ("ppv", called & is_class, called),
        ("npv", ~called & ~is_class, ~called),
        ("accuracy", called == is_class, np.ones(150)),
        ("prevalence", is_class, np.ones(150)),
    ]:
        assert ends(found["binary"][name]) == wilson(int(hit.sum()), int(of.sum())), name
    assert found["macro_f1"]["method"] == "BCa bootstrap, 200 resamples of 150 samples"
    assert found["intervals"]["unit"] == "sample"


def test_a_mean_has_the_interval_of_scipy() -> None:
    p = classes(100)
    losses = -np.log(p.scores[np.arange(100), p.target])
    expected = stats.bootstrap((losses,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1))
    found = ends(of_classes(p, Bootstrap(resamples=20_000))["loss"])
    # Student's t for 100 samples reaches a little further.
    assert found == pytest.approx(tuple(expected.confidence_interval), abs=0.02)


PLAIN: dict[tuple[str, ...], Callable[..., float]] = {
    ("accuracy",): lambda p, chosen: sk.accuracy_score(p.target[chosen], p.predicted[chosen]),
    ("macro_roc_auc",): lambda p, chosen: np.mean(
        [sk.roc_auc_score(p.target[chosen] == index, p.scores[chosen, index]) for index in range(3)]
    ),
    ("per_class", "per_class", "f1"): lambda p, chosen: sk.f1_score(p.target[chosen] == 2, p.predicted[chosen] == 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("path", PLAIN)
def test_grouped_intervals_are_those_of_a_plain_loop_over_resampled_tables(path: tuple[str, ...]) -> None:
    p = classes(60, group=np.random.default_rng(2).integers(0, 20, size=60))

    def plain(weights: np.ndarray) -> np.ndarray:
        return np.array([PLAIN[path](p, np.repeat(np.arange(60), row)) for row in weights])

    drawn, left_out = plain(group_weights(p.group, p.target, resamples=200, seed=5)), plain(jackknife_weights(p.group))
    value = float(plain(np.ones((1, 60), dtype=int))[0])
    deciding = int((~np.isclose(left_out, value, rtol=1e-12)).sum())
    for method in ("bca", "percentile"):
        found: Any = of_classes(p, Bootstrap(resamples=200, confidence=0.9, method=method), seed=5)
        for key in path:
            found = found[key]
        expected = percentile_interval(drawn, 0.9, groups=deciding)
        if method == "bca":
            expected = bca_interval(value, drawn, left_out, 0.9, groups=deciding)
        assert ends(found) == pytest.approx(expected, abs=1e-9)
        assert found["method"].lower() == f"{method} bootstrap, 200 resamples of {len(set(p.group))} groups"


def test_a_class_may_be_called_as_a_part_of_a_cell() -> None:
    found = of_classes(classes(120, 6))
    assert all("low" in found["per_class"][name]["recall"] for name in ("value", "low", "intervals"))


def test_rare_classes_are_drawn_apart_only_for_what_each_class_decides() -> None:
    p = classes(120, 2, group=np.arange(120) // 3, target=np.arange(120) < 9)
    found = of_classes(p, point=OperatingPoint("a.b", 0.5, 0.3, "val", 120, {}))
    drawn, left_out = group_weights(p.group, resamples=200, seed=3), jackknife_weights(p.group)
    shares = {"accuracy": p.target == p.predicted, "prevalence": p.target == 1}
    for cell, is_hit in (
        (found["accuracy"], shares["accuracy"]),
        (found["binary"]["prevalence"], shares["prevalence"]),
    ):
        both = [weights @ is_hit / weights.sum(axis=1) for weights in (drawn, left_out)]
        assert ends(cell) == pytest.approx(bca_interval(cell["value"], *both, groups=40), abs=1e-9)
        assert cell["method"] == "BCa bootstrap, 200 resamples of 40 groups"
    assert found["per_class"]["no"]["recall"]["method"].endswith("rare classes apart")


@pytest.mark.slow
def test_the_accuracy_varies_with_the_share_of_a_rare_class() -> None:
    """Who always says the common class is right as often as it comes: with its share kept, half of this missed."""
    held = []
    for seed in range(100):
        draw = np.random.default_rng(seed)
        is_rare, sizes = draw.random(40) < 0.1, draw.integers(1, 4, size=40)
        target = np.repeat(is_rare, sizes).astype(int)
        p = classes(len(target), 2, group=np.repeat(np.arange(40), sizes), target=target)
        cell = of_classes(replace(p, predicted=np.zeros_like(target)))["accuracy"]
        if "low" in cell:
            held.append(cell["low"] <= 0.9 <= cell["high"])
    assert len(held) > 85
    assert np.mean(held) > 0.85, np.mean(held)


def test_equal_seeds_give_equal_intervals() -> None:
    p = classes(60, group=np.arange(60) // 3)
    assert of_classes(p, seed=1) == of_classes(p, seed=1)
    assert of_classes(p, seed=1) != of_classes(p, seed=2)


def test_values_stay_and_counts_have_no_interval() -> None:
    p = classes(40, group=np.arange(40) // 2)
    plain, found = classification_metrics(p, top_k=2), of_classes(p)
    for name, cell in plain.items():
        if isinstance(cell, dict) and "value" in cell:
            assert found[name]["value"] == cell["value"]
            if name in DECOMPOSITION:
                assert found[name] == cell
                continue
            assert found[name]["low"] <= cell["value"] <= found[name]["high"]
    assert found["per_class"]["no"]["support"] == plain["per_class"]["no"]["support"]
    assert found["confusion_matrix"] == plain["confusion_matrix"]
    assert found["samples"] == 40


def test_what_is_always_right_is_not_certain() -> None:
    p = classes(60, group=np.arange(60) // 4, skill=50.0)
    found = of_classes(p)
    assert found["accuracy"] == {
        "value": 1.0,
        "low": wilson(15, 15)[0],
        "high": 1.0,
        "method": "Wilson, as of 15 groups",
    }
    assert found["macro_f1"]["no_interval"] == "every resample gives this value"
    alone = of_classes(classes(60, skill=50.0))
    assert ends(alone["accuracy"]) == wilson(60, 60)
    fewer = int(np.bincount(classes(60, skill=50.0).target)[0])
    assert ends(alone["per_class"]["no"]["roc_auc"]) == wilson(fewer, fewer)
    assert alone["per_class"]["no"]["roc_auc"]["method"] == f"Wilson, as of {fewer} samples"


def test_too_few_groups_have_no_interval() -> None:
    found = of_classes(classes(80, group=np.arange(80) % 5))
    assert found["loss"]["no_interval"] == "it rests on 5 groups, and a 95 % interval takes 6 or more"
    assert "low" in of_classes(classes(80, group=np.arange(80) % 6))["loss"]
    wide = of_classes(classes(80, group=np.arange(80) % 5), Bootstrap(resamples=200, confidence=0.9))
    assert "low" in wide["loss"]
    assert of_classes(classes(80, group=np.zeros(80)))["accuracy"]["no_interval"].startswith("it rests on 1 group,")


def test_a_rare_class_is_named() -> None:
    target = [0] * 60 + [1] * 57 + [2] * 3
    found = of_classes(classes(120, target=target))
    assert "3 samples alone" in found["per_class"]["per_class"]["roc_auc"]["no_interval"]
    assert ends(found["per_class"]["per_class"]["recall"])[1] <= 1
    assert any("per_class: fewer than 6 samples" in note for note in found["intervals"]["notes"])
    for mean in MEANS:
        assert found[mean]["no_interval"] == "rare classes decide it: per_class (3 samples)"
    assert "rare classes apart" in found["per_class"]["no"]["f1"]["method"]
    assert "rare classes apart" not in found["weighted_recall"]["method"]
    few = of_classes(classes(90, group=np.arange(90) % 12))
    assert few["intervals"]["notes"] == ["only 12 groups: the intervals are rough, and rather too narrow"]
    assert not of_classes(classes(90, group=np.arange(90) % 30))["intervals"]["notes"]


def test_what_resampling_itself_makes_larger_has_no_interval() -> None:
    """Average precision of 20 classes of 10 samples: its interval held the truth in 7 of 100 data sets."""
    found = of_classes(classes(200, k=20, target=np.repeat(np.arange(20), 10), skill=0.7))
    assert re.fullmatch(
        r"resampling itself moves it by 1\.\d standard errors", found["macro_average_precision"]["no_interval"]
    )
    for name in ("macro_roc_auc", "macro_f1", "balanced_accuracy"):
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]
    assert sum("low" in found["per_class"][str(number)]["average_precision"] for number in range(14)) >= 12


def test_an_infinite_end_is_no_interval() -> None:
    target = np.arange(80) % 2
    scores = np.where(target == 1, 0.9, 0.1)
    scores[:3] = 0.9  # Two false positives: many resamples have none.
    p = ClassificationPredictions(
        strings(range(80)),
        strings(np.arange(80) // 2),
        target,
        (scores > 0.5).astype(int),
        np.column_stack([1 - scores, scores]),
        ("no", "yes"),
    )
    found = of_classes(p, point=OperatingPoint("yes", 0.5, 0.5, "val", 80, {}))["binary"]
    assert found["positive_likelihood_ratio"]["value"] == 20
    assert "infinite in" in found["positive_likelihood_ratio"]["no_interval"]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 30), st.booleans())
def test_any_table_of_classes_gives_sound_cells(seed: int, n: int, groups: int, coarse: bool) -> None:
    draw = np.random.default_rng(seed)
    p = classes(n, group=draw.integers(0, groups, size=n), seed=seed, skill=float(draw.choice([0.0, 2.0, 50.0])))
    if coarse:
        scores = np.eye(3)[p.predicted]
        p = ClassificationPredictions(p.sample_id, p.group, p.target, p.predicted, scores, p.class_names)
    sound(of_classes(p, point=OperatingPoint("no", 0.5, 0.4, "val", n, {})))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 25), st.integers(1, 25), st.integers(1, 2), st.booleans())
def test_any_table_of_numbers_gives_sound_cells(seed: int, n: int, groups: int, k: int, coarse: bool) -> None:
    draw = np.random.default_rng(seed)
    values = draw.integers(0, 2, size=(2, n, k)) if coarse else draw.normal(size=(2, n, k))
    target, predicted = values.astype(np.float64)
    names = tuple(f"t.{number}" for number in range(k))
    p = RegressionPredictions(strings(range(n)), strings(draw.integers(0, groups, size=n)), target, predicted, names)
    table = regression_replicates.resampling(p, loss={"name": "mse"})
    sound(with_intervals(regression_metrics(p), table, QUICK, seed=seed))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 25), st.integers(1, 25))
def test_any_table_of_masks_gives_sound_cells(seed: int, n: int, groups: int) -> None:
    p = masks(np.random.default_rng(seed), n, groups)
    sound(with_intervals(segmentation_metrics(p), segmentation_replicates.resampling(p), QUICK, seed=seed))


def masks(draw: np.random.Generator, n: int, groups: int) -> SegmentationPredictions:
    parts = draw.integers(0, 5, size=(3, n)) * draw.integers(0, 2, size=(3, n))
    tp, fp, fn = parts.astype(np.int64)
    counts = PixelCounts(tp, fp, fn, 30 - tp - fp - fn)
    both = (counts.true > 0) & (counts.predicted > 0)
    grid = np.zeros((n, 19), dtype=np.int64)
    distance = np.where(both, draw.random(n), np.nan)
    return SegmentationPredictions(
        strings(range(n)), strings(draw.integers(0, groups, n)), counts, distance, grid, grid
    )


def sound(metrics: dict[str, Any]) -> None:
    """Every cell has a finite interval around its value, or a reason for none; JSON can hold it."""
    json.dumps(metrics, allow_nan=False)
    for name, cell in metrics.items():
        if name in ("over_thresholds", "predict_nothing", "by_group", "intervals"):
            continue
        if isinstance(cell, dict) and "value" not in cell:
            sound(cell)
        elif isinstance(cell, dict):
            counts = isinstance(cell["value"], int) or name.endswith("standard_error")
            added = {"low", "high", "method"} <= {*cell}, "no_interval" in cell
            assert sum(added) == (0 if counts or cell["value"] is None else 1), (name, cell)
            assert not added[0] or cell["low"] <= cell["high"], (name, cell)


def test_medians_and_volumes_of_masks() -> None:
    p = masks(np.random.default_rng(1), 120, 30)
    found = with_intervals(segmentation_metrics(p), segmentation_replicates.resampling(p), QUICK, seed=1)
    groups = len(set(p.group))
    assert found["dice_group_median"]["method"] == f"percentile bootstrap, 200 resamples of {groups} groups"
    assert found["dice_group_mean"]["method"] == f"BCa bootstrap, 200 resamples of {groups} groups"
    low, high = ends(found["dice_group_mean"])
    error = found["dice_group_standard_error"]["value"]
    assert high - low == pytest.approx(2 * 2.05 * error, rel=0.2)
    assert "low" not in found["over_thresholds"]["0.50"]["dice_all"]


def test_settings_that_leave_the_ends_to_luck_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"at least 1,000 `resamples` for a `confidence` of 0.99, received 500"):
        Bootstrap(resamples=500, confidence=0.99)
    assert Bootstrap(resamples=1000, confidence=0.99)


@pytest.mark.slow
def test_a_large_table_takes_seconds() -> None:
    p = classes(1600, 8, seed=1)
    start = time.perf_counter()
    of_classes(p, Bootstrap())
    assert time.perf_counter() - start < 10


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """A small version of benchmarks/coverage.py: 40 patients, whose images are alike."""
    grouped = coverage.measured(coverage.Scenario(40, True), QUICK, 40)
    ignored = coverage.measured(coverage.Scenario(40, True, known=False), QUICK, 40)
    for metric, found in grouped.items():
        assert 0.88 <= found.held <= 1, metric
        assert found.missing == 0
        assert ignored[metric].held < found.held, metric
        assert ignored[metric].width < found.width, metric
