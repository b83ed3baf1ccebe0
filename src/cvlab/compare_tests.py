"""Every pair of models, metric by metric: the difference, its interval, and tests of whether there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvlab.compare_entrants import Entrant, Result
from cvlab.compare_match import Samples, seeds
from cvlab.compare_task import ComparedTask, Metric, NamedTest
from cvlab.errors import counted
from cvlab.metrics.replicates import Path, Resampling, flat
from cvlab.statistics.bootstrap import weight_chunks
from cvlab.statistics.delong import PairedDifference
from cvlab.statistics.paired import FEWEST_GROUPS, bootstrap_difference, difference_of_means, holm

RESAMPLES = 2000
# The smallest p of B resamples is 2 / (B + 1); after Holm's factor it should still tell.
RESAMPLES_A_PAIR = 200
SEED = 42
CHUNK_SIZE = 400_000
MOST_UNDEFINED = 0.05

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Other:
    """A further test of the same difference.

    Attributes:
        test: The test.
        p_holm: Its p, adjusted for all pairs.
        holds: Whether its assumptions do.
    """

    test: NamedTest
    p_holm: float | None
    holds: bool


@dataclass(frozen=True)
class Comparison:
    """Two models by one metric.

    Attributes:
        metric: The metric.
        first: Its value for the first model, the mean over its runs; None where it is undefined.
        second: The same for the second.
        difference: First less second.
        low: Lower end of the interval of the difference; None where there is no interval.
        high: Upper end.
        p: Of the test that `test` names; None where there is none.
        p_holm: The same, adjusted for all pairs.
        test: What p comes from.
        reason: Why there is no test, or no interval; empty where there are both.
        others: Further tests.
    """

    metric: Metric
    first: float | None
    second: float | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    test: str = ""
    reason: str = ""
    others: tuple[Other, ...] = ()


@dataclass(frozen=True)
class Pair:
    """Two models by all metrics; the first has the better value of the metric that ranks them."""

    first: Entrant
    second: Entrant
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class Drawn:
    """A result on all resamples: every metric (B,), and what there was to resample."""

    result: Result
    resampling: Resampling
    replicates: dict[Path, Values]


def compare_pairs(
    entrants: Sequence[Entrant],
    samples: Samples,
    metrics: Sequence[Metric],
    task: ComparedTask,
    advance: Callable[[int], None] = lambda count: None,
) -> list[Pair]:
    """Compares every model with every one behind it.

    Args:
        entrants: The models, the best first.
        samples: What they were tested on.
        metrics: What to compare.
        task: Their task.
        advance: Is told how many resamples of a run are done; there are `resamples_of` of each.
    """
    drawn = draw(entrants, samples, metrics, task, advance)
    pairs = []
    for (one, first), (other, second) in combinations(enumerate(entrants), 2):
        compared = [_compare(metric, (first, drawn[one]), (second, drawn[other]), samples, task) for metric in metrics]
        pairs.append(Pair(first, second, tuple(compared)))
    return _adjusted(pairs)


def resamples_of(entrants: Sequence[Entrant]) -> int:
    """Returns how many resamples are drawn."""
    pairs = len(entrants) * (len(entrants) - 1) // 2
    return max(RESAMPLES, RESAMPLES_A_PAIR * pairs)


def draw(
    entrants: Sequence[Entrant],
    samples: Samples,
    metrics: Sequence[Metric],
    task: ComparedTask,
    advance: Callable[[int], None] = lambda count: None,
) -> list[list[Drawn]]:
    """Computes every metric of every result on the same resamples."""
    if len(entrants) < 2:
        return [[] for _ in entrants]
    offers = [
        [task.resampling(result.table, result.record, pooled=result.pooled) for result in entrant.results]
        for entrant in entrants
    ]
    parts: list[list[dict[Path, list[Values]]]] = [
        [{metric.path: [] for metric in metrics} for _ in entrant.results] for entrant in entrants
    ]
    chunk = max(CHUNK_SIZE // len(samples.ids), 16)
    strata = _strata(entrants, offers, samples)
    for weights in weight_chunks(samples.group, strata, resamples=resamples_of(entrants), seed=SEED, chunk=chunk):
        for entrant, of_entrant, collected in zip(entrants, offers, parts, strict=True):
            for result, offer, found in zip(entrant.results, of_entrant, collected, strict=True):
                values = flat(offer.replicates(weights[:, samples.rows(result)]))
                for path in found:
                    found[path].append(values.get(path, np.full(len(weights), np.nan)))
                advance(len(weights))
    return [
        [
            Drawn(result, offer, {path: np.concatenate(values) for path, values in found.items()})
            for result, offer, found in zip(entrant.results, of_entrant, collected, strict=True)
        ]
        for entrant, of_entrant, collected in zip(entrants, offers, parts, strict=True)
    ]


def _strata(
    entrants: Sequence[Entrant], offers: Sequence[Sequence[Resampling]], samples: Samples
) -> NDArray[Any] | None:
    """The class of each sample of the comparison."""
    found = np.zeros(len(samples.ids), dtype=np.int64)
    for entrant, of_entrant in zip(entrants, offers, strict=True):
        for result, offer in zip(entrant.results, of_entrant, strict=True):
            if offer.strata is None:
                return None
            found[samples.rows(result)] = offer.strata
    return found


def _compare(
    metric: Metric,
    first: tuple[Entrant, Sequence[Drawn]],
    second: tuple[Entrant, Sequence[Drawn]],
    samples: Samples,
    task: ComparedTask,
) -> Comparison:
    one, other = (entrant.value(metric.path) for entrant, _ in (first, second))
    if one is None or other is None:
        return Comparison(metric, one, other, reason="it is undefined for one of them")
    found = Comparison(metric, one, other, difference=one - other)
    bootstrap, reason = _bootstrap(found, first, second, samples)
    named = [NamedTest("bootstrap", bootstrap.p, bootstrap, independent=False, note="")] if bootstrap else []
    if all(len(entrant.results) == 1 for entrant, _ in (first, second)):
        named = [*task.tests(metric, first[0].results[0].table, second[0].results[0].table), *named]
    holding = [test for test in named if not (test.independent and samples.grouped)]
    others = [Other(test, None, test in holding) for test in named if test not in holding[:1]]
    found = replace(found, reason=reason, others=tuple(others))
    if not holding:
        return found
    main = holding[0]
    interval = main.difference or bootstrap
    if interval is not None:
        found = replace(found, low=interval.low, high=interval.high, reason="")
    return replace(found, p=main.p, test=f"{main.name} ({main.note})" if main.note else main.name)


def _bootstrap(
    found: Comparison,
    first: tuple[Entrant, Sequence[Drawn]],
    second: tuple[Entrant, Sequence[Drawn]],
    samples: Samples,
) -> tuple[PairedDifference | None, str]:
    """The paired bootstrap of a difference; or why there is none."""
    path = found.metric.path
    drawn = [np.mean([one.replicates[path] for one in of_entrant], axis=0) for _, of_entrant in (first, second)]
    differences = drawn[0] - drawn[1]
    defined = differences[np.isfinite(differences)]
    if len(defined) < (1 - MOST_UNDEFINED) * len(differences):
        return None, f"it is undefined in {1 - len(defined) / len(differences):.0%} of the resamples"
    groups = min(_deciding(one, path, samples) for _, of_entrant in (first, second) for one in of_entrant)
    unit = "group" if samples.grouped else "sample"
    if groups < FEWEST_GROUPS:
        return None, f"{counted(groups, unit)} are too few ({FEWEST_GROUPS} are the least)"
    assert found.difference is not None
    runs = _values_of_runs(first[0], second[0], path, samples)
    if runs:
        return difference_of_means(found.difference, defined, runs, groups=groups), ""
    return bootstrap_difference(found.difference, defined, groups=groups), ""


def _deciding(drawn: Drawn, path: Path, samples: Samples) -> int:
    """How many groups a metric rests on: those of the class in question, where it is about one."""
    group, offer = samples.group[samples.rows(drawn.result)], drawn.resampling
    if path in offer.proportions:
        return len(np.unique(group[offer.proportions[path][1]]))
    area = offer.areas.get((*path[:-1], "roc_auc"))
    if area is not None and path[-1] in ("roc_auc", "average_precision"):
        return min(len(np.unique(group[area[0]])), len(np.unique(group[~area[0]])))
    return len(np.unique(group))


def _values_of_runs(first: Entrant, second: Entrant, path: Path, samples: Samples) -> list[Values]:
    """What the runs of models that have several came to; of runs paired by seed the differences."""
    values = [
        dict(zip(seeds(entrant), entrant.values_of_parts(path), strict=True))
        for entrant in (first, second)
        if len(entrant.results) > 1
    ]
    if samples.pairing == "seeds":
        return [np.array([values[0][seed] - values[1][seed] for seed in values[0]])]
    return [np.array([*of_entrant.values()]) for of_entrant in values]


def _adjusted(pairs: Sequence[Pair]) -> list[Pair]:
    """Adjusts every p for the number of pairs, metric by metric."""
    columns = zip(*(pair.comparisons for pair in pairs), strict=True)
    rows = zip(*(_adjusted_metric(column) for column in columns), strict=True)
    return [replace(pair, comparisons=row) for pair, row in zip(pairs, rows, strict=True)]


def _adjusted_metric(column: Sequence[Comparison]) -> list[Comparison]:
    main = holm([found.p for found in column])
    names = list(dict.fromkeys(_kind(other) for found in column for other in found.others))
    by_name = {
        name: iter(holm([other.test.p for found in column for other in found.others if _kind(other) == name]))
        for name in names
    }
    return [
        replace(
            found,
            p_holm=p,
            others=tuple(replace(other, p_holm=next(by_name[_kind(other)])) for other in found.others),
        )
        for found, p in zip(column, main, strict=True)
    ]


def _kind(other: Other) -> str:
    """The test, whether it was exact or not."""
    return other.test.name.removesuffix(", exact")
