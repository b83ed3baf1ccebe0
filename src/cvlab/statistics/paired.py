"""Paired tests: two models on the same samples, and what several tests at once do to their p.

A difference is always that of the first model less that of the second; p is two-sided.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import bdtr, ndtr, ndtri, stdtr, stdtrit
from scipy.stats import rankdata

from cvlab.statistics.bootstrap import percentile_interval
from cvlab.statistics.delong import PairedDifference

Values = NDArray[np.float64]

# Fewer discordant pairs than this are tested exactly (a common rule; Fagerland, Lydersen & Laake 2013).
FEW_DISCORDANT = 25
# The exact null distribution of the signed ranks takes n^3 steps.
MOST_EXACT_RANKS = 100
# If all of 5 groups favour one model, chance does so in 2 of 32 cases: no test of 5 groups reaches 0.05.
FEWEST_GROUPS = 6


class McNemar(NamedTuple):
    """McNemar's test of two models that are right or wrong on the same n samples.

    Attributes:
        only_first: Samples on which the first alone is right.
        only_second: Samples on which the second alone is right.
        p: Two-sided.
        exact: Whether p is binomial; else it is that of chi squared.
    """

    only_first: int
    only_second: int
    p: float
    exact: bool


class Wilcoxon(NamedTuple):
    """Wilcoxon's signed-rank test of paired differences.

    Attributes:
        positive: Sum of the ranks of the differences above 0.
        negative: Sum of the ranks of those below 0.
        pairs: Differences that are not 0; those of 0 are left out, as Wilcoxon did.
        p: Two-sided.
        exact: Whether p counts all assignments of signs; else it is that of the normal distribution.
    """

    positive: float
    negative: float
    pairs: int
    p: float
    exact: bool


def mcnemar(first_right: ArrayLike, second_right: ArrayLike) -> McNemar:
    """Tests whether two models are right equally often (McNemar 1947, Psychometrika 12:153).

    With b samples on which the first alone is right and c on which the second alone is: below 25 of them the binomial
    test of b of b + c, else (b - c)^2 / (b + c) against chi squared of one degree of freedom, without continuity
    correction (Fagerland, Lydersen & Laake 2013, BMC Med Res Methodol 13:91). The samples are taken to be independent.

    Args:
        first_right: (n,) whether the first is right.
        second_right: (n,) whether the second is.
    """
    first, second = (np.asarray(right, dtype=bool) for right in (first_right, second_right))
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    if b + c < FEW_DISCORDANT:
        return McNemar(b, c, min(1.0, float(2 * bdtr(min(b, c), b + c, 0.5))), exact=True)
    return McNemar(b, c, float(2 * ndtr(-abs(b - c) / np.sqrt(b + c))), exact=False)


def tango_interval(only_first: int, only_second: int, samples: int, confidence: float = 0.95) -> tuple[float, float]:
    """Returns the score interval of the difference of two paired proportions (Tango 1998, Statist Med 17:891).

    It holds the differences that the score test does not reject; for a difference of 0 that is McNemar's test without
    continuity correction, so that interval and test agree.

    Args:
        only_first: Samples on which the first alone is right.
        only_second: Samples on which the second alone is right.
        samples: All samples; they are taken to be independent.
        confidence: Such as 0.95.
    """
    if samples < 1 or min(only_first, only_second) < 0 or only_first + only_second > samples:
        raise ValueError(f"Expected parts of one or more samples, received {only_first}, {only_second} of {samples}.")
    z = float(ndtri((1 + confidence) / 2))
    estimate, edge = (only_first - only_second) / samples, 1 - 1e-12

    def beyond(difference: float, sign: int) -> float:
        return _tango_score(difference, only_first, only_second, samples) - sign * z

    low = brentq(beyond, -edge, estimate, args=(1,)) if estimate > -1 and beyond(-edge, 1) > 0 else -1.0
    high = brentq(beyond, estimate, edge, args=(-1,)) if estimate < 1 and beyond(edge, -1) < 0 else 1.0
    return float(low), float(high)


def _tango_score(difference: float, b: int, c: int, n: int) -> float:
    """Returns the standardised distance of the observed difference from `difference`."""
    # The likelihood under this difference is highest where the second alone is right with this probability.
    linear = -b - c + (2 * n - b + c) * difference
    constant = -c * difference * (1 - difference)
    q = (np.sqrt(max(linear**2 - 8 * n * constant, 0.0)) - linear) / (4 * n)
    variance = n * (2 * q + difference * (1 - difference))
    distance = b - c - n * difference
    if variance <= 0:
        return float(np.copysign(np.inf, distance)) if distance else 0.0
    return float(distance / np.sqrt(variance))


def wilcoxon(differences: ArrayLike) -> Wilcoxon:
    """Tests whether paired differences lie around 0 (Wilcoxon 1945, Biometrics Bulletin 1:80).

    Ranks are those of the absolute differences, equal ones sharing their mean rank. Up to 100 differences p is exact,
    with equal ones too; with more it is normal, with the variance corrected for equal ones.

    Args:
        differences: (n,) first less second, of independent pairs.
    """
    every = np.asarray(differences, dtype=np.float64)
    kept = every[every != 0]
    n = len(kept)
    if not n:
        return Wilcoxon(0.0, 0.0, 0, 1.0, exact=True)
    ranks = rankdata(np.abs(kept))
    positive, total = float(ranks[kept > 0].sum()), n * (n + 1) / 2
    smaller = min(positive, total - positive)
    if n <= MOST_EXACT_RANKS:
        p = 2 * _share_of_signs(ranks, smaller)
    else:
        p = 2 * float(ndtr((smaller - total / 2) / np.sqrt((ranks**2).sum() / 4)))
    return Wilcoxon(positive, total - positive, n, min(1.0, p), exact=n <= MOST_EXACT_RANKS)


def _share_of_signs(ranks: Values, largest: float) -> float:
    """Returns the share of all assignments of signs whose positive ranks sum to at most `largest`."""
    # Mean ranks are whole or half numbers; twice them are whole.
    doubled = np.rint(2 * ranks).astype(np.int64)
    share = np.zeros(int(doubled.sum()) + 1)
    share[0] = 1.0
    for rank in doubled:
        share[rank:] = (share[rank:] + share[:-rank]) / 2
        share[:rank] /= 2
    return float(share[: int(np.rint(2 * largest)) + 1].sum())


def bootstrap_difference(
    difference: float, replicates: ArrayLike, *, groups: float, confidence: float = 0.95
) -> PairedDifference:
    """Returns a difference with its bootstrap interval and the p at which that interval just reaches 0.

    The interval is the expanded percentile interval of `percentile_interval`; p inverts it, and is no smaller than
    2^(1 - G), the least that any exchange of two models within G groups can give.

    Args:
        difference: Of the statistic of all samples.
        replicates: (B,) the difference in each resample, finite.
        groups: G, how many independent groups were drawn from, 6 or more; no whole number where they count unequally.
        confidence: Such as 0.95.

    Raises:
        ValueError: There are fewer than 6 groups, of which no interval is worth its name.
    """
    if groups < FEWEST_GROUPS:
        raise ValueError(f"Expected {FEWEST_GROUPS} groups or more, received {groups}.")
    drawn = np.asarray(replicates, dtype=np.float64)
    low, high = percentile_interval(drawn, confidence, groups=groups)
    # The observed table is one more resample: p is never 0.
    share = (min((drawn <= 0).sum(), (drawn >= 0).sum()) + 1) / (len(drawn) + 1)
    distance = ndtri(min(share, 0.5)) / np.sqrt(groups / (groups - 1))
    p = max(2 * float(stdtr(groups - 1, distance)), 2.0 ** (1 - groups))
    return PairedDifference(difference, low, high, min(p, 1.0))


def difference_of_means(
    difference: float, replicates: ArrayLike, runs: Sequence[ArrayLike], *, groups: float, confidence: float = 0.95
) -> PairedDifference:
    """Returns the difference of two means over runs, uncertain by the samples and by what another seed gives.

    The variance is that of the replicates (which samples were drawn) plus s^2 / R of each of `runs` (which seeds were
    drawn); interval and p are Student's t, with the degrees of freedom of Welch & Satterthwaite. What a run owes to
    its samples is in both parts where runs differ in how they do on them, so that the interval is rather too wide.

    Args:
        difference: Of the means over the runs.
        replicates: (B,) that difference in each resample of samples, finite.
        runs: The values that the runs of a model came to, (R,) for each model that has several; where runs are paired
            by seed, the differences of the pairs alone.
        groups: How many independent groups of samples were drawn from.
        confidence: Such as 0.95.
    """
    drawn = np.asarray(replicates, dtype=np.float64)
    values = [np.asarray(one, dtype=np.float64) for one in runs]
    parts = [(float(drawn.var(ddof=1)), groups - 1)]
    parts += [(float(one.var(ddof=1)) / len(one), len(one) - 1) for one in values]
    variance = sum(part for part, _ in parts)
    if not variance:
        return PairedDifference(difference, difference, difference, 1.0 if not difference else None)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    error = float(np.sqrt(variance))
    reach = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    return PairedDifference(
        difference, difference - reach, difference + reach, 2 * float(stdtr(freedom, -abs(difference) / error))
    )


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Returns p adjusted for making several tests (Holm 1979, Scand J Statist 6:65).

    Of m tests the smallest p is multiplied by m, the next by m - 1 and so on; none becomes smaller than one before it,
    nor larger than 1. The chance of any false finding among the m then stays below the level.

    Args:
        p_values: None where there was no test; it counts for nothing and stays None.
    """
    made = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for tests_before, (p, place) in enumerate(made):
        largest = max(largest, min(1.0, p * (len(made) - tests_before)))
        adjusted[place] = largest
    return adjusted
