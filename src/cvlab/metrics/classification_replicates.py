"""Classification metrics of each resample; see `classification` for the metrics and `replicates` for what they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from cvlab.metrics.binary_replicates import BinaryReplicates, binary_proportions
from cvlab.metrics.calibration import error_replicates, errors_by_chance
from cvlab.metrics.classification import in_top
from cvlab.metrics.classification_table import ClassificationPredictions
from cvlab.metrics.operating_point import OperatingPoint
from cvlab.metrics.replicates import Draws, Flags, Path, Ranking, Replicates, Resampling, divide
from cvlab.metrics.temperature import CALIBRATED, Temperature, calibrated_replicates, with_temperature
from cvlab.metrics.uncertainty import class_losses
from cvlab.statistics.bootstrap import Values


class ClassificationReplicates:
    """Computes every metric of the same n samples for any weights; what sorting is needed is done once."""

    def __init__(
        self,
        p: ClassificationPredictions,
        *,
        top_k: int = 3,
        point: OperatingPoint | None = None,
        temperature: Temperature | None = None,
    ) -> None:
        """Takes predictions, the k of the top-k accuracy, and what `binary` and `calibrated` are found at."""
        self._p, self._names = p, p.class_names
        self._temperature = None if temperature is None else temperature.value
        self._top_k = top_k
        # Loss, and whether the truth is among the highest scores.
        self._columns = np.column_stack([class_losses(p.target, p.scores), in_top(p, top_k)])
        codes = p.target * len(p.class_names) + p.predicted
        self._order = np.argsort(codes, kind="stable")
        self._codes, self._starts = np.unique(codes[self._order], return_index=True)
        self._rankings = [Ranking.of(p.target == index, p.scores[:, index]) for index in range(len(p.class_names))]
        self._binary = None if point is None else BinaryReplicates(*point.of(p), threshold=point.threshold)

    def __call__(self, weights: ArrayLike) -> Replicates:
        """Returns every metric but the counts, (B,) each, from weights (B, n); those of a class in `per_class`."""
        draws = Draws.of(weights)
        counts = self._confusion(draws)
        per_class = _per_class(counts)
        areas = [ranking.areas(draws) for ranking in self._rankings]
        per_class["roc_auc"], per_class["average_precision"] = (np.stack(values) for values in zip(*areas, strict=True))
        loss, hits = divide(draws.sums(self._columns), draws.total[:, None]).T
        found: Replicates = {"loss": loss, **_overall(counts), f"top_{self._top_k}_accuracy": hits}
        found |= _means(per_class, counts.sum(axis=1))
        found["per_class"] = {
            name: {metric: values[index] for metric, values in per_class.items()}
            for index, name in enumerate(self._names)
        }
        found |= error_replicates(self._p.target, self._p.scores, draws.rows)
        if self._binary is not None:
            found["binary"] = self._binary.of(draws)
        if self._temperature is not None:
            target, scores = self._p.target, self._p.scores
            found[CALIBRATED] = calibrated_replicates(target, scores, self._temperature, draws.rows)
        return found

    def _confusion(self, draws: Draws) -> Values:
        """Returns how often each class was predicted as which, (k, k, B); the truth is the first axis."""
        classes = len(self._names)
        counts = np.zeros((classes * classes, len(draws.total)))
        counts[self._codes] = np.add.reduceat(draws.columns[self._order], self._starts, axis=0)
        return counts.reshape(classes, classes, -1)


def replicates(
    p: ClassificationPredictions,
    weights: ArrayLike,
    *,
    top_k: int = 3,
    point: OperatingPoint | None = None,
    temperature: Temperature | None = None,
) -> Replicates:
    """Returns what every metric is on each resample, in the form of `classification_metrics` without its counts.

    Args:
        p: n predictions.
        weights: (B, n) how often each sample stands in each resample.
        top_k: As in `classification_metrics`.
        point: The operating point of the table `binary`; None for none.
        temperature: That of the table `calibrated`; None for none.

    Returns:
        Arrays (B,) by name; NaN where a metric is undefined.
    """
    return ClassificationReplicates(p, top_k=top_k, point=point, temperature=temperature)(weights)


def resampling(
    p: ClassificationPredictions,
    *,
    top_k: int = 3,
    point: OperatingPoint | None = None,
    temperature: Temperature | None = None,
) -> Resampling:
    """Returns what the intervals of a table's metrics are computed from; the settings are those of `replicates`."""
    everyone = np.ones(len(p.target), dtype=bool)
    proportions: dict[Path, tuple[Flags, Flags]] = {
        ("accuracy",): (p.target == p.predicted, everyone),
        (f"top_{top_k}_accuracy",): (in_top(p, top_k), everyone),
    }
    areas: dict[Path, tuple[Flags, Values]] = {}
    for index, name in enumerate(p.class_names):
        true, called, place = p.target == index, p.predicted == index, ("per_class", name)
        proportions[*place, "recall"] = called, true
        proportions[*place, "precision"] = true, called
        proportions[*place, "specificity"] = ~called, ~true
        areas[*place, "roc_auc"] = true, p.scores[:, index]
    if point is not None:
        positive, score = point.of(p)
        shares = binary_proportions(positive, score, threshold=point.threshold)
        proportions |= {("binary", name): share for name, share in shares.items()}
        areas["binary", "roc_auc"] = positive, score
    by_chance: dict[Path, Callable[[float], float]] = {
        (name,): most for name, most in errors_by_chance(p.scores).items()
    }
    if temperature is not None and temperature.value is not None:
        after = errors_by_chance(with_temperature(p.scores, temperature.value))
        by_chance |= {(CALIBRATED, name): most for name, most in after.items()}
    compute = ClassificationReplicates(p, top_k=top_k, point=point, temperature=temperature)
    return Resampling(p.group, p.target, p.class_names, compute, proportions, areas, by_chance=by_chance)


def _per_class(counts: Values) -> dict[str, Values]:
    """Returns what the counts (k, k, B) say of each class, (k, B) each."""
    right = np.einsum("iib->ib", counts)
    support, predicted = counts.sum(axis=1), counts.sum(axis=0)
    negatives = support.sum(axis=0) - support
    return {
        "precision": divide(right, predicted),
        "recall": divide(right, support),
        "specificity": divide(negatives - predicted + right, negatives),
        "f1": divide(2 * right, support + predicted),
    }


def _overall(counts: Values) -> Replicates:
    right = np.einsum("iib->b", counts)
    support, predicted = counts.sum(axis=1), counts.sum(axis=0)
    total = support.sum(axis=0)
    recalls = divide(np.einsum("iib->ib", counts), support)
    by_chance = (support * predicted).sum(axis=0)
    spreads = [total**2 - (of**2).sum(axis=0) for of in (predicted, support)]
    return {
        "accuracy": divide(right, total),
        "balanced_accuracy": _mean_of_defined(recalls),
        "cohen_kappa": divide(total * right - by_chance, total**2 - by_chance),
        "mcc": divide(right * total - by_chance, np.sqrt(spreads[0]) * np.sqrt(spreads[1])),
    }


def _means(per_class: dict[str, Values], support: Values) -> Replicates:
    found = {}
    for metric in ("precision", "recall", "f1"):
        values = np.nan_to_num(per_class[metric], nan=0.0)
        found[f"macro_{metric}"] = values.mean(axis=0)
        found[f"weighted_{metric}"] = divide((values * support).sum(axis=0), support.sum(axis=0))
    for metric in ("specificity", "roc_auc", "average_precision"):
        found[f"macro_{metric}"] = _mean_of_defined(per_class[metric])
    return found


def _mean_of_defined(values: Values) -> Values:
    """Returns the mean over the classes (k, B) where a value is defined."""
    return divide(np.nan_to_num(values, nan=0.0).sum(axis=0), np.isfinite(values).sum(axis=0).astype(np.float64))
