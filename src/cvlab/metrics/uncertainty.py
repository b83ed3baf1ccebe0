"""How good the uncertainty of predictions is: likelihood, calibration, entropy, and the risk of what is kept.

A metric is a cell: `{"value": v}`, with a `"note"` where it says little, or `{"value": None, "reason": "..."}` where it
is undefined. It is never a made-up 0 and never NaN. Logarithms are natural.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Cell = dict[str, Any]
Values = NDArray[np.float64]
Indices = NDArray[np.int64]

INJECTION = "dropout_injection"  # its key in operating_point.json
SMALLEST_SCORE = 1e-7
LEVELS = np.arange(11) / 10
NO_PASSES = "Expected at least one pass."
SAME_UNCERTAINTY = "every sample is as uncertain as any other, so that their order says nothing"


@dataclass(frozen=True)
class Moments:
    """What T passes over the same samples come to, in float64.

    Attributes:
        mean: (n, ...) mean of the outputs.
        variance: (n, ...) their population variance: mean[x^2] - mean[x]^2.
        pass_entropy: (n, ...) mean over the passes of the entropy of a pass, over the last axis; None for numbers.
    """

    mean: Values
    variance: Values
    pass_entropy: Values | None

    @property
    def entropy(self) -> Values:
        """The predictive entropy, that of the mean scores, over the last axis."""
        return entropy(self.mean)

    @property
    def mutual_information(self) -> Values:
        """Predictive entropy less mean entropy of a pass: how much the passes disagree (Houlsby et al. 2011)."""
        if self.pass_entropy is None:
            raise ValueError("Expected passes of scores: numbers have no entropy.")
        # Never negative (Jensen) but for rounding.
        return np.maximum(self.entropy - self.pass_entropy, 0.0)


def moments_of(passes: Iterable[NDArray[Any]], *, of_scores: bool) -> Moments:
    """Returns the moments of passes that come one after the other; none of them is kept (Welford 1962).

    Args:
        passes: One or more arrays of one shape (n, ...).
        of_scores: Whether the last axis holds the scores of classes, which sum to 1.
    """
    count, mean, squares, entropies = 0, np.zeros(()), np.zeros(()), np.zeros(())
    for outputs in passes:
        values = np.asarray(outputs, dtype=np.float64)
        count += 1
        difference = values - mean
        mean = mean + difference / count
        squares = squares + difference * (values - mean)
        if of_scores:
            entropies = entropies + entropy(values)
    if not count:
        raise ValueError(NO_PASSES)
    return Moments(mean, squares / count, entropies / count if of_scores else None)


def entropy(scores: Values) -> Values:
    """Returns -sum[p ln p] over the last axis of scores that sum to 1; 0 ln 0 is 0."""
    logarithms = np.log(scores, out=np.zeros_like(scores), where=scores > 0)
    # Not -sum: a certain score has the entropy 0, not -0.
    return np.asarray(0.0 - (scores * logarithms).sum(axis=-1))


def gaussian_losses(target: Values, mean: Values, variance: Values) -> Values:
    """Returns 0.5 ln s^2 + 0.5 (y - m)^2 / s^2 of each value: the negative log-likelihood less 0.5 ln(2 pi).

    It is infinite where the variance is 0: that is a claim to know the value exactly.
    """
    deviations = _squared_deviations(target, mean, variance)
    logarithms = np.log(variance, out=np.zeros_like(variance), where=variance > 0)
    return np.asarray(0.5 * logarithms + 0.5 * deviations)


def _squared_deviations(target: Values, mean: Values, variance: Values) -> Values:
    """Returns (y - m)^2 / s^2 of each value; infinite where the variance is 0."""
    with np.errstate(over="ignore"):
        return np.divide((target - mean) ** 2, variance, out=np.full_like(variance, math.inf), where=variance > 0)


def class_losses(target: Indices, scores: Values) -> Values:
    """Returns -ln(score of the true class) of each sample (n,); a score below 1e-7 counts as 1e-7."""
    of_truth = scores[np.arange(len(target)), target]
    return np.asarray(-np.log(np.maximum(of_truth, SMALLEST_SCORE)))


def mask_losses(truth: NDArray[np.bool_], probabilities: Values) -> Values:
    """Returns the mean over the pixels of -ln(score of the truth) of each mask (n,), clipped as in `class_losses`.

    Args:
        truth: (n, height, width) whether a pixel belongs to the structure.
        probabilities: (n, height, width) the probability that it does.
    """
    of_truth = np.where(truth, probabilities, 1 - probabilities)
    return np.asarray(-np.log(np.maximum(of_truth, SMALLEST_SCORE)).mean(axis=(1, 2)))


def mean_cell(losses: Values) -> Cell:
    """Returns the mean of losses as a cell; undefined where one of them is infinite."""
    if not losses.size:
        raise ValueError("Expected at least one sample.")
    infinite = int((~np.isfinite(losses)).sum())
    if infinite:
        return _undefined(f"infinite: the variance is 0, or next to it, for {infinite:,} of {losses.size:,}")
    return {"value": float(losses.mean())}


def variance_scale(target: Values, mean: Values, variance: Values) -> Cell:
    """Returns C = mean[(y - m)^2 / s^2] of one target (n,), by which its variances are multiplied.

    With C s^2 the likelihood is highest that a common factor can give (Laves et al. 2020; Levi et al. 2022).
    """
    return mean_cell(_squared_deviations(target, mean, variance))


def observed_coverage(target: Values, mean: Values, variance: Values) -> Values:
    """Returns which share of the truth lies in the central interval of the Gaussian, for each of `LEVELS`.

    Args:
        target: (n,) truth.
        mean: (n,) of the Gaussians.
        variance: (n,) of the Gaussians, above 0.
    """
    deviations = np.abs(target - mean) / np.sqrt(variance)
    # The interval of level 1 is the whole line.
    widths = [NormalDist().inv_cdf((1 + level) / 2) if level < 1 else math.inf for level in LEVELS.tolist()]
    return np.array([(deviations <= width).mean() for width in widths])


def calibration_error(target: Values, mean: Values, variance: Values) -> Cell:
    """Returns the mean of |expected - observed coverage| over the levels 0, 0.1, ... 1 of the Gaussian.

    0 is best; as the level 1 always holds everything, 10 of the 11 levels can differ.
    """
    if without := int((variance <= 0).sum()):
        return _undefined(f"the variance is 0 for {without:,} of {len(variance):,}")
    return {"value": float(np.abs(LEVELS - observed_coverage(target, mean, variance)).mean())}


def risk_coverage(risk: Values, uncertainty: Values) -> tuple[Values, Values]:
    """Returns which share is kept, and the mean risk of what is kept, when the most certain samples are kept first.

    Of samples that are equally uncertain none comes first: the risk is what any order gives on average.

    Args:
        risk: (n,) what an answer costs, such as 1 for a wrong class.
        uncertainty: (n,) of each answer; higher is less certain.

    Returns:
        Coverage 1 / n, 2 / n, ... 1, and the risk at each (n,).
    """
    order = np.argsort(uncertainty, kind="stable")
    _, group, sizes = np.unique(uncertainty[order], return_inverse=True, return_counts=True)
    shared = (np.bincount(group, weights=risk[order]) / sizes)[group]
    kept = np.arange(1, len(risk) + 1)
    return kept / len(risk), np.cumsum(shared) / kept


def risk_coverage_area(risk: Values, uncertainty: Values) -> Cell:
    """Returns the area under the curve of risk over coverage, as its mean (AURC; Geifman & El-Yaniv 2019)."""
    cell: Cell = {"value": float(risk_coverage(risk, uncertainty)[1].mean())}
    if len(risk) > 1 and not np.ptp(uncertainty):
        cell["note"] = SAME_UNCERTAINTY
    return cell


def _undefined(reason: str) -> Cell:
    return {"value": None, "reason": reason}
