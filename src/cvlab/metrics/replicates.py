"""What the replicates of all tasks are made of: sums, ranks and medians of weighted samples.

A replicate is what a metric is on one resample, computed from the weights of the samples (how often each was drawn). It
equals the metric of the resampled table: undefined is NaN, and infinite is infinite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cvlab.statistics.bootstrap import Values

# Arrays (B,) by name, in the form of `metrics.json`: `per_class` and the like are mappings of such mappings.
Replicates = dict[str, Any]
Path = tuple[str, ...]
Flags = NDArray[np.bool_]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Resampling:
    """What a table of n predictions offers to the intervals of its metrics.

    Attributes:
        group: (n,) the group of each sample.
        strata: (n,) the index of each sample's class, so that none vanishes; None where there are no classes.
        class_names: What these are called; empty where no mean over classes is taken.
        replicates: Computes every metric from weights (B, n).
        proportions: By the keys that lead to a metric that is a share of samples: who is counted (n,), out of whom
            (n,).
        areas: By the keys that lead to an area under a ROC curve: who is positive (n,), and the scores (n,).
        unit: What a sample is called.
        by_chance: By the keys that lead to an error that is never below 0, and that resampling makes larger (such as a
            calibration error): what chance gives at most with a confidence, where the true error is 0.
    """

    group: NDArray[Any]
    strata: NDArray[Any] | None
    class_names: tuple[str, ...]
    replicates: Callable[[ArrayLike], Replicates]
    proportions: Mapping[Path, tuple[Flags, Flags]]
    areas: Mapping[Path, tuple[Flags, Values]]
    unit: str = "sample"
    by_chance: Mapping[Path, Callable[[float], float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Draws:
    """Weights of n samples in B resamples, in the two layouts that are fast for sums and for ranks.

    Attributes:
        rows: (B, n) float64.
        columns: (n, B) int64, contiguous.
        total: (B,) the samples of each resample.
    """

    rows: Values
    columns: NDArray[np.int64]
    total: Values

    @classmethod
    def of(cls, weights: ArrayLike) -> Draws:
        """Takes weights (B, n), whole numbers from 0."""
        whole = np.asarray(weights)
        rows = whole.astype(np.float64)
        return cls(rows, np.ascontiguousarray(whole.T, dtype=np.int64), rows.sum(axis=1))

    def sums(self, values: ArrayLike) -> Values:
        """Returns the weighted sum of (n,) or (n, m) values in each resample: (B,) or (B, m)."""
        return np.asarray(self.rows @ np.asarray(values, dtype=np.float64))

    def means(self, values: ArrayLike) -> Values:
        """Returns the weighted mean of (n,) values in each resample."""
        return divide(self.sums(values), self.total)

    def means_of(self, values: ArrayLike, chosen: Flags) -> Values:
        """Returns the weighted mean over the chosen samples; NaN where none of them is drawn."""
        return divide(self.sums(np.where(chosen, values, 0.0)), self.sums(chosen))


def divide(part: Values, whole: Values) -> Values:
    """Returns part / whole, NaN where the whole is 0."""
    undefined = np.full(np.broadcast(part, whole).shape, np.nan)
    return np.asarray(np.divide(part, whole, out=undefined, where=whole != 0))


@dataclass(frozen=True)
class Sorted:
    """Some samples in the order of a value: for medians of what is drawn of them.

    Attributes:
        order: (m,) their places among all samples.
        values: (m,) from low to high.
    """

    order: Indices
    values: Values

    @classmethod
    def of(cls, values: Values, chosen: Flags | None = None) -> Sorted:
        """Sorts values (n,), those of the chosen samples alone."""
        places = np.arange(len(values)) if chosen is None else np.flatnonzero(chosen)
        order = places[np.argsort(values[places], kind="stable")]
        return cls(order, values[order])

    def medians(self, draws: Draws) -> Values:
        """Returns the median of each resample, the mean of the two in the middle; NaN where none is drawn."""
        reached = draws.columns[self.order].cumsum(axis=0)
        if not len(reached):
            return np.full(draws.columns.shape[1], np.nan)
        total = reached[-1]
        lower, upper = (
            self.values[np.minimum((reached <= place).sum(axis=0), len(self.values) - 1)]
            for place in ((total - 1) // 2, total // 2)
        )
        return np.where(total > 0, (lower + upper) / 2, np.nan)


@dataclass(frozen=True)
class Ranking:
    """Samples in the order of a score from high to low, cut behind each score that a positive sample has.

    Attributes:
        order: Samples from the highest score on, to the last one that ties with a positive.
        cuts: Where the parts between the cuts begin in `order`; there are m of them.
        positives: Positive samples in that order.
        positive_cuts: Where the positives of each part begin in `positives`.
        ties: Samples whose score is that of a positive one, in that order.
        tie_cuts: Where those of each part begin in `ties`.
    """

    order: Indices
    cuts: Indices
    positives: Indices
    positive_cuts: Indices
    ties: Indices
    tie_cuts: Indices

    @classmethod
    def of(cls, is_positive: Flags, score: Values) -> Ranking:
        """Ranks n samples; equal scores are one place."""
        order = np.argsort(-score, kind="stable")
        place = np.unique(-score, return_inverse=True)[1][order]
        positive = is_positive[order]
        held = np.unique(place[positive])
        tied = np.isin(place, held)
        ends = np.searchsorted(place, held, side="right")
        return cls(
            order=order[: ends[-1] if len(ends) else 0],
            cuts=np.concatenate([[0], ends[:-1]]).astype(np.intp),
            positives=order[positive],
            positive_cuts=np.searchsorted(place[positive], held),
            ties=order[tied],
            tie_cuts=np.searchsorted(place[tied], held),
        )

    def areas(self, draws: Draws) -> tuple[Values, Values]:
        """Returns the area under the ROC curve and the average precision of each resample, as scikit-learn has them."""
        if not len(self.positives):
            return (np.full(len(draws.total), np.nan),) * 2
        hits = np.add.reduceat(draws.columns[self.positives], self.positive_cuts, axis=0)
        found, called = hits.cumsum(axis=0), self._sums(draws, self.order, self.cuts).cumsum(axis=0)
        tied = self._sums(draws, self.ties, self.tie_cuts) - hits
        positives = found[-1].astype(np.float64)
        negatives = draws.total - positives
        # Of the negatives that are called by now, those that tie count half.
        beaten = negatives - (called - found) + 0.5 * tied
        roc_auc = divide((hits * beaten).sum(axis=0), positives * negatives)
        precision = np.divide(found, called, out=np.zeros(found.shape), where=called > 0)
        return roc_auc, divide((hits * precision).sum(axis=0), positives)

    @staticmethod
    def _sums(draws: Draws, places: Indices, cuts: Indices) -> NDArray[np.int64]:
        return np.asarray(np.add.reduceat(draws.columns[places], cuts, axis=0))


def flat(replicates: Replicates) -> dict[Path, Values]:
    """Returns all arrays by the keys that lead to them."""
    found: dict[Path, Values] = {}
    for name, value in replicates.items():
        if isinstance(value, dict):
            found |= {(name, *path): array for path, array in flat(value).items()}
        else:
            found[(name,)] = value
    return found


def joined(parts: list[Replicates]) -> Replicates:
    """Returns the replicates of chunks of resamples as one."""
    return {
        name: joined([part[name] for part in parts])
        if isinstance(value, dict)
        else np.concatenate([part[name] for part in parts])
        for name, value in parts[0].items()
    }
