"""The binary table: one class told from all others by its score and a threshold.

A metric is a cell, as in `classification`: `{"value": v}`, or `{"value": None, "reason": "..."}` where it is undefined
or infinite. A sample is predicted positive when its score is at least the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

Cell = dict[str, Any]
Truth = NDArray[np.bool_]
Scores = NDArray[np.float64]

NO_POSITIVES = "no sample is positive"
NO_NEGATIVES = "no sample is negative"
NONE_PREDICTED = "none is predicted positive"
ALL_PREDICTED = "every sample is predicted positive"


@dataclass(frozen=True)
class Counts:
    """Samples by truth and prediction.

    Attributes:
        tp: Positive samples predicted positive.
        fp: Negative samples predicted positive.
        fn: Positive samples predicted negative.
        tn: Negative samples predicted negative.
    """

    tp: int
    fp: int
    fn: int
    tn: int

    @classmethod
    def at(cls, positive: Truth, score: Scores, threshold: float | Scores) -> Counts:
        """Counts n samples, positive when `score` is at least `threshold`, or at least their own (n,)."""
        called = score >= threshold
        hits, calls = int((positive & called).sum()), int(called.sum())
        positives = int(positive.sum())
        return cls(hits, calls - hits, positives - hits, len(positive) - positives - calls + hits)

    @property
    def positives(self) -> int:
        """Samples whose truth is positive."""
        return self.tp + self.fn

    @property
    def negatives(self) -> int:
        """Samples whose truth is negative."""
        return self.fp + self.tn

    @property
    def calls(self) -> int:
        """Samples predicted positive."""
        return self.tp + self.fp


def binary_metrics(positive: Truth, score: Scores, *, threshold: float | Scores) -> dict[str, Cell]:
    """Computes the binary table of n samples; each entry is a cell as the module describes it.

    With tp, fp, fn, tn as `Counts` has them:

    - sensitivity tp / (tp + fn), specificity tn / (tn + fp), ppv tp / (tp + fp), npv tn / (tn + fn),
      accuracy (tp + tn) / n, balanced_accuracy (sensitivity + specificity) / 2, f1 2 tp / (2 tp + fp + fn).
    - positive_likelihood_ratio sensitivity / (1 - specificity), negative_likelihood_ratio
      (1 - sensitivity) / specificity.
    - mcc (tp tn - fp fn) / sqrt((tp + fp) (tp + fn) (tn + fp) (tn + fn)), Matthews 1975.
    - roc_auc and average_precision of the scores as in scikit-learn; no threshold plays a part.
    - prevalence (tp + fn) / n, and the four counts.

    Args:
        positive: (n,) whether the truth is the positive class; n >= 1.
        score: (n,) its score, in 0..1.
        threshold: The score from which on a sample is predicted positive; (n,) where several networks with thresholds
            of their own have judged the samples.
    """
    if not len(positive):
        raise ValueError("Expected at least one sample.")
    return {
        **at_threshold(Counts.at(positive, score, threshold)),
        "roc_auc": _roc_auc(positive, score),
        "average_precision": _value(average_precision_score(positive, score))
        if positive.any()
        else _undefined(NO_POSITIVES),
        "prevalence": _value(positive.mean()),
    }


def over_thresholds(positive: Truth, score: Scores, thresholds: Iterable[float]) -> dict[float, dict[str, Cell]]:
    """Returns what depends on the threshold, by threshold: the counts and every metric that comes from them."""
    return {threshold: at_threshold(Counts.at(positive, score, threshold)) for threshold in thresholds}


def at_threshold(c: Counts) -> dict[str, Cell]:
    """Returns the cells of a binary table that come from its four counts alone."""
    samples = c.positives + c.negatives
    return {
        "sensitivity": _ratio(c.tp, c.positives, NO_POSITIVES),
        "specificity": _ratio(c.tn, c.negatives, NO_NEGATIVES),
        "ppv": _ratio(c.tp, c.calls, NONE_PREDICTED),
        "npv": _ratio(c.tn, samples - c.calls, ALL_PREDICTED),
        "positive_likelihood_ratio": _positive_likelihood_ratio(c),
        "negative_likelihood_ratio": _negative_likelihood_ratio(c),
        "accuracy": _value((c.tp + c.tn) / samples),
        "balanced_accuracy": _balanced_accuracy(c),
        "f1": _ratio(2 * c.tp, c.positives + c.calls, f"{NO_POSITIVES} and {NONE_PREDICTED}"),
        "mcc": _mcc(c),
        **{name: {"value": count} for name, count in vars(c).items()},
    }


def _value(value: float) -> Cell:
    return {"value": float(value)}


def _undefined(reason: str) -> Cell:
    return {"value": None, "reason": reason}


def _ratio(part: int, whole: int, reason: str) -> Cell:
    return _value(part / whole) if whole else _undefined(reason)


def _one_sided(c: Counts) -> str:
    """Why what needs both classes is undefined; empty if both are there."""
    if not c.positives:
        return NO_POSITIVES
    return "" if c.negatives else NO_NEGATIVES


def _positive_likelihood_ratio(c: Counts) -> Cell:
    if reason := _one_sided(c) or ("" if c.calls else NONE_PREDICTED):
        return _undefined(reason)
    return _ratio(c.tp * c.negatives, c.fp * c.positives, "infinite: no false positive")


def _negative_likelihood_ratio(c: Counts) -> Cell:
    if reason := _one_sided(c) or ("" if c.fn + c.tn else ALL_PREDICTED):
        return _undefined(reason)
    return _ratio(c.fn * c.negatives, c.tn * c.positives, "infinite: no true negative")


def _balanced_accuracy(c: Counts) -> Cell:
    if reason := _one_sided(c):
        return _undefined(reason)
    return _value((c.tp / c.positives + c.tn / c.negatives) / 2)


def _mcc(c: Counts) -> Cell:
    samples = c.positives + c.negatives
    if reason := _one_sided(c) or {0: NONE_PREDICTED, samples: ALL_PREDICTED}.get(c.calls, ""):
        return _undefined(reason)
    margins = c.calls * c.positives * c.negatives * (samples - c.calls)
    return _value((c.tp * c.tn - c.fp * c.fn) / math.sqrt(margins))


def _roc_auc(positive: Truth, score: Scores) -> Cell:
    if not positive.any():
        return _undefined(NO_POSITIVES)
    return _undefined(NO_NEGATIVES) if positive.all() else _value(roc_auc_score(positive, score))
