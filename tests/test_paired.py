"""Paired tests against SciPy, published worked examples, and brute force."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from cvlab.statistics.bootstrap import group_weights
from cvlab.statistics.paired import (
    bootstrap_difference,
    difference_of_means,
    holm,
    mcnemar,
    tango_interval,
    wilcoxon,
)


def answers(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether two models are right, from the four counts of a paired table."""
    cells = ((1, 1, both), (1, 0, first), (0, 1, second), (0, 0, neither))
    rows = np.array([cell[:2] for cell in cells for _ in range(cell[2])], dtype=bool)
    return rows[:, 0], rows[:, 1]


def test_mcnemar_of_agresti_s_approval_ratings() -> None:
    # Agresti, Categorical Data Analysis, table 10.1: 794, 150, 86, 570; z = -4.17, z^2 = 17.36.
    found = mcnemar(*answers(794, 150, 86, 570))
    assert (found.only_first, found.only_second, found.exact) == (150, 86, False)
    assert stats.norm.isf(found.p / 2) ** 2 == pytest.approx((150 - 86) ** 2 / (150 + 86), rel=1e-9)
    assert found.p == pytest.approx(stats.chi2.sf(17.3559322, 1), rel=1e-6)


def test_few_discordant_pairs_of_bentur_s_airways() -> None:
    # Fagerland, Lydersen & Laake 2013 and 2014 work this table out: 1, 1, 7, 12.
    found = mcnemar(*answers(1, 1, 7, 12))
    assert found.exact
    assert found.p == pytest.approx(0.0703125, abs=1e-12)
    low, high = tango_interval(1, 7, 21)
    assert (round(low, 3), round(high, 3)) == (-0.517, -0.026)


@given(st.integers(0, 24), st.integers(0, 24))
def test_exact_mcnemar_is_scipy_s_binomial_test(b: int, c: int) -> None:
    found = mcnemar(*answers(5, b, c, 3))
    assert found.exact == (b + c < 25)
    if found.exact and b + c:
        assert found.p == pytest.approx(stats.binomtest(b, b + c).pvalue, abs=1e-12)
    assert mcnemar(*answers(5, c, b, 3)).p == found.p


def test_no_discordant_pair_is_no_evidence() -> None:
    assert mcnemar([True, False], [True, False]).p == 1.0


@pytest.mark.parametrize(("b", "c", "n"), [(12, 2, 50), (1, 7, 21), (6, 16, 161), (0, 5, 30), (40, 25, 100), (3, 3, 9)])
def test_tango_is_where_the_score_test_by_brute_force_turns(b: int, c: int, n: int) -> None:
    low, high = tango_interval(b, c, n)
    z = stats.norm.ppf(0.975)
    for end, sign in ((low, 1), (high, -1)):

        def loss(q: float, d: float = end) -> float:
            """Minus the log-likelihood where the second alone is right with probability q, the first with q + d."""
            parts = ((b, q + d), (c, q), (n - b - c, 1 - 2 * q - d))
            return -float(sum(count * np.log(max(share, 1e-300)) for count, share in parts if count))

        most = (1 - end) / 2
        bounds = (max(0.0, -end), most)
        found = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-13})
        q = min((found.x, *bounds), key=loss)
        score = (b - c - n * end) / np.sqrt(n * (2 * q + end * (1 - end)))
        assert score == pytest.approx(sign * z, abs=1e-5)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 40))
def test_tango_s_interval_is_sound(b: int, c: int, agreeing: int) -> None:
    n = b + c + agreeing
    low, high = tango_interval(b, c, n)
    assert -1 <= low <= (b - c) / n <= high <= 1
    mirrored = tango_interval(c, b, n)
    assert [low, high] == pytest.approx([-mirrored[1], -mirrored[0]], abs=1e-9)
    if b + c >= 25:
        assert (low > 0 or high < 0) == (mcnemar(*answers(agreeing, b, c, 0)).p < 0.05)


def test_tango_s_interval_of_total_disagreement() -> None:
    low, high = tango_interval(20, 0, 20)
    assert high == 1.0
    assert low == pytest.approx(-tango_interval(0, 20, 20)[1], abs=1e-9)
    with pytest.raises(ValueError, match="parts of one or more"):
        tango_interval(20, 1, 20)


@given(st.integers(1, 100), st.integers(0, 2**32 - 1))
def test_wilcoxon_is_scipy_s_where_no_two_are_equal(n: int, seed: int) -> None:
    differences = np.random.default_rng(seed).normal(0.3, 1, n)
    expected = stats.wilcoxon(differences, method="exact")
    found = wilcoxon(differences)
    assert found.p == pytest.approx(expected.pvalue, abs=1e-9)
    assert min(found.positive, found.negative) == pytest.approx(expected.statistic)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_wilcoxon_with_equal_ones_is_that_of_all_signs(values: list[int]) -> None:
    found = wilcoxon(values)
    kept = np.array([value for value in values if value], dtype=float)
    assert found.pairs == len(kept)
    if not len(kept):
        assert found.p == 1.0
        return
    ranks = stats.rankdata(np.abs(kept))
    sums = [ranks[np.array(signs, dtype=bool)].sum() for signs in product((0, 1), repeat=len(kept))]
    smaller = min(ranks[kept > 0].sum(), ranks[kept < 0].sum())
    assert found.p == pytest.approx(min(1.0, 2 * np.mean(np.array(sums) <= smaller)), abs=1e-12)


def test_wilcoxon_of_many_is_scipy_s_normal_one() -> None:
    differences = np.round(np.random.default_rng(4).normal(0.1, 1, 400), 1)
    expected = stats.wilcoxon(differences, method="asymptotic", zero_method="wilcox")
    assert wilcoxon(differences).p == pytest.approx(expected.pvalue, rel=1e-9)


def test_the_bootstrap_of_a_mean_agrees_with_student_s_t() -> None:
    values = np.random.default_rng(3).normal(0.25, 1, 60)
    weights = group_weights(np.arange(60), resamples=20_000, seed=1)
    found = bootstrap_difference(values.mean(), (weights @ values) / weights.sum(axis=1), groups=60)
    expected = stats.ttest_1samp(values, 0)
    interval = expected.confidence_interval()
    assert found.p == pytest.approx(expected.pvalue, abs=0.01)
    assert found.low == pytest.approx(interval.low, abs=0.015)
    assert found.high == pytest.approx(interval.high, abs=0.015)


@given(st.floats(-0.5, 0.5), st.integers(6, 500))
def test_the_interval_holds_0_where_p_is_large(shift: float, groups: int) -> None:
    replicates = np.random.default_rng(0).normal(shift, 0.2, 1999)
    found = bootstrap_difference(shift, replicates, groups=groups)
    if found.p is not None and abs(found.p - 0.05) > 0.003:
        assert (found.low <= 0 <= found.high) == (found.p > 0.05)


def test_few_groups_cannot_say_much() -> None:
    found = bootstrap_difference(0.5, np.full(2000, 0.5), groups=6)
    assert found.p == pytest.approx(2**-5)
    with pytest.raises(ValueError, match="6 groups or more, received 5"):
        bootstrap_difference(0.5, np.full(2000, 0.5), groups=5)
    same = bootstrap_difference(0.0, np.zeros(2000), groups=50)
    assert (same.low, same.high, same.p) == (0.0, 0.0, 1.0)


def test_means_over_runs_are_as_uncertain_as_welch_says_when_samples_add_nothing() -> None:
    first, second = [0.50, 0.53, 0.55, 0.51, 0.54], [0.47, 0.49, 0.52]
    found = difference_of_means(
        float(np.mean(first) - np.mean(second)), np.full(100, 0.03), [first, second], groups=400
    )
    expected = stats.ttest_ind(first, second, equal_var=False)
    interval = expected.confidence_interval()
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert [found.low, found.high] == pytest.approx([*interval])
    paired = np.subtract(first[:3], second)
    found = difference_of_means(float(paired.mean()), np.full(100, 0.03), [paired], groups=400)
    assert found.p == pytest.approx(stats.ttest_1samp(paired, 0).pvalue, rel=1e-9)


def test_equal_runs_differ_by_nothing() -> None:
    assert difference_of_means(0.0, np.zeros(9), [[0.5, 0.5]], groups=9).p == 1.0
    assert difference_of_means(0.1, np.zeros(9), [[0.5, 0.5]], groups=9).p is None


def test_holm_of_a_worked_example() -> None:
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") in R.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, None, 0.9]) == [1.0, None, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_its_steps_reject(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    level, ordered = 0.05, sorted(p_values)
    rejected = 0
    while rejected < len(ordered) and ordered[rejected] * (len(ordered) - rejected) < level:
        rejected += 1
    assert sum(p < level for p in adjusted if p is not None) == rejected
