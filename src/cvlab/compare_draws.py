"""The resamples of a comparison: the same ones for every run, and on how many groups a difference rests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvlab.compare_entrants import Entrant, Result
from cvlab.compare_match import Samples
from cvlab.compare_task import ComparedTask, Metric
from cvlab.errors import counted
from cvlab.metrics.replicates import Path, Resampling, flat
from cvlab.statistics.bootstrap import Values, weight_chunks
from cvlab.statistics.paired import FEWEST_GROUPS

RESAMPLES = 2000
# The smallest p of B resamples is 2 / (B + 1); after Holm's factor it should still tell.
RESAMPLES_A_PAIR = 200
SEED = 42
CHUNK_SIZE = 400_000
MOST_NAMED = 3
# The means over classes, and what of each class they are the mean of.
MEANS: dict[Path, str] = {
    ("macro_roc_auc",): "roc_auc",
    ("macro_average_precision",): "average_precision",
    ("balanced_accuracy",): "recall",
    ("macro_f1",): "f1",
}


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
    paths = {metric.path for metric in metrics}
    parts: list[dict[Path, list[Values]]] = [{} for _ in every]
    chunk = max(CHUNK_SIZE // len(samples.ids), 16)
    total = resamples_of(entrants)
    for weights in weight_chunks(samples.group, _strata(every, samples), resamples=total, seed=SEED, chunk=chunk):
        for one, part in zip(every, parts, strict=True):
            values = flat(one.resampling.replicates(weights[:, samples.rows(one.result)]))
            for path in values.keys() & (paths | {("per_class", *path[1:]) for path in values if len(path) == 3}):
                part.setdefault(path, []).append(values[path])
            advance(len(weights))
    for one, part in zip(every, parts, strict=True):
        one.replicates.update({path: np.concatenate(values) for path, values in part.items()})
    return found


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

    What is about one class rests on its groups. A mean over classes rests on as many as its variance has degrees of
    freedom, and one more (Satterthwaite 1946): a class of two groups may make most of it uncertain.

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
    if path not in MEANS:
        return groups, ""
    effective = min(groups, _groups_of_mean(MEANS[path], first, second, samples))
    if effective < FEWEST_GROUPS:
        return effective, f"rare classes decide it: {_rare(first[0], samples, unit)}"
    return effective, ""


def _groups_of(path: Path, drawn: Drawn, samples: Samples) -> int:
    group, offer = samples.group[samples.rows(drawn.result)], drawn.resampling
    if path in offer.proportions:
        return len(np.unique(group[offer.proportions[path][1]]))
    area = offer.areas.get((*path[:-1], "roc_auc"))
    if area is not None and path[-1] in ("roc_auc", "average_precision"):
        return min(len(np.unique(group[area[0]])), len(np.unique(group[~area[0]])))
    return len(np.unique(group))


def _rare(drawn: Drawn, samples: Samples, unit: str) -> str:
    counts = _groups_of_classes(drawn, samples)
    shown = [f"{name} ({counted(groups, unit)})" for name, groups in counts.items() if 0 < groups < FEWEST_GROUPS]
    return ", ".join([*shown[:MOST_NAMED], *([f"{len(shown) - MOST_NAMED} more"] if len(shown) > MOST_NAMED else [])])


def _groups_of_classes(drawn: Drawn, samples: Samples) -> dict[str, int]:
    """In how many groups each class stands."""
    group, offer = samples.group[samples.rows(drawn.result)], drawn.resampling
    return {name: len(np.unique(group[offer.strata == index])) for index, name in enumerate(offer.class_names)}


def _groups_of_mean(metric: str, first: Sequence[Drawn], second: Sequence[Drawn], samples: Samples) -> float:
    """One more than the degrees of freedom of the variance of a mean over classes."""
    parts = []
    for name, groups in _groups_of_classes(first[0], samples).items():
        means = [np.mean([one.replicates["per_class", name, metric] for one in of], axis=0) for of in (first, second)]
        variance = float(np.nan_to_num(means[0] - means[1]).var())
        if groups == 1 and variance:
            return 1.0
        if groups > 1:
            # Resamples of g groups vary less than samples of g groups do, by (g - 1) / g.
            parts.append((variance * groups / (groups - 1), groups - 1))
    total = sum(variance for variance, _ in parts)
    return 1 + total**2 / sum(variance**2 / degrees for variance, degrees in parts) if total else np.inf
