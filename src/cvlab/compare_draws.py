"""The resamples of a comparison: the same ones for every run, and on how many groups a difference rests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvlab.compare_entrants import Entrant, Result
from cvlab.compare_match import Samples
from cvlab.compare_task import ComparedTask, Metric
from cvlab.errors import counted
from cvlab.metrics.class_means import MEANS, groups_of_mean, of_one_urn, rare_classes
from cvlab.metrics.replicates import Path, Resampling, flat
from cvlab.statistics.bootstrap import Values, stratified, weight_chunks
from cvlab.statistics.paired import FEWEST_GROUPS

RESAMPLES = 2000
# The smallest p of B resamples is 2 / (B + 1); after Holm's factor it should still tell.
RESAMPLES_A_PAIR = 200
SEED = 42
CHUNK_SIZE = 400_000


@dataclass(frozen=True)
class Drawn:
    """A result on all resamples: metrics (B,) by path, and what there was to resample."""

    result: Result
    resampling: Resampling
    replicates: dict[Path, Values]


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
    """Computes the metrics of every result on the same resamples, and what of each class they are means of.

    Args:
        entrants: The models; with a single one there is nothing to draw.
        samples: What they were tested on.
        metrics: What to compute.
        task: Their task.
        advance: Is told how many resamples of a result are done; there are `resamples_of` of each.
    """
    if len(entrants) < 2:
        return [[] for _ in entrants]
    found = [
        [
            Drawn(result, task.resampling(result.table, result.record, pooled=result.pooled), {})
            for result in entrant.results
        ]
        for entrant in entrants
    ]
    every = [one for of_entrant in found for one in of_entrant]
    strata, total = _strata(every, samples), resamples_of(entrants)
    apart = stratified(samples.group, strata)
    paths = {metric.path for metric in metrics}
    told = (lambda count: advance(count // 2)) if apart else advance
    drawn = _replicates(every, samples, strata, paths, total, told)
    for one, values in zip(every, drawn, strict=True):
        one.replicates.update(values)
    if apart:
        mixed = _replicates(every, samples, None, paths, total, told)
        for path in paths:
            if all(path in values and of_one_urn(path, values[path]) for values in mixed):
                for one, values in zip(every, mixed, strict=True):
                    one.replicates[path] = values[path]
    return found


def _replicates(
    every: Sequence[Drawn],
    samples: Samples,
    strata: NDArray[Any] | None,
    paths: Set[Path],
    total: int,
    advance: Callable[[int], None],
) -> list[dict[Path, Values]]:
    """The metrics of each result on the same resamples, and what of each class they are means of."""
    parts: list[dict[Path, list[Values]]] = [{} for _ in every]
    chunk = max(CHUNK_SIZE // len(samples.ids), 16)
    for weights in weight_chunks(samples.group, strata, resamples=total, seed=SEED, chunk=chunk):
        for one, part in zip(every, parts, strict=True):
            values = flat(one.resampling.replicates(weights[:, samples.rows(one.result)]))
            for path in values.keys() & (paths | {("per_class", *path[1:]) for path in values if len(path) == 3}):
                part.setdefault(path, []).append(values[path])
            advance(len(weights))
    return [{path: np.concatenate(values) for path, values in part.items()} for part in parts]


def _strata(drawn: Sequence[Drawn], samples: Samples) -> NDArray[Any] | None:
    """The class of each sample of the comparison."""
    found = np.zeros(len(samples.ids), dtype=np.int64)
    for one in drawn:
        if one.resampling.strata is None:
            return None
        found[samples.rows(one.result)] = one.resampling.strata
    return found


def groups_behind(path: Path, first: Sequence[Drawn], second: Sequence[Drawn], samples: Samples) -> tuple[float, str]:
    """Returns on how many groups the difference of two models rests, and why that is too few; empty if it is not.

    What is about one class rests on its groups; for a mean over classes see `metrics.class_means`.

    Args:
        path: The metric.
        first: All results of the first model.
        second: Those of the second.
        samples: What they were tested on.
    """
    unit = "group" if samples.grouped else "sample"
    groups = min(_groups_of(path, one, samples) for one in (*first, *second))
    if groups < FEWEST_GROUPS:
        return groups, f"{counted(groups, unit)} are too few ({FEWEST_GROUPS} are the least)"
    if len(path) > 1 or path[0] not in MEANS:
        return groups, ""
    classes = _groups_of_classes(first[0], samples)
    effective = min(groups, _groups_of_mean(MEANS[path[0]], first, second, classes))
    if effective < FEWEST_GROUPS:
        return effective, rare_classes(classes, unit, fewest=FEWEST_GROUPS)
    return effective, ""


def _groups_of(path: Path, drawn: Drawn, samples: Samples) -> int:
    group, offer = samples.group[samples.rows(drawn.result)], drawn.resampling
    if path in offer.proportions:
        return len(np.unique(group[offer.proportions[path][1]]))
    area = offer.areas.get((*path[:-1], "roc_auc"))
    if area is not None and path[-1] in ("roc_auc", "average_precision"):
        return min(len(np.unique(group[area[0]])), len(np.unique(group[~area[0]])))
    return len(np.unique(group))


def _groups_of_classes(drawn: Drawn, samples: Samples) -> dict[str, int]:
    """In how many groups each class stands."""
    group, offer = samples.group[samples.rows(drawn.result)], drawn.resampling
    return {name: len(np.unique(group[offer.strata == index])) for index, name in enumerate(offer.class_names)}


def _groups_of_mean(metric: str, first: Sequence[Drawn], second: Sequence[Drawn], classes: Mapping[str, int]) -> float:
    """On how many groups the difference of two means over classes rests."""
    drawn = {}
    for name in classes:
        means = [np.mean([one.replicates["per_class", name, metric] for one in of], axis=0) for of in (first, second)]
        drawn[name] = means[0] - means[1]
    return groups_of_mean(drawn, classes, fewest=FEWEST_GROUPS)
