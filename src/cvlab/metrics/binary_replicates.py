"""The binary table of each resample; see `binary` for the metrics and `replicates` for what a replicate is."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from cvlab.metrics.binary import Scores, Truth
from cvlab.metrics.replicates import Draws, Ranking, Replicates, divide
from cvlab.statistics.bootstrap import Values


class BinaryReplicates:
    """Computes the binary table of the same n samples for any weights; what sorting is needed is done once."""

    def __init__(self, positive: Truth, score: Scores, *, threshold: float | Scores) -> None:
        """Takes what `binary_metrics` takes."""
        called = score >= threshold
        self._ranking = Ranking.of(positive, score)
        self._kinds = np.column_stack([positive & called, ~positive & called, positive & ~called])

    def __call__(self, weights: ArrayLike) -> Replicates:
        """Returns every metric but the counts, (B,) each, from weights (B, n)."""
        return self.of(Draws.of(weights))

    def of(self, draws: Draws) -> Replicates:
        """Returns the same of weights that are prepared already."""
        tp, fp, fn = draws.sums(self._kinds).T
        tn = draws.total - tp - fp - fn
        roc_auc, average_precision = self._ranking.areas(draws)
        return {
            **_at_threshold(tp, fp, fn, tn),
            "roc_auc": roc_auc,
            "average_precision": average_precision,
            "prevalence": divide(tp + fn, draws.total),
        }


def binary_proportions(positive: Truth, score: Scores, *, threshold: float | Scores) -> dict[str, tuple[Truth, Truth]]:
    """Returns the metrics that are shares of samples: who is counted (n,), out of whom (n,)."""
    called, everyone = score >= threshold, np.ones(len(positive), dtype=bool)
    return {
        "sensitivity": (called, positive),
        "specificity": (~called, ~positive),
        "ppv": (positive, called),
        "npv": (~positive, ~called),
        "accuracy": (positive == called, everyone),
        "prevalence": (positive, everyone),
    }


def _at_threshold(tp: Values, fp: Values, fn: Values, tn: Values) -> Replicates:
    positives, negatives, calls, others = tp + fn, fp + tn, tp + fp, fn + tn
    sensitivity, specificity = divide(tp, positives), divide(tn, negatives)
    margins = np.sqrt(calls) * np.sqrt(positives) * np.sqrt(negatives) * np.sqrt(others)
    return {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": divide(tp, calls),
        "npv": divide(tn, others),
        "positive_likelihood_ratio": _likelihood_ratio(tp * negatives, fp * positives, calls),
        "negative_likelihood_ratio": _likelihood_ratio(fn * negatives, tn * positives, others),
        "accuracy": divide(tp + tn, positives + negatives),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "f1": divide(2 * tp, positives + calls),
        "mcc": divide(tp * tn - fp * fn, margins),
    }


def _likelihood_ratio(part: Values, whole: Values, called: Values) -> Values:
    """Returns part / whole: infinite where the whole is 0 alone, undefined where there is nothing to judge."""
    ratio = np.where((whole == 0) & (part > 0), np.inf, divide(part, whole))
    return np.where(called > 0, ratio, np.nan)
