"""Regression metrics, all computed from the table of predictions.

A metric is a cell: `{"value": v}`, with a `"note"` where it says little, or `{"value": None, "reason": "..."}`
where it is undefined. It is never a made-up 0 and never NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvlab.metrics.regression_table import (
    LARGEST,
    RegressionPredictions,
    predictions_csv,
    read_predictions,
)

__all__ = [
    "AVERAGED",
    "LARGEST",
    "MSE",
    "RegressionPredictions",
    "monitored",
    "predictions_csv",
    "read_predictions",
    "regression_metrics",
]

Cell = dict[str, Any]
Values = NDArray[np.float64]

AVERAGED = ("rmse", "mae", "corr", "sagr", "ccc", "r2")
ONE_SAMPLE = "one sample shows no relation"
CONSTANT_TRUTH = "the truth is constant"
MSE = {"name": "mse"}


def regression_metrics(p: RegressionPredictions, *, loss: Mapping[str, Any] = MSE) -> dict[str, Any]:
    """Computes every metric of a regression; each is a cell as the module describes it.

    For truth t and prediction p of one target, with means m, population standard deviations s:

    - rmse: sqrt(mean[(p - t)^2]); rmse_standard_error: that of rmse over samples,
      sd[(p - t)^2] / (2 rmse sqrt(n)) (delta method). mae: mean[|p - t|].
    - corr: Pearson's correlation r. r2: 1 - sum[(p - t)^2] / sum[(t - m_t)^2], below 0 where the mean is better.
    - sagr: mean[(t > 0) == (p > 0)], the share of samples whose sign is right (Nicolaou et al. 2011).
    - ccc: 2 r s_t s_p / (s_t^2 + s_p^2 + (m_t - m_p)^2), the concordance of Lin 1989.

    Args:
        p: Truth and predictions.
        loss: The settings of the loss: `{"name": "mse"}`, `mae`, `{"name": "huber", "delta": 1.0}` or `ccc`.

    Returns:
        `loss`, over all samples and targets; then the means over the targets of rmse, mae, corr, sagr, ccc and
        r2, then `per_target` (cells by name, with mean and deviation of truth and prediction) and `samples`
        (their number). A mean is undefined if one of its parts is.
    """
    if not len(p.target):
        raise ValueError("Expected at least one sample.")
    per_target = {
        name: _target_cells(p.target[:, index], p.predicted[:, index]) for index, name in enumerate(p.target_names)
    }
    means = {metric: _mean_cell(per_target, metric) for metric in AVERAGED}
    return {
        "loss": _loss_cell(p.target, p.predicted, loss, means["ccc"]),
        **means,
        "per_target": per_target,
        "samples": len(p.target),
    }


def monitored(target: Values, predicted: Values, *, loss: Mapping[str, Any]) -> dict[str, float]:
    """Returns what is watched while training: `loss`, `rmse` and `ccc`, as defined above.

    Args:
        target: (n, k) truth.
        predicted: (n, k); a value that is no finite number makes all three NaN.
        loss: The settings of the loss.
    """
    if not np.isfinite(predicted).all():
        return dict.fromkeys(("loss", "rmse", "ccc"), math.nan)
    cells = [_target_cells(*columns) for columns in zip(target.T, predicted.T, strict=True)]
    # What is undefined in an evaluation counts as 0 here: the best epoch is chosen by a number, and constant
    # predictions of a constant truth show no agreement.
    agreement = float(np.mean([cell["ccc"]["value"] or 0.0 for cell in cells]))
    cell = _loss_cell(target, predicted, loss, _value(agreement))
    return {"loss": cell["value"], "rmse": float(np.mean([cell["rmse"]["value"] for cell in cells])), "ccc": agreement}


@dataclass(frozen=True)
class _Column:
    """The values of one target: their mean, the deviations from it and the population standard deviation."""

    mean: float
    deviations: Values
    std: float

    @classmethod
    def of(cls, values: Values) -> _Column:
        # From the first value on, so that a constant deviates by exactly 0 and large numbers lose no digits.
        shifted = values - values[0]
        deviations = shifted - shifted.mean()
        deviations -= deviations.mean()
        return cls(float(values[0] + shifted.mean()), deviations, _root_mean_square(deviations))


def _root_mean_square(values: Values) -> float:
    # Squares of shares of the largest value neither overflow nor vanish.
    largest = float(np.abs(values).max())
    return largest * math.sqrt(float(np.mean((values / largest) ** 2))) if largest else 0.0


def _value(value: float, note: str = "") -> Cell:
    if not math.isfinite(value):
        return _undefined("too large for a number")
    return {"value": float(value), "note": note} if note else {"value": float(value)}


def _undefined(reason: str) -> Cell:
    return {"value": None, "reason": reason}


def _target_cells(target: Values, predicted: Values) -> dict[str, Cell]:
    truth, prediction = _Column.of(target), _Column.of(predicted)
    errors = predicted - target
    rmse = _root_mean_square(errors)
    return {
        "rmse": _value(rmse),
        "rmse_standard_error": _standard_error(errors, rmse),
        "mae": _value(np.abs(errors).mean()),
        "corr": _correlation(truth, prediction),
        "sagr": _value(((target > 0) == (predicted > 0)).mean(), _sign_note(target)),
        "ccc": _concordance(truth, prediction, bias=float(errors.mean())),
        "r2": _determination(truth, rmse),
        "truth_mean": _value(truth.mean),
        "truth_std": _value(truth.std),
        "predicted_mean": _value(prediction.mean),
        "predicted_std": _value(prediction.std),
    }


def _standard_error(errors: Values, rmse: float) -> Cell:
    if len(errors) < 2:
        return _undefined("one sample shows no spread")
    if not rmse:
        return _value(0.0)
    squares = (errors / rmse) ** 2
    return _value(rmse * squares.std(ddof=1) / (2 * math.sqrt(len(errors))))


def _sign_note(target: Values) -> str:
    for never, sign in ((not (target < 0).any(), "negative"), (not (target > 0).any(), "positive")):
        if never:
            return f"the truth is never {sign}, so that its sign says little"
    return ""


def _pearson(truth: _Column, prediction: _Column) -> float:
    r = float(np.mean((truth.deviations / truth.std) * (prediction.deviations / prediction.std)))
    return min(max(r, -1.0), 1.0)


def _correlation(truth: _Column, prediction: _Column) -> Cell:
    if len(truth.deviations) < 2:
        return _undefined(ONE_SAMPLE)
    constant = [what for what, column in (("truth", truth), ("prediction", prediction)) if not column.std]
    if constant:
        verb = "are" if len(constant) > 1 else "is"
        return _undefined(f"the {' and the '.join(constant)} {verb} constant")
    return _value(_pearson(truth, prediction))


def _concordance(truth: _Column, prediction: _Column, *, bias: float) -> Cell:
    if len(truth.deviations) < 2:
        return _undefined(ONE_SAMPLE)
    largest = max(truth.std, prediction.std, abs(bias))
    if not largest:
        return _undefined("truth and prediction are the same constant")
    if not (truth.std and prediction.std):
        return _value(0.0)
    s_t, s_p, difference = truth.std / largest, prediction.std / largest, bias / largest
    return _value(2 * _pearson(truth, prediction) * s_t * s_p / (s_t**2 + s_p**2 + difference**2))


def _determination(truth: _Column, rmse: float) -> Cell:
    if len(truth.deviations) < 2:
        return _undefined(ONE_SAMPLE)
    if not truth.std:
        return _undefined(CONSTANT_TRUTH)
    ratio = rmse / truth.std
    return _value(1 - ratio * ratio)


def _mean_cell(per_target: Mapping[str, Mapping[str, Cell]], metric: str) -> Cell:
    cells = {name: target[metric] for name, target in per_target.items()}
    undefined = [name for name, cell in cells.items() if cell["value"] is None]
    if not undefined:
        return _value(np.mean([cell["value"] for cell in cells.values()]))
    first = undefined[0]
    more = f" and {len(undefined) - 1} more" if len(undefined) > 1 else ""
    where = f" for {first}{more}" if len(cells) > 1 else ""
    return _undefined(f"{cells[first]['reason']}{where}")


def losses_of(target: Values, predicted: Values, loss: Mapping[str, Any]) -> Values:
    """Returns the loss of each value (n, k); `ccc` has none, being about all samples."""
    errors = np.abs(predicted - target)
    if loss["name"] == "huber":
        delta = loss["delta"]
        return np.where(errors <= delta, 0.5 * errors**2, delta * errors - 0.5 * delta**2)
    return np.asarray(errors**2 if loss["name"] == "mse" else errors)


def _loss_cell(target: Values, predicted: Values, loss: Mapping[str, Any], ccc: Cell) -> Cell:
    if loss["name"] == "ccc":
        return _undefined(ccc["reason"]) if ccc["value"] is None else _value(1 - ccc["value"])
    return _value(losses_of(target, predicted, loss).mean())
