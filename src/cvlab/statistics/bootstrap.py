"""The bootstrap over groups: weights of the samples, and intervals from what a statistic is under them.

A resample draws as many groups as there are, with replacement (the cluster bootstrap; Davison & Hinkley 1997, 3.8). It
is kept as the weight of each sample: how often its group was drawn. A statistic of weighted samples then is that of the
resampled table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtrit

Weights = NDArray[np.int32]
Values = NDArray[np.float64]
Indices = NDArray[np.intp]

# In which share of the resamples a class may be missing before rare classes are drawn apart.
MOST_MISSING = 0.01
SMALLEST_SHARE = 1e-12
# In standard errors; in simulations of average precision, intervals held the truth in 80 to 85 of 100 cases there, and
# in 7 of 100 with 1.3 of them.
MOST_BIAS = 0.5


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

    A class in g of G groups is missing from (1 - g / G)^G of all resamples. Where that adds up to more than one in 100,
    the groups of the rarest class become a stratum of their own, from which as many are drawn as there are; then those
    of the next one, until it does not. All other groups are drawn from one urn, and a resample that lacks a class all
    the same is drawn again. A group of several such classes belongs to the rarest.

    Args:
        group: (n,) the group of each sample; the samples of a group are drawn together.
        strata: (n,) the class of each sample, or None.
        resamples: How many in all.
        seed: Equal seeds give equal weights, whatever the chunk.
        chunk: The most resamples at a time.
    """
    design = _Design.of(group, strata)
    generators = [np.random.default_rng([seed, number]) for number in range(len(design.urns))]
    for start in range(0, resamples, chunk):
        drawn = design.draw(generators, min(chunk, resamples - start))
        for row in np.flatnonzero(design.lacks_a_class(drawn)):
            drawn[row] = design.draw_again([seed, len(generators), start + int(row)])
        yield drawn[:, design.member]


def stratified(group: ArrayLike, strata: ArrayLike | None) -> bool:
    """Returns whether some class stands in so few groups that they are drawn from an urn of their own."""
    return len(_Design.of(group, strata).urns) > 1


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
    return _between(np.asarray(replicates, dtype=np.float64), ndtr(np.array([-z, z])))


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
    z0, a = float(ndtri(below)), acceleration(jackknife)
    shifted = z0 + np.array([-1, 1]) * tail(confidence, groups)
    stretch = 1 - a * shifted
    # Beyond the pole of the correction everything lies on that side.
    z = np.where(stretch > 0, z0 + shifted / np.where(stretch > 0, stretch, 1), np.sign(shifted) * np.inf)
    return _between(drawn, ndtr(z))


def too_biased(value: float, replicates: ArrayLike) -> str:
    """Returns why no bootstrap interval can be relied on: the replicates lie beside the value. Empty if they do not.

    Their mean less the value estimates the bias of the statistic. Up to a quarter of the standard error it may be
    ignored (Efron & Tibshirani 1993, 10.3), and BCa corrects for a little more. Means over many classes of what
    resampling makes larger, such as average precision, have far more: each repeated positive sample helps itself.

    Args:
        value: The statistic of all samples.
        replicates: (B,) the statistic of each resample; what is not finite is left to others.
    """
    drawn = np.asarray(replicates, dtype=np.float64)
    if not np.isfinite(drawn).all() or np.allclose(drawn, value, rtol=1e-12, atol=1e-15):
        return ""
    errors = abs(float(drawn.mean()) - value) / max(float(drawn.std()), SMALLEST_SHARE)
    return f"resampling itself moves it by {errors:.1f} standard errors" if errors > MOST_BIAS else ""


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
        return float(ndtri(level))
    if groups < 2:
        raise ValueError("Expected two groups or more.")
    return float(np.sqrt(groups / (groups - 1)) * stdtrit(groups - 1, level))


def _members(group: ArrayLike) -> Indices:
    """Returns the number of each sample's group, (n,), counted in sorted order."""
    names = np.asarray(group)
    if names.ndim != 1 or not len(names):
        raise ValueError(f"Expected a group for each of one or more samples, received the shape {names.shape}.")
    return np.unique(names, return_inverse=True)[1].astype(np.intp)


@dataclass(frozen=True)
class _Design:
    """What is drawn from what.

    Attributes:
        member: (n,) the number of each sample's group.
        urns: The groups of each stratum; a group stands in one of them.
        holders: The groups of each class.
    """

    member: Indices
    urns: list[Indices]
    holders: list[Indices]

    @classmethod
    def of(cls, group: ArrayLike, strata: ArrayLike | None) -> _Design:
        member = _members(group)
        classes = np.zeros_like(member) if strata is None else np.unique(np.asarray(strata), return_inverse=True)[1]
        pairs = np.unique(np.stack([classes, member], axis=1), axis=0)
        holders = [pairs[pairs[:, 0] == one, 1] for one in range(int(pairs[:, 0].max()) + 1)]
        return cls(member, _urns(holders, int(member.max()) + 1), holders)

    def draw(self, generators: Sequence[np.random.Generator], count: int) -> Weights:
        drawn = np.zeros((count, int(self.member.max()) + 1), dtype=np.int32)
        for urn, generator in zip(self.urns, generators, strict=True):
            drawn[:, urn] = _draws(generator, count, len(urn))
        return drawn

    def lacks_a_class(self, drawn: Weights) -> NDArray[np.bool_]:
        missing = [drawn[:, holders].sum(axis=1) == 0 for holders in self.holders]
        return np.asarray(np.any(missing, axis=0))

    def draw_again(self, seed: Sequence[int]) -> Weights:
        """Returns the first resample of this seed that has every class; such a one is rarely more than one away."""
        generator = np.random.default_rng(seed)
        drawn = self.draw([generator] * len(self.urns), 1)
        while self.lacks_a_class(drawn)[0]:
            drawn = self.draw([generator] * len(self.urns), 1)
        found: Weights = drawn[0]
        return found


def _urns(holders: Sequence[Indices], groups: int) -> list[Indices]:
    """Returns the groups of each rare class, then all others."""
    urn = np.full(groups, len(holders))
    order = sorted(range(len(holders)), key=lambda one: len(holders[one]))
    missing = [(1 - len(holders[one]) / groups) ** groups for one in order]
    for place, one in enumerate(order):
        if sum(missing[place:]) <= MOST_MISSING:
            break
        free = holders[one][urn[holders[one]] == len(holders)]
        urn[free] = one
    return [np.flatnonzero(urn == one) for one in np.unique(urn)]


def _draws(generator: np.random.Generator, count: int, size: int) -> NDArray[Any]:
    """Returns how often each of `size` groups is drawn in each of `count` resamples."""
    places = generator.integers(size, size=(count, size), dtype=np.int64)
    places += np.arange(count)[:, None] * size
    return np.bincount(places.ravel(), minlength=count * size).reshape(count, size)


def _between(replicates: Values, shares: Values) -> tuple[float, float]:
    """Returns the quantiles, interpolated linearly as NumPy does; some replicates may be infinite."""
    ordered = np.sort(replicates)
    place = shares * (len(ordered) - 1)
    below = np.floor(place).astype(np.intp)
    first, second = ordered[below], ordered[np.minimum(below + 1, len(ordered) - 1)]
    # Equal ones are not subtracted: infinity less infinity is no number.
    steps = np.zeros_like(first)
    np.subtract(second, first, out=steps, where=(first != second) & (place > below))
    low, high = first + steps * (place - below)
    return float(low), float(high)
