"""Every pair of models, metric by metric: the difference, its interval, and tests of whether there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from cvlab.compare_draws import Drawn, draw, groups_behind
from cvlab.compare_entrants import Entrant
from cvlab.compare_match import Samples, seeds
from cvlab.compare_task import ComparedTask, Metric, NamedTest
from cvlab.metrics.replicates import Path
from cvlab.statistics.bootstrap import Values, too_biased
from cvlab.statistics.delong import PairedDifference
from cvlab.statistics.paired import bootstrap_difference, difference_of_means, holm

MOST_UNDEFINED = 0.05


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
    groups, reason = groups_behind(path, first[1], second[1], samples)
    if reason:
        return None, reason
    assert found.difference is not None
    if reason := too_biased(found.difference, defined):
        return None, reason
    runs = _values_of_runs(first[0], second[0], path, samples)
    if runs:
        return difference_of_means(found.difference, defined, runs, groups=groups), ""
    return bootstrap_difference(found.difference, defined, groups=groups), ""


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
