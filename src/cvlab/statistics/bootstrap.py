"""The bootstrap over groups: weights of the samples, and intervals from what a statistic is under them.

A resample draws as many groups as there are, with replacement (the cluster bootstrap; Davison & Hinkley 1997, 3.8). It
is kept as the weight of each sample: how often its group was drawn. A statistic of weighted samples then is that of the
resampled table.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, t

Weights = NDArray[np.int32]
Values = NDArray[np.float64]
Indices = NDArray[np.intp]

# A class that stands in g groups is missing from about exp(-g) of all resamples: one in 150 for 5.
FEW_GROUPS = 5
SMALLEST_SHARE = 1e-12


def group_weights(
    group: ArrayLike, strata: ArrayLike | None = None, *, resamples: int, seed: int, chunk: int = 250
) -> Weights:
    """Returns how often each sample stands in each resample, (B, n); see `weight_chunks`, which saves memory.

    Args:
        group: (n,) the group of each sample; the samples of a group are drawn together.
        strata: (n,) the class of each sample, or None.
        resamples: B.
        seed: Equal seeds give equal weights, whatever the chunk.
        chunk: How many resamples are drawn at a time.
    """
    return np.concatenate(list(weight_chunks(group, strata, resamples=resamples, seed=seed, chunk=chunk)))


def weight_chunks(
    group: ArrayLike, strata: ArrayLike | None = None, *, resamples: int, seed: int, chunk: int
) -> Iterator[Weights]:
    """Yields the weights of `resamples` bootstrap resamples, up to `chunk` of them (b, n) at a time.

    Groups that hold a class of fewer than 5 groups are a stratum of their own: as many of them are drawn as there are,
    so that the class does not vanish. All others are drawn from one urn. A group with several such classes belongs to
    the rarest.

    Args:
        group: (n,) the group of each sample; the samples of a group are drawn together.
        strata: (n,) the class of each sample, or None.
        resamples: How many in all.
        seed: Equal seeds give equal weights, whatever the chunk.
        chunk: The most resamples at a time.
    """
    member = _members(group)
    groups = int(member.max()) + 1
    urns = _urns(member, strata)
    generators = [np.random.default_rng([seed, number]) for number in range(len(urns))]
    for start in range(0, resamples, chunk):
        count = min(chunk, resamples - start)
        drawn = np.zeros((count, groups), dtype=np.int32)
        for urn, generator in zip(urns, generators, strict=True):
            drawn[:, urn] = _draws(generator, count, len(urn))
        yield drawn[:, member]


def stratified(group: ArrayLike, strata: ArrayLike | None) -> bool:
    """Returns whether some class stands in so few groups that they are drawn from an urn of their own."""
    return len(_urns(_members(group), strata)) > 1


def jackknife_weights(group: ArrayLike, *, blocks: int | None = None) -> Weights:
    """Returns weights that leave out one group after the other, (G, n).

    Args:
        group: (n,) the group of each sample.
        blocks: The most rows: with more groups than that, each row leaves out a block of groups that stand far
            apart in the sorted order. The acceleration from blocks estimates the same number, for less.
    """
    member = _members(group)
    rows = min(int(member.max()) + 1, blocks or int(member.max()) + 1)
    kept: NDArray[np.bool_] = member % rows != np.arange(rows)[:, None]
    return kept.astype(np.int32)


def percentile_interval(
    replicates: ArrayLike, confidence: float = 0.95, *, groups: float | None = None
) -> tuple[float, float]:
    """Returns the percentile interval of a statistic (Efron & Tibshirani 1993, chapter 13).

    Args:
        replicates: (B,) the statistic of each resample, finite.
        confidence: Such as 0.95.
        groups: How many independent groups there are: the percentiles then lie further out, by Student's t (see
            `tail`). None: as in the textbook.
    """
    z = tail(confidence, groups)
    return _between(np.asarray(replicates, dtype=np.float64), norm.cdf(np.array([-z, z])))


def bca_interval(
    value: float,
    replicates: ArrayLike,
    jackknife: ArrayLike,
    confidence: float = 0.95,
    *,
    groups: float | None = None,
) -> tuple[float, float]:
    """Returns the bias-corrected and accelerated interval of a statistic (Efron 1987, JASA 82:171).

    With z0 the normal quantile of the share of replicates below `value` (half of those equal to it) and a the skewness
    of the jackknife over 6, the percentiles are Phi(z0 + (z0 + z) / (1 - a (z0 + z))).

    Args:
        value: The statistic of all samples, computed as the replicates are.
        replicates: (B,) the statistic of each resample, finite.
        jackknife: (G,) the statistic without each group, finite.
        confidence: Such as 0.95.
        groups: As in `percentile_interval`.

    Raises:
        ValueError: Every replicate lies on one side of `value`, so that the correction is infinite.
    """
    drawn = np.asarray(replicates, dtype=np.float64)
    # A sum of floats in another order is another float; what differs by rounding alone is equal.
    equal = np.isclose(drawn, value, rtol=1e-12, atol=1e-15)
    below = ((drawn < value) & ~equal).mean() + equal.mean() / 2
    if not 0 < below < 1:
        raise ValueError("Expected replicates on both sides of the value.")
    z0, a = norm.ppf(below), acceleration(jackknife)
    shifted = z0 + np.array([-1, 1]) * tail(confidence, groups)
    stretch = 1 - a * shifted
    # Beyond the pole of the correction everything lies on that side.
    z = np.where(stretch > 0, z0 + shifted / np.where(stretch > 0, stretch, 1), np.sign(shifted) * np.inf)
    return _between(drawn, norm.cdf(z))


def acceleration(jackknife: ArrayLike) -> float:
    """Returns sum d^3 / (6 (sum d^2)^1.5) of d = mean - value of the jackknife; 0 where all are equal."""
    values = np.asarray(jackknife, dtype=np.float64)
    deviations = values.mean() - values
    squares = float((deviations**2).sum())
    scale = float(np.abs(values).max()) ** 2 if len(values) else 0.0
    if squares <= SMALLEST_SHARE**2 * scale * len(values):
        return 0.0
    return float((deviations**3).sum() / (6 * squares**1.5))


def tail(confidence: float, groups: float | None = None) -> float:
    """Returns how many standard errors the two-sided interval reaches to either side.

    It is the normal quantile; with G groups sqrt(G / (G - 1)) times the quantile of Student's t of G - 1 degrees of
    freedom, the expanded percentile interval of Hesterberg 2015 (The American Statistician 69:371): plain percentiles
    are too narrow for few groups.
    """
    level = (1 + confidence) / 2
    if groups is None:
        return float(norm.ppf(level))
    if groups < 2:
        raise ValueError("Expected two groups or more.")
    return float(np.sqrt(groups / (groups - 1)) * t.ppf(level, groups - 1))


def _members(group: ArrayLike) -> Indices:
    """Returns the number of each sample's group, (n,), counted in sorted order."""
    names = np.asarray(group)
    if names.ndim != 1 or not len(names):
        raise ValueError(f"Expected a group for each of one or more samples, received the shape {names.shape}.")
    return np.unique(names, return_inverse=True)[1].astype(np.intp)


def _urns(member: Indices, strata: ArrayLike | None) -> list[Indices]:
    """Returns the groups of each urn: those of each rare class, then all others."""
    groups = int(member.max()) + 1
    urn = np.full(groups, -1)
    if strata is not None:
        classes = np.unique(np.asarray(strata), return_inverse=True)[1]
        pairs = np.unique(np.stack([member, classes], axis=1), axis=0)
        sizes = np.bincount(pairs[:, 1])
        for rare in np.argsort(sizes, kind="stable")[: int((sizes < FEW_GROUPS).sum())]:
            holders = pairs[pairs[:, 1] == rare, 0]
            urn[holders[urn[holders] < 0]] = rare
    return [np.flatnonzero(urn == number) for number in np.unique(urn)]


def _draws(generator: np.random.Generator, count: int, size: int) -> NDArray[Any]:
    """Returns how often each of `size` groups is drawn in each of `count` resamples."""
    places = generator.integers(size, size=(count, size), dtype=np.int64)
    places += np.arange(count)[:, None] * size
    return np.bincount(places.ravel(), minlength=count * size).reshape(count, size)


def _between(replicates: Values, shares: Values) -> tuple[float, float]:
    low, high = np.quantile(replicates, shares)
    return float(low), float(high)
