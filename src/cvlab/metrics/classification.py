"""Classification metrics, all computed from the table of predictions.

A metric is a cell: `{"value": v}`, with a `"note"` where a part of it is undefined, or
`{"value": None, "reason": "..."}` where it is undefined itself. It is never a made-up 0 and never NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    classification_report,
    cohen_kappa_score,
    confusion_matrix,
    matthews_corrcoef,
    roc_auc_score,
)

from cvlab.metrics.calibration import calibration_cells
from cvlab.metrics.classification_table import ClassificationPredictions, predictions_csv, read_predictions
from cvlab.metrics.uncertainty import class_losses
from cvlab.text import printable

__all__ = [
    "ClassificationPredictions",
    "classification_metrics",
    "classification_text",
    "monitored",
    "predictions_csv",
    "read_predictions",
]

Cell = dict[str, Any]

NAMES_IN_A_NOTE = 5
NO_SAMPLES = "no sample is of this class"
ONLY_THIS_CLASS = "every sample is of this class"


def classification_metrics(p: ClassificationPredictions, *, top_k: int = 3) -> dict[str, Any]:
    """Computes every metric of a classification; each is a cell as the module describes it.

    - loss: mean of -ln(score of the true class); a score below 1e-7 counts as 1e-7.
    - balanced_accuracy: mean recall over the classes that have samples.
    - macro and weighted precision, recall, f1: mean over all classes, an undefined one counts as 0, as in
      scikit-learn's report; weighted by the number of samples.
    - macro specificity, ROC AUC (one class against the rest), average precision: mean over the classes
      where it is defined.
    - cohen_kappa: Cohen 1960. mcc: the multi-class Matthews correlation, Gorodkin 2004.
    - top_<k>_accuracy: how often the truth is among the k highest scores; ties go to the first class.
    - brier, ece, ece_equal_mass and the parts of brier: see `calibration`.

    Returns:
        The cells by name, then `per_class` (cells by class name), `confusion_matrix` (rows are the truth,
        columns what was predicted, both in class order) and `samples` (their number).
    """
    if not len(p.target):
        raise ValueError("Expected at least one sample.")
    counts = confusion_matrix(p.target, p.predicted, labels=np.arange(len(p.class_names)))
    per_class = {name: _class_cells(p, counts, index) for index, name in enumerate(p.class_names)}
    return {
        **_overall_cells(p, counts, top_k),
        **_mean_cells(per_class),
        **calibration_cells(p.target, p.scores),
        "per_class": per_class,
        "confusion_matrix": counts.tolist(),
        "samples": len(p.target),
    }


def mean_cross_entropy(target: NDArray[np.int64], scores: NDArray[np.float64]) -> float:
    """Returns the mean of -ln(score of the true class), natural logarithm; a score below 1e-7 counts as 1e-7."""
    return float(class_losses(target, scores).mean())


def in_top(p: ClassificationPredictions, top_k: int) -> NDArray[np.bool_]:
    """Returns whether the truth of each sample is among its `top_k` highest scores; ties go to the first class."""
    highest = np.argsort(-p.scores, axis=1, kind="stable")[:, :top_k]
    return np.asarray((highest == p.target[:, None]).any(axis=1))


def _value(value: float, note: str = "") -> Cell:
    return {"value": float(value), "note": note} if note else {"value": float(value)}


def _undefined(reason: str) -> Cell:
    return {"value": None, "reason": reason}


def _ratio(part: int, whole: int, reason: str) -> Cell:
    return _value(part / whole) if whole else _undefined(reason)


def _overall_cells(p: ClassificationPredictions, counts: NDArray[np.int64], top_k: int) -> dict[str, Cell]:
    with_samples = counts.sum(axis=1) > 0
    recalls = counts.diagonal()[with_samples] / counts.sum(axis=1)[with_samples]
    missing = [name for name, there in zip(p.class_names, with_samples, strict=True) if not there]
    note = f"mean over the classes with samples, so without {_names(missing)}" if missing else ""
    return {
        "loss": _value(mean_cross_entropy(p.target, p.scores)),
        "accuracy": _value((p.target == p.predicted).mean()),
        "balanced_accuracy": _value(recalls.mean(), note),
        "cohen_kappa": _cohen_kappa(p),
        "mcc": _mcc(p),
        f"top_{top_k}_accuracy": _top_accuracy(p, top_k),
    }


def _cohen_kappa(p: ClassificationPredictions) -> Cell:
    if len(np.union1d(p.target, p.predicted)) == 1:
        return _undefined("every sample is of one class and predicted as it, so chance agrees wholly")
    return _value(cohen_kappa_score(p.target, p.predicted))


def _mcc(p: ClassificationPredictions) -> Cell:
    for classes, what in ((p.target, "is of"), (p.predicted, "is predicted as")):
        if len(np.unique(classes)) == 1:
            return _undefined(f"every sample {what} one class")
    return _value(matthews_corrcoef(p.target, p.predicted))


def _top_accuracy(p: ClassificationPredictions, top_k: int) -> Cell:
    classes = len(p.class_names)
    if top_k >= classes:
        return _undefined(f"the top {top_k} of {classes} classes always hold the truth")
    return _value(in_top(p, top_k).mean())


def _class_cells(p: ClassificationPredictions, counts: NDArray[np.int64], index: int) -> dict[str, Cell]:
    right = int(counts[index, index])
    support, predicted = int(counts[index].sum()), int(counts[:, index].sum())
    negatives = len(p.target) - support
    is_class, score = p.target == index, p.scores[:, index]
    return {
        "precision": _ratio(right, predicted, "never predicted"),
        "recall": _ratio(right, support, NO_SAMPLES),
        "specificity": _ratio(negatives - predicted + right, negatives, ONLY_THIS_CLASS),
        "f1": _ratio(2 * right, support + predicted, f"{NO_SAMPLES} and it was never predicted"),
        "support": {"value": support},
        "roc_auc": _ranking(roc_auc_score, is_class, score, needs_negatives=True),
        "average_precision": _ranking(average_precision_score, is_class, score, needs_negatives=False),
    }


def _ranking(
    metric: Callable[..., float],
    is_class: NDArray[np.bool_],
    score: NDArray[np.float64],
    *,
    needs_negatives: bool,
) -> Cell:
    if not is_class.any():
        return _undefined(NO_SAMPLES)
    if needs_negatives and is_class.all():
        return _undefined(ONLY_THIS_CLASS)
    return _value(metric(is_class, score))


def _mean_cells(per_class: dict[str, dict[str, Cell]]) -> dict[str, Cell]:
    cells = {}
    for metric in ("precision", "recall", "f1"):
        cells[f"macro_{metric}"] = _mean_with_zeros(per_class, metric, weighted=False)
        cells[f"weighted_{metric}"] = _mean_with_zeros(per_class, metric, weighted=True)
    for metric in ("specificity", "roc_auc", "average_precision"):
        cells[f"macro_{metric}"] = _mean_of_defined(per_class, metric)
    return cells


def _mean_with_zeros(per_class: dict[str, dict[str, Cell]], metric: str, *, weighted: bool) -> Cell:
    weights = {name: cells["support"]["value"] if weighted else 1 for name, cells in per_class.items()}
    undefined = [name for name, cells in per_class.items() if cells[metric]["value"] is None and weights[name] > 0]
    note = f"{metric} is undefined for {_names(undefined)} and counts as 0" if undefined else ""
    values = [cells[metric]["value"] or 0.0 for cells in per_class.values()]
    return _value(np.average(values, weights=list(weights.values())), note)


def _mean_of_defined(per_class: dict[str, dict[str, Cell]], metric: str) -> Cell:
    values = {name: cells[metric]["value"] for name, cells in per_class.items()}
    defined = [value for value in values.values() if value is not None]
    if not defined:
        return _undefined("not defined for any class")
    undefined = [name for name, value in values.items() if value is None]
    note = f"mean over the classes where it is defined, so without {_names(undefined)}" if undefined else ""
    return _value(np.mean(defined), note)


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_IN_A_NOTE])
    return f"{shown} and {len(names) - NAMES_IN_A_NOTE} more" if len(names) > NAMES_IN_A_NOTE else shown


def classification_text(p: ClassificationPredictions) -> str:
    """Returns scikit-learn's report of all classes, and below it which of its zeros are undefined values."""
    report = classification_report(
        p.target,
        p.predicted,
        labels=np.arange(len(p.class_names)),
        target_names=[printable(name) for name in p.class_names],
        digits=3,
        zero_division=0,
    )
    classes = len(p.class_names)
    absent = np.bincount(p.target, minlength=classes) == 0
    never = np.bincount(p.predicted, minlength=classes) == 0
    undefined = []
    for what, where in (
        ("precision (never predicted)", never),
        ("recall (no sample)", absent),
        ("f1 (neither)", never & absent),
    ):
        if where.any():
            names = ", ".join(printable(p.class_names[index]) for index in np.flatnonzero(where))
            undefined.append(f"{what} of {names}")
    line = f"Undefined, shown as 0.000: {'; '.join(undefined)}." if undefined else "Every value is defined."
    return f"{report}\n{line}\n"


def monitored(target: NDArray[np.int64], scores: NDArray[np.float64]) -> dict[str, float]:
    """Returns what is watched while training: `loss`, `accuracy` and `balanced_accuracy`, as defined above.

    Args:
        target: (n,) indices of the true classes.
        scores: (n, k) class scores that sum to 1; the prediction is the first highest one.
    """
    hit = scores.argmax(axis=1) == target
    recalls = [hit[target == label].mean() for label in np.unique(target)]
    return {
        "loss": mean_cross_entropy(target, scores),
        "accuracy": float(hit.mean()),
        "balanced_accuracy": float(np.mean(recalls)),
    }
