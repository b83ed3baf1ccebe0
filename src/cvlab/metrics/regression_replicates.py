"""Regression metrics of each resample; see `regression` for the metrics and `replicates` for what a replicate is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cvlab.metrics.regression import AVERAGED, MSE, losses_of
from cvlab.metrics.regression_table import RegressionPredictions
from cvlab.metrics.replicates import Draws, Flags, Path, Replicates, Resampling, divide
from cvlab.statistics.bootstrap import Values


def replicates(p: RegressionPredictions, weights: ArrayLike, *, loss: Mapping[str, Any] = MSE) -> Replicates:
    """Returns what every metric is on each resample, in the form of `regression_metrics` without standard errors.

    Args:
        p: n predictions.
        weights: (B, n) how often each sample stands in each resample.
        loss: As in `regression_metrics`.

    Returns:
        Arrays (B,) by name, those of a target in `per_target`; NaN where a metric is undefined.
    """
    draws = Draws.of(weights)
    columns = zip(p.target_names, p.target.T, p.predicted.T, strict=True)
    per_target = {name: _of_target(draws, *values) for name, *values in columns}
    means = {metric: np.mean([of[metric] for of in per_target.values()], axis=0) for metric in AVERAGED}
    concordance = loss["name"] == "ccc"
    losses = 1 - means["ccc"] if concordance else draws.means(losses_of(p.target, p.predicted, loss).mean(axis=1))
    return {"loss": losses, **means, "per_target": per_target}


def resampling(p: RegressionPredictions, *, loss: Mapping[str, Any] = MSE) -> Resampling:
    """Returns what the intervals of a table's metrics are computed from; `loss` is that of `replicates`."""
    everyone = np.ones(len(p.target), dtype=bool)
    signs = (p.target > 0) == (p.predicted > 0)
    shares: dict[Path, tuple[Flags, Flags]] = {
        ("per_target", name, "sagr"): (right, everyone) for name, right in zip(p.target_names, signs.T, strict=True)
    }
    if len(p.target_names) == 1:
        shares["sagr",] = signs[:, 0], everyone
    return Resampling(p.group, None, (), lambda weights: replicates(p, weights, loss=loss), shares, {})


def _of_target(draws: Draws, target: Values, predicted: Values) -> dict[str, Values]:
    errors = predicted - target
    truth, truth_std, from_truth = _spread(draws, target)
    prediction, prediction_std, from_prediction = _spread(draws, predicted)
    covariance = divide((draws.rows * from_truth * from_prediction).sum(axis=1), draws.total)
    rmse = np.sqrt(draws.means(errors**2))
    related = draws.total >= 2
    corr = np.where(related, np.clip(divide(covariance, truth_std * prediction_std), -1, 1), np.nan)
    spread = truth_std**2 + prediction_std**2 + draws.means(errors) ** 2
    return {
        "rmse": rmse,
        "mae": draws.means(np.abs(errors)),
        "corr": corr,
        "sagr": draws.means((target > 0) == (predicted > 0)),
        "ccc": np.where(related, divide(2 * covariance, spread), np.nan),
        "r2": np.where(related, 1 - divide(rmse, truth_std) ** 2, np.nan),
        "truth_mean": truth,
        "truth_std": truth_std,
        "predicted_mean": prediction,
        "predicted_std": prediction_std,
    }


def _spread(draws: Draws, values: Values) -> tuple[Values, Values, Values]:
    """Returns mean (B,), population standard deviation (B,), and the deviation of each sample (B, n) from the mean."""
    # From a value of the middle on, so that large numbers lose no digits.
    middle = float(np.median(values))
    shift = draws.means(values - middle)
    deviations = (values - middle) - shift[:, None]
    std = np.sqrt(divide((draws.rows * deviations**2).sum(axis=1), draws.total))
    # What is constant in a resample deviates by exactly 0; the rounding of its mean would leave more.
    code = np.unique(values, return_inverse=True)[1]
    drawn = draws.rows > 0
    constant = np.where(drawn, code, -1).max(axis=1) == np.where(drawn, code, len(code)).min(axis=1)
    std[constant], deviations[constant] = 0.0, 0.0
    return middle + shift, std, deviations
