"""Intervals and tests against SciPy, plain formulas and published worked examples."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cvlab.statistics.bootstrap import (
    acceleration,
    bca_interval,
    group_weights,
    jackknife_weights,
    percentile_interval,
    stratified,
    tail,
    too_biased,
    weight_chunks,
)
from cvlab.statistics.delong import auc_interval, delong, paired_test
from cvlab.statistics.proportions import wilson


@pytest.mark.parametrize("statistic", [np.mean, np.median, np.var])
def test_intervals_equal_scipy_on_the_same_resamples(statistic: object) -> None:
    data = np.random.default_rng(1).gamma(2, size=60)
    for method in ("percentile", "BCa"):
        expected = stats.bootstrap(
            (data,), statistic, n_resamples=999, method=method, confidence_level=0.9, rng=np.random.default_rng(2)
        )
        drawn = expected.bootstrap_distribution
        if method == "percentile":
            found = percentile_interval(drawn, 0.9)
        else:
            jackknife = [statistic(data[row > 0]) for row in jackknife_weights(np.arange(60))]  # type: ignore[operator]
            found = bca_interval(statistic(data), drawn, jackknife, 0.9)  # type: ignore[operator]
        assert found == pytest.approx(tuple(expected.confidence_interval), abs=1e-9)


def test_weighted_means_give_the_interval_of_scipy_within_the_noise_of_resampling() -> None:
    data = np.random.default_rng(3).gamma(1, size=80)
    weights = group_weights(np.arange(80), resamples=20_000, seed=4)
    ours = bca_interval(data.mean(), weights @ data / 80, jackknife_weights(np.arange(80)) @ data / 79)
    theirs = stats.bootstrap((data,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(5))
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=0.01)


def test_bca_of_a_published_example() -> None:
    """Efron & Tibshirani 1993, table 14.1 and 14.2: the variance of the spatial test data, A.

    The acceleration is exact; the intervals of the book come from 2,000 resamples, whose error is about 2.
    """
    a = [48, 36, 20, 29, 42, 42, 20, 42, 22, 41, 45, 14, 6, 0, 33, 28, 34, 4, 32, 24, 47, 41, 24, 26, 30, 41]
    data = np.array(a, dtype=float)
    jackknife = [np.var(data[row > 0]) for row in jackknife_weights(np.arange(26))]
    assert acceleration(jackknife) == pytest.approx(0.061, abs=5e-4)
    weights = group_weights(np.arange(26), resamples=40_000, seed=6)
    means = weights @ data / 26
    drawn = weights @ data**2 / 26 - means**2
    assert percentile_interval(drawn, 0.9) == pytest.approx((100.8, 233.9), abs=5)
    assert bca_interval(float(np.var(data)), drawn, jackknife, 0.9) == pytest.approx((115.8, 259.6), abs=5)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.integers(0, 2**32), st.integers(1, 9))
def test_whole_groups_are_drawn_and_chunks_change_nothing(group: list[int], seed: int, chunk: int) -> None:
    weights = group_weights(group, resamples=20, seed=seed)
    assert weights.shape == (20, len(group))
    first = [group.index(one) for one in sorted(set(group))]
    assert (weights[:, first].sum(axis=1) == len(first)).all()
    for place, one in enumerate(group):
        assert (weights[:, place] == weights[:, group.index(one)]).all()
    chunks = list(weight_chunks(group, resamples=20, seed=seed, chunk=chunk))
    assert (np.concatenate(chunks) == weights).all()
    assert max(map(len, chunks)) == min(chunk, 20)


def test_each_group_is_drawn_as_often_as_any_other() -> None:
    weights = group_weights(list("aabbbcdddd"), resamples=20_000, seed=7)
    expected = stats.binom.pmf(np.arange(5), 4, 0.25)
    for place in (0, 2, 5, 9):
        shares = np.bincount(weights[:, place], minlength=5) / 20_000
        assert shares == pytest.approx(expected, abs=0.012)


def test_a_rare_class_is_always_drawn_and_a_common_one_freely() -> None:
    strata = [0] * 40 + [1] * 3 + [2] * 30
    weights = group_weights(np.arange(73), strata, resamples=500, seed=8)
    assert (weights[:, 40:43].sum(axis=1) == 3).all()
    assert weights[:, 40].std() > 0
    assert len(set(weights[:, :40].sum(axis=1).tolist())) > 5
    assert (weights.sum(axis=1) == 73).all()
    assert stratified(np.arange(73), strata)
    assert not stratified(np.arange(73), [0] * 40 + [1] * 33)
    assert not stratified(np.arange(73), None)


def test_no_class_is_missing_and_only_as_many_as_needed_are_drawn_apart() -> None:
    # One class of 5 groups is missing from 0.6 % of the resamples of 100, two of them from 1.2 %.
    one, two = [0] * 95 + [1] * 5, [0] * 90 + [1] * 5 + [2] * 5
    assert not stratified(np.arange(100), one)
    assert stratified(np.arange(100), two)
    for strata in (one, two):
        weights = group_weights(np.arange(100), strata, resamples=3000, seed=10)
        for rare in range(1, max(strata) + 1):
            drawn = weights[:, np.array(strata) == rare].sum(axis=1)
            assert drawn.min() >= 1
        assert len(np.unique(drawn)) > 5
        assert (
            np.concatenate(list(weight_chunks(np.arange(100), strata, resamples=3000, seed=10, chunk=7))) == weights
        ).all()


def test_infinite_replicates_make_infinite_ends() -> None:
    drawn = np.array([*range(95), *[np.inf] * 5], dtype=float)
    assert percentile_interval(drawn, 0.8) == pytest.approx((9.9, 89.1))
    low, high = percentile_interval(drawn, 0.95)
    assert low == pytest.approx(2.475)
    assert high == np.inf


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.floats(0.01, 0.99))
def test_percentiles_are_those_of_numpy(drawn: list[float], confidence: float) -> None:
    shares = stats.norm.cdf(np.array([-1, 1]) * stats.norm.ppf((1 + confidence) / 2))
    assert percentile_interval(drawn, confidence) == pytest.approx(tuple(np.quantile(drawn, shares)), abs=1e-6)


def test_a_group_of_two_rare_classes_stands_with_the_rarest() -> None:
    group, strata = [0, 0, 1, 2, *range(3, 30)], [1, 2, 2, 2, *[0] * 27]
    weights = group_weights(group, strata, resamples=200, seed=9)
    assert (weights[:, 0] == 1).all()
    assert (weights[:, 2] + weights[:, 3] == 2).all()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(1, 12))
def test_the_jackknife_leaves_out_each_group_once(group: list[int], blocks: int) -> None:
    weights = jackknife_weights(group, blocks=blocks)
    assert len(weights) == min(len(set(group)), blocks)
    assert ((1 - weights).sum(axis=0) == 1).all()
    for one in set(group):
        assert len(np.unique(weights[:, np.array(group) == one], axis=1).T) == 1
    assert len(jackknife_weights(group)) == len(set(group))


def test_blocks_estimate_the_same_acceleration() -> None:
    data = np.random.default_rng(10).exponential(size=20_000)
    some = jackknife_weights(np.arange(20_000), blocks=400)
    by_blocks = acceleration(some @ data / some.sum(axis=1))
    one_by_one = acceleration((data.sum() - data) / (len(data) - 1))
    assert by_blocks == pytest.approx(one_by_one, abs=0.002)


def test_few_groups_reach_further() -> None:
    assert tail(0.95) == pytest.approx(1.959964, abs=1e-6)
    # Hesterberg 2015, table 2 in section 3.4.2: for n = 10 the nominal .025 becomes Phi(-sqrt(10 / 9) 2.262).
    assert stats.norm.cdf(-tail(0.95, 10)) == pytest.approx(stats.norm.cdf(-np.sqrt(10 / 9) * 2.262157), abs=1e-7)
    assert tail(0.95, 1e7) == pytest.approx(tail(0.95), abs=1e-5)
    drawn = np.random.default_rng(11).normal(size=5000)
    narrow, wide = percentile_interval(drawn), percentile_interval(drawn, groups=8)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_what_cannot_be_corrected_is_refused() -> None:
    with pytest.raises(ValueError, match="both sides"):
        bca_interval(2.0, [0.0, 1.0], [0.0, 1.0])
    with pytest.raises(ValueError, match="two groups"):
        tail(0.95, 1)
    with pytest.raises(ValueError, match="one or more samples"):
        group_weights([], resamples=2, seed=1)


@pytest.mark.parametrize(
    ("successes", "samples", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_of_newcombe(successes: int, samples: int, low: float, high: float) -> None:
    """Newcombe 1998 (Statistics in Medicine 17:857), table I, method 3."""
    assert wilson(successes, samples) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500), st.floats(0.5, 0.999), st.data())
def test_wilson_equals_scipy(samples: int, confidence: float, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, samples))
    expected = stats.binomtest(successes, samples).proportion_ci(confidence, method="wilson")
    assert wilson(successes, samples, confidence) == pytest.approx((expected.low, expected.high), abs=1e-9)


def plain_delong(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The formula of the paper: every pair of samples, n^2 of them."""
    wins, losses, aucs = [], [], []
    for score in scores:
        pairs = np.sign(score[positive][:, None] - score[~positive][None, :]) / 2 + 0.5
        aucs.append(pairs.mean())
        wins.append(pairs.mean(axis=1))
        losses.append(pairs.mean(axis=0))
    size = len(scores)
    covariance = np.zeros((size, size))
    for r in range(size):
        for s in range(size):
            of_positives = ((wins[r] - aucs[r]) * (wins[s] - aucs[s])).sum() / (positive.sum() - 1)
            of_negatives = ((losses[r] - aucs[r]) * (losses[s] - aucs[s])).sum() / ((~positive).sum() - 1)
            covariance[r, s] = of_positives / positive.sum() + of_negatives / (~positive).sum()
    return np.array(aucs), covariance


@given(st.integers(0, 2**32), st.integers(2, 20), st.integers(2, 20), st.integers(1, 3), st.integers(2, 40))
def test_delong_equals_the_plain_formula(seed: int, m: int, n: int, models: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    positive = random.permutation(np.arange(m + n) < m)
    scores = random.integers(levels, size=(models, m + n)) / levels
    aucs, covariance = delong(positive, scores)
    expected = plain_delong(positive, scores)
    assert aucs == pytest.approx(expected[0], abs=1e-12)
    assert covariance == pytest.approx(expected[1], abs=1e-12)
    assert aucs == pytest.approx([sk.roc_auc_score(positive, score) for score in scores], abs=1e-12)


def test_the_interval_of_an_auc() -> None:
    # By hand on the logit scale: 0.8 has the logit 1.386294, and 0.04 / (0.8 * 0.2) = 0.25.
    expected = (1 / (1 + np.exp(-(1.3862944 - 0.4899910))), 1 / (1 + np.exp(-(1.3862944 + 0.4899910))))
    assert auc_interval(0.8, 0.04**2) == pytest.approx(expected, abs=1e-6)
    assert auc_interval(1.0, 0.0) is None


def test_two_aucs_of_the_same_samples() -> None:
    random = np.random.default_rng(12)
    positive = random.random(200) < 0.4
    first, second = positive + random.normal(size=200), positive + random.normal(size=200)
    found = paired_test(positive, first, second)
    aucs, covariance = plain_delong(positive, np.stack([first, second]))
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    difference = aucs[0] - aucs[1]
    assert found.difference == pytest.approx(difference, abs=1e-12)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(difference) / error), abs=1e-9)
    assert (found.low, found.high) == pytest.approx((difference - 1.959964 * error, difference + 1.959964 * error))
    # It agrees with what resampling the samples says.
    weights = group_weights(np.arange(200), resamples=200, seed=13)
    drawn = [
        sk.roc_auc_score(positive, first, sample_weight=row) - sk.roc_auc_score(positive, second, sample_weight=row)
        for row in weights
    ]
    assert np.std(drawn) == pytest.approx(error, rel=0.2)


def test_equal_rankings_do_not_differ() -> None:
    positive, score = np.array([True, True, False, False, True]), np.array([0.9, 0.3, 0.4, 0.1, 0.8])
    assert paired_test(positive, score, score**2) == (0.0, 0.0, 0.0, 1.0)
    assert paired_test(positive, positive.astype(float), np.zeros(5)).p is None


def test_delong_refuses_what_has_no_variance() -> None:
    with pytest.raises(ValueError, match="1 positive"):
        delong([True, False, False], [[0.1, 0.2, 0.3]])
    with pytest.raises(ValueError, match="finite"):
        delong([True, True, False, False], [[0.1, 0.2, np.nan, 0.3]])


def test_replicates_beside_the_value_are_too_biased() -> None:
    # Mean 0.6 and standard deviation 1.
    drawn = np.array([-0.4, 1.6] * 50)
    assert too_biased(0.0, drawn) == "resampling itself moves it by 0.6 standard errors"
    assert too_biased(1.2, drawn) == "resampling itself moves it by 0.6 standard errors"
    assert too_biased(0.2, drawn) == ""
    assert too_biased(0.0, [np.inf, 1.0]) == ""
    assert too_biased(0.1 + 0.2, [0.3] * 5) == ""
