"""Formulas of uncertainty against SciPy, brute force and hand computations; tables that are written and read."""

from __future__ import annotations

import math
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize_scalar

from cvlab.errors import RunFolderError
from cvlab.metrics.calibration import expected_calibration_error
from cvlab.metrics.segmentation_calibration import mask_gaps, pixel_calibration_error
from cvlab.metrics.uncertainty import (
    LEVELS,
    calibration_error,
    class_losses,
    entropy,
    gaussian_losses,
    mask_losses,
    mean_cell,
    moments_of,
    observed_coverage,
    risk_coverage,
    risk_coverage_area,
    variance_scale,
)
from cvlab.metrics.uncertainty_metrics import uncertainty_metrics
from cvlab.metrics.uncertainty_table import ClassUncertainty, MaskUncertainty, RegressionUncertainty

RNG = np.random.default_rng(0)
NAMES = ("a,b", 'say "c"', "d\ne")


def ids(count: int) -> np.ndarray:
    return np.array([f"images/{number}#flip" for number in range(count)], dtype=object)


def scores(samples: int, classes: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.7), samples)


def test_a_small_regression_by_hand() -> None:
    """Three samples, one target, four passes; every number below was computed by hand."""
    passes = [np.array([[1.0], [2.0], [0.0]]), np.array([[3.0], [2.0], [4.0]]),
              np.array([[1.0], [4.0], [0.0]]), np.array([[3.0], [4.0], [4.0]])]  # fmt: skip
    moments = moments_of(passes, of_scores=False)
    mean, variance, truth = moments.mean[:, 0], moments.variance[:, 0], np.array([3.0, 3.0, 0.0])
    assert mean.tolist() == [2.0, 3.0, 2.0]
    assert variance.tolist() == [1.0, 1.0, 4.0]
    # 0.5 ln 1 + 0.5 / 1, 0.5 ln 1 + 0, 0.5 ln 4 + 0.5 * 4 / 4
    assert mean_cell(gaussian_losses(truth, mean, variance))["value"] == pytest.approx((1 + math.log(2)) / 3, abs=1e-9)
    scale = variance_scale(truth, mean, variance)["value"]
    assert scale == pytest.approx((1 + 0 + 1) / 3, abs=1e-9)
    scaled = gaussian_losses(truth, mean, scale * variance)
    by_hand = [0.5 * math.log(2 / 3) + 0.75, 0.5 * math.log(2 / 3), 0.5 * math.log(8 / 3) + 0.75]
    np.testing.assert_allclose(scaled, by_hand, atol=1e-9)
    # Deviations of 1, 0 and 1 standard deviation; 68.27 % of a Gaussian lie within one.
    shares = [1 / 3] * 7 + [1.0] * 4
    np.testing.assert_allclose(observed_coverage(truth, mean, variance), shares, atol=1e-9)
    error = sum(abs(level / 10 - share) for level, share in enumerate(shares)) / 11
    assert calibration_error(truth, mean, variance)["value"] == pytest.approx(error, abs=1e-9)
    # Kept from the least variance on: the first two are as certain (errors 1 and 0), the third has the error 2.
    assert risk_coverage(np.abs(mean - truth), variance)[1].tolist() == [0.5, 0.5, 1.0]


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_moments_are_those_of_all_passes_at_once(offset: float) -> None:
    passes = offset + RNG.normal(size=(30, 5, 2))
    found = moments_of(iter(passes), of_scores=False)
    np.testing.assert_allclose(found.mean, passes.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.variance, passes.var(axis=0), rtol=1e-8)
    assert found.pass_entropy is None


def test_passes_that_agree_have_no_variance_and_no_information() -> None:
    one = scores(7).astype(np.float32)
    found = moments_of([one] * 9, of_scores=True)
    assert not found.variance.any()
    np.testing.assert_array_equal(found.mean, one)
    np.testing.assert_allclose(found.mutual_information, 0, atol=1e-12)
    assert (found.mutual_information >= 0).all()
    with pytest.raises(ValueError, match="at least one pass"):
        moments_of([], of_scores=True)


def test_entropy_and_mutual_information_against_scipy() -> None:
    passes = [scores(20, seed=seed) for seed in range(12)]
    found = moments_of(passes, of_scores=True)
    mean = np.mean(passes, axis=0)
    np.testing.assert_allclose(found.entropy, stats.entropy(mean, axis=1), atol=1e-9)
    divergences = [stats.entropy(one, mean, axis=1) for one in passes]
    # Mutual information is also the mean Kullback-Leibler divergence of a pass from the mean.
    np.testing.assert_allclose(found.mutual_information, np.mean(divergences, axis=0), atol=1e-9)
    assert entropy(np.array([1.0, 0.0])) == 0.0
    assert math.copysign(1, entropy(np.array([1.0, 0.0]))) == 1


def test_gaussian_losses_against_scipy() -> None:
    target, mean, variance = RNG.normal(size=50), RNG.normal(size=50), RNG.uniform(0.01, 4, 50)
    expected = -stats.norm.logpdf(target, mean, np.sqrt(variance)) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(gaussian_losses(target, mean, variance), expected, atol=1e-9)


@given(st.integers(0, 10_000))
def test_no_factor_of_the_variance_is_more_likely_than_the_scale(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target, mean, variance = rng.normal(size=12), rng.normal(size=12), rng.uniform(0.1, 3, 12)
    scale = variance_scale(target, mean, variance)["value"]
    best = minimize_scalar(
        lambda log: gaussian_losses(target, mean, math.exp(log) * variance).mean(), bounds=(-8, 8), method="bounded"
    )
    assert gaussian_losses(target, mean, scale * variance).mean() <= best.fun + 1e-9


def test_without_variance_everything_that_needs_it_says_why() -> None:
    target, mean, variance = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.5, 3.0]), np.array([0.0, 0.0, 1.0])
    for cell in (
        mean_cell(gaussian_losses(target, mean, variance)),
        variance_scale(target, mean, variance),
        calibration_error(target, mean, variance),
    ):
        assert cell["value"] is None
        assert "variance is 0" in cell["reason"]
        assert "2 of 3" in cell["reason"]
    assert mean_cell(gaussian_losses(np.array([1e200]), np.zeros(1), np.array([1e-300])))["value"] is None


def test_coverage_of_intervals_against_scipy() -> None:
    target, mean, deviation = RNG.normal(size=400), RNG.normal(scale=0.3, size=400), RNG.uniform(0.4, 2, 400)
    shares = []
    for level in LEVELS:
        low, high = stats.norm.interval(level, mean, deviation)
        shares.append(((low <= target) & (target <= high)).mean())
    np.testing.assert_allclose(observed_coverage(target, mean, deviation**2), shares, atol=1e-9)
    error = calibration_error(target, mean, deviation**2)["value"]
    assert error == pytest.approx(np.abs(np.linspace(0, 1, 11) - shares).mean(), abs=1e-9)


def test_honest_gaussians_are_calibrated() -> None:
    rng = np.random.default_rng(1)
    mean, deviation = rng.normal(size=20_000), rng.uniform(0.1, 3, 20_000)
    target = rng.normal(mean, deviation)
    assert calibration_error(target, mean, deviation**2)["value"] < 0.01
    assert calibration_error(target, mean, 9 * deviation**2)["value"] > 0.2


def test_losses_of_classes_and_masks_by_hand() -> None:
    found = class_losses(np.array([0, 1, 1]), np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]]))
    np.testing.assert_allclose(found, [math.log(2), math.log(4), -math.log(1e-7)], atol=1e-9)
    truth = np.array([[[True, False]]])
    of_mask = mask_losses(truth, np.array([[[0.25, 0.5]]]))
    np.testing.assert_allclose(of_mask, [(math.log(4) + math.log(2)) / 2], atol=1e-9)


@given(st.integers(0, 10_000), st.integers(1, 60))
def test_calibration_error_of_classes_is_that_of_a_plain_loop(seed: int, samples: int) -> None:
    given_scores = scores(samples, seed=seed)
    target = np.random.default_rng(seed + 1).integers(0, 3, samples)
    total = 0.0
    for place in range(15):
        low, high = place / 15, (place + 1) / 15
        inside = [row for row in range(samples) if low < given_scores[row].max() <= high]
        if inside:
            accuracy = sum(given_scores[row].argmax() == target[row] for row in inside) / len(inside)
            confidence = sum(given_scores[row].max() for row in inside) / len(inside)
            total += len(inside) / samples * abs(accuracy - confidence)
    assert expected_calibration_error(target, given_scores)["value"] == pytest.approx(total, abs=1e-9)


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_calibration_error_of_masks_is_that_of_a_plain_loop_over_all_pixels(seed: int, images: int) -> None:
    rng = np.random.default_rng(seed)
    truth, inside = (
        rng.random((images, 5, 4)) < 0.3,
        rng.choice([0.0, 0.2, 0.5, 0.8, rng.random(), 1.0], (images, 5, 4)),
    )
    total = 0.0
    for place in range(15):
        pixels = [
            (t, p)
            for t, p in zip(truth.ravel().tolist(), inside.ravel().tolist(), strict=True)
            if place / 15 < p <= (place + 1) / 15 or (p == 0 and place == 0)
        ]
        if pixels:
            share, score = (sum(values) / len(pixels) for values in zip(*pixels, strict=True))
            total += len(pixels) / truth.size * abs(share - score)
    gaps = mask_gaps(truth, inside)
    assert gaps.shape == (images, 15)
    assert pixel_calibration_error(gaps, truth.size) == pytest.approx(total, abs=1e-12)


def test_certain_scores_fall_into_the_last_bin() -> None:
    sure = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert expected_calibration_error(np.array([0, 1]), sure)["value"] == 0.5
    assert expected_calibration_error(np.array([0, 0]), sure)["value"] == 0.0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=5))
def test_risk_over_coverage_is_the_mean_over_all_orders_of_equals(pairs: list[tuple[int, int]]) -> None:
    risk, uncertainty = (np.array(values, dtype=np.float64) for values in zip(*pairs, strict=True))
    orders = [order for order in permutations(range(len(pairs))) if (np.diff(uncertainty[[*order]]) >= 0).all()]
    kept = np.arange(1, len(pairs) + 1)
    expected = np.mean([np.cumsum(risk[[*order]]) / kept for order in orders], axis=0)
    coverage, found = risk_coverage(risk, uncertainty)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_allclose(coverage, kept / len(pairs))
    assert risk_coverage_area(risk, uncertainty)["value"] == pytest.approx(expected.mean(), abs=1e-9)


def test_uncertainty_that_does_not_differ_is_noted() -> None:
    cell = risk_coverage_area(np.array([1.0, 0.0, 0.0]), np.zeros(3))
    assert cell["value"] == pytest.approx(1 / 3)
    assert "order says nothing" in cell["note"]
    assert "note" not in risk_coverage_area(np.ones(1), np.zeros(1))


def class_table() -> ClassUncertainty:
    passes = [scores(6, seed=seed) for seed in range(4)]
    found = moments_of(passes, of_scores=True)
    values = (found.mean, found.variance, found.entropy, found.mutual_information)
    return ClassUncertainty(ids(6), np.array([0, 1, 2, 0, 1, 2]), *values, NAMES)


def regression_table() -> RegressionUncertainty:
    rng = np.random.default_rng(3)
    target, mean = rng.normal(size=(2, 5, 2))
    return RegressionUncertainty(ids(5), target, mean, rng.uniform(0.1, 2, (5, 2)), ("x", "target:x"))


def mask_table() -> MaskUncertainty:
    counts = np.array([[4, 1, 1, 10], [0, 0, 0, 16], [0, 3, 0, 13]])
    rng = np.random.default_rng(4)
    nll, entropies, information = rng.uniform(0, 0.6, (3, 3))
    return MaskUncertainty(ids(3), counts, nll, entropies, information, rng.normal(size=(3, 15)))


@pytest.mark.parametrize("make", [class_table, regression_table, mask_table])
def test_tables_read_back_exactly(make: type, tmp_path: Path) -> None:
    table = make()
    table.write(tmp_path / "test.csv")
    read = type(table).read(tmp_path / "test.csv")
    for name, value in vars(table).items():
        np.testing.assert_array_equal(getattr(read, name), value)


def test_metrics_of_each_kind_of_table() -> None:
    classes = uncertainty_metrics(class_table())
    assert classes["nll"]["value"] == class_losses(class_table().target, class_table().mean).mean()
    assert classes["entropy"]["value"] == pytest.approx(class_table().entropy.mean(), abs=1e-12)
    assert classes["samples"] == 6
    table = regression_table()
    numbers = uncertainty_metrics(table)["per_target"]["target:x"]
    errors = table.mean[:, 1] - table.target[:, 1]
    assert numbers["rmse"]["value"] == pytest.approx(np.sqrt(np.mean(errors**2)), abs=1e-12)
    assert numbers["mae"]["value"] == pytest.approx(np.abs(errors).mean(), abs=1e-12)
    assert numbers["deviation"]["value"] == np.sqrt(table.variance[:, 1]).mean()
    masks = uncertainty_metrics(mask_table())
    # Dice 8 / 10, 1 of two empty masks, 0 of one.
    assert masks["dice_all"]["value"] == pytest.approx(1.8 / 3, abs=1e-12)
    assert masks["dice_nonempty"]["value"] == pytest.approx(0.8, abs=1e-12)
    assert masks["dice_pooled"]["value"] == pytest.approx(8 / 13, abs=1e-12)
    assert masks["ece"]["value"] == pytest.approx(abs(mask_table().gaps.sum(axis=0)).sum() / 48, abs=1e-12)
    assert masks["nll"]["value"] == pytest.approx(mask_table().nll.mean(), abs=1e-12)


def test_values_that_are_no_numbers_are_not_written(tmp_path: Path) -> None:
    table = regression_table()
    table.variance[2, 1] = np.nan
    with pytest.raises(RunFolderError, match=r"sample 'images/2#flip', variance:target:x: .* received nan"):
        table.write(tmp_path / "test.csv")
    assert not (tmp_path / "test.csv").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sample_id", "id", "column 1: expected 'sample_id', received 'id'"),
        ("variance:x", "variance:y", "expected 'variance:x', received 'variance:y'"),
        ("images/1#flip", "images/0#flip", "expected unique ids"),
        ("\nimages/4#flip,", "\nimages/4#flip,inf,", "expected 7 columns, received 8"),
    ],
)
def test_damage_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "test.csv"
    regression_table().write(path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(RunFolderError, match=message):
        RegressionUncertainty.read(path)


def test_damage_of_the_other_tables_is_named(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    mask_table().write(path)
    path.write_text(path.read_text().replace("4,1,1,10", "4.5,1,1,10"))
    with pytest.raises(RunFolderError, match=r"row 2, column 'tp': expected a number of pixels, received '4.5'"):
        MaskUncertainty.read(path)
    class_table().write(path)
    with pytest.raises(RunFolderError, match=r"expected 'tp', received 'target'"):
        MaskUncertainty.read(path)
    path.write_text(path.read_text().replace('images/0#flip,"a,b"', "images/0#flip,zebra"))
    with pytest.raises(RunFolderError, match=r"row 2, column 'target': expected a class, received 'zebra'"):
        ClassUncertainty.read(path)
