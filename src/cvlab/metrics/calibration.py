"""Calibration: whether a score of 0.8 is right in 80 of 100 cases. Binned errors, the Brier score and its parts.

What is judged: of two classes the score of the second (that of the first says the same), of more the highest score and
whether it is right. The Brier score is about the second of two classes (0 to 1), or summed over all of more (0 to 2).

Bins hold their upper edge and not their lower one, the first holds 0 too. Equally wide ones cut 0..1 into 15; of equal
mass are up to 15 whose edges are scores of the sample, equal scores always in one bin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Cell = dict[str, Any]
Values = NDArray[np.float64]
Indices = NDArray[np.int64]
Edges = Values | tuple[float, ...]

BINS = 15
EQUAL_WIDTH: tuple[float, ...] = tuple((np.arange(1, BINS) / BINS).tolist())
DECOMPOSITION = ("brier_reliability", "brier_resolution", "brier_uncertainty")
CALIBRATION = ("brier", "ece", "ece_equal_mass", *DECOMPOSITION)
NO_INTERVAL = "the parts of a Brier score are off to one side in small samples, and in resamples more so"
MOST_DRAWS, FEWEST_DRAWS, MOST_DRAWN = 1000, 100, 20_000_000


@dataclass(frozen=True)
class ReliabilityBins:
    """The samples of each bin that is not empty, from the lowest score on.

    Attributes:
        low: (b,) lower edges.
        high: (b,) upper edges.
        samples: (b,) how many samples there are.
        score: (b,) their mean score.
        share: (b,) in which share of them what is judged is true.
    """

    low: Values
    high: Values
    samples: Indices
    score: Values
    share: Values


def judged(target: Indices, scores: Values) -> tuple[Values, Values]:
    """Returns the score that is judged (n,) and whether it is true, 1 or 0 (n,); see the module.

    Args:
        target: (n,) indices of the true classes.
        scores: (n, k) that sum to 1.
    """
    if scores.shape[1] == 2:
        return scores[:, 1], (target == 1).astype(np.float64)
    return scores.max(axis=1), (scores.argmax(axis=1) == target).astype(np.float64)


def equal_mass_edges(score: Values) -> Values:
    """Returns the edges between up to 15 bins of about as many samples each; ties are never torn apart."""
    # Never halfway between whole numbers, so that either class of two gives the same bins.
    ends = np.round(np.arange(1, BINS) * len(score) / BINS).astype(np.int64)
    edges = np.unique(np.sort(score)[ends[ends > 0] - 1])
    return np.asarray(edges[edges < score.max()])


def reliability_bins(score: Values, true: Values, edges: Edges = EQUAL_WIDTH) -> ReliabilityBins:
    """Puts samples into bins.

    Args:
        score: (n,) in 0..1.
        true: (n,) 0 or 1.
        edges: (b - 1,) ascending, between the bins.
    """
    place = _place(score, edges)
    bounds = np.array([0.0, *edges, 1.0])
    counts = np.bincount(place, minlength=len(edges) + 1)
    kept = np.flatnonzero(counts)
    sums = [np.bincount(place, weights=values, minlength=len(counts))[kept] for values in (score, true)]
    return ReliabilityBins(
        low=bounds[kept],
        high=bounds[kept + 1],
        samples=counts[kept].astype(np.int64),
        score=sums[0] / counts[kept],
        share=sums[1] / counts[kept],
    )


def expected_calibration_error(target: Indices, scores: Values) -> Cell:
    """Returns sum[n_b / n |share_b - score_b|] over 15 equally wide bins b of the score that is judged (Guo 2017).

    Args:
        target: (n,) indices of the true classes.
        scores: (n, k) that sum to 1.
    """
    score, true = judged(target, scores)
    gaps = _binned_error(score, true, EQUAL_WIDTH, np.ones((1, len(score))))
    return {"value": float(gaps[0] / len(score))}


def calibration_cells(target: Indices, scores: Values) -> dict[str, Cell]:
    """Computes brier, ece, ece_equal_mass (`error_replicates`) and the parts of the Brier score (`decomposition`).

    Args:
        target: (n,) indices of the true classes; n >= 1.
        scores: (n, k) that sum to 1.
    """
    errors = error_replicates(target, scores, np.ones((1, len(target))))
    parts = decomposition(target, scores)
    return {
        **{name: {"value": float(values[0])} for name, values in errors.items()},
        **{name: {"value": value, "no_interval": NO_INTERVAL} for name, value in parts.items()},
    }


def decomposition(target: Indices, scores: Values) -> dict[str, float]:
    """Returns brier_reliability, brier_resolution and brier_uncertainty.

    The Brier score is reliability - resolution + uncertainty, exactly, since the resolution is the generalised one of
    Stephenson, Coelho & Jolliffe 2008, which takes in the variance and covariance within the 15 equally wide bins. Of
    several classes each part is summed over them.

    Args:
        target: (n,) indices of the true classes.
        scores: (n, k) that sum to 1.
    """
    parts = np.sum([_parts(scores[:, k], (target == k).astype(np.float64)) for k in _columns(scores)], axis=0)
    return dict(zip(DECOMPOSITION, parts.tolist(), strict=True))


def error_replicates(target: Indices, scores: Values, weights: NDArray[Any]) -> dict[str, Values]:
    """Computes brier, ece and ece_equal_mass of B weighted samples at once, (B,) each.

    - brier: mean[sum_k (score_k - [truth is k])^2] (Brier 1950), over the second of two classes alone.
    - ece, ece_equal_mass: sum[n_b / n |share_b - score_b|] over bins of equal width (Guo et al. 2017) and of equal mass
      (Nixon et al. 2019).

    Args:
        target: (n,) indices of the true classes.
        scores: (n, k) that sum to 1.
        weights: (B, n) how often each sample counts; where none does, all is NaN. The edges of equal mass are those of
            the n samples, whatever the weights.
    """
    weights = np.asarray(weights, dtype=np.float64)
    total = weights.sum(axis=1)
    total[total == 0] = np.nan
    score, true = judged(target, scores)
    squares = sum(((scores[:, k] - (target == k)) ** 2 for k in _columns(scores)), start=np.zeros(len(target)))
    return {
        "brier": weights @ squares / total,
        "ece": _binned_error(score, true, EQUAL_WIDTH, weights) / total,
        "ece_equal_mass": _binned_error(score, true, equal_mass_edges(score), weights) / total,
    }


def _columns(scores: Values) -> Sequence[int]:
    """The classes that a Brier score is about."""
    return [1] if scores.shape[1] == 2 else range(scores.shape[1])


def _place(score: Values, edges: Edges) -> Indices:
    return np.searchsorted(edges, score, side="left").astype(np.int64)


def _spread(values: Values, place: Indices, bins: int) -> Values:
    """Puts each value into the column of its bin, (n, bins)."""
    table = np.zeros((len(values), bins))
    table[np.arange(len(values)), place] = values
    return table


def _binned_error(score: Values, true: Values, edges: Edges, weights: Values) -> Values:
    gaps = weights @ _spread(true - score, _place(score, edges), len(edges) + 1)
    return np.asarray(np.abs(gaps).sum(axis=1))


def _parts(score: Values, true: Values) -> Values:
    """Returns reliability, generalised resolution and uncertainty of one class."""
    place, samples = _place(score, EQUAL_WIDTH), len(score)
    counts = np.bincount(place, minlength=BINS)
    filled = np.maximum(counts, 1)
    scores, trues = (np.bincount(place, weights=values, minlength=BINS) / filled for values in (score, true))
    base = true.mean()
    reliability = counts @ (scores - trues) ** 2
    resolution = counts @ (trues - base) ** 2
    within, over = score - scores[place], true - trues[place]
    return (
        np.array([reliability, resolution - within @ within + 2 * within @ over, samples * base * (1 - base)]) / samples
    )


def error_by_chance(
    score: Values, edges: Edges = EQUAL_WIDTH, *, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Returns mean and a percentile of the ECE that perfectly calibrated scores would show, by simulation.

    A finite sample never has an ECE of 0: the truth is drawn anew, true with the probability that the score says, as
    often as up to 1,000 times (Broecker & Smith 2007); samples count as independent.

    Args:
        score: (n,) the scores that are judged.
        edges: Between the bins.
        level: Of the percentile, such as 0.95.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    place = _place(score, edges)
    draws = int(np.clip(MOST_DRAWN / len(score), FEWEST_DRAWS, MOST_DRAWS))
    errors = np.empty(draws)
    for number in range(draws):
        gaps = np.bincount(place, weights=(rng.random(len(score)) < score) - score)
        errors[number] = np.abs(gaps).sum() / len(score)
    return float(errors.mean()), float(np.quantile(errors, level))


def errors_by_chance(scores: Values) -> dict[str, Callable[[float], float]]:
    """Returns by name of each binned error what chance gives at most, with a confidence such as 0.95.

    Args:
        scores: (n, k) that sum to 1.
    """
    score = scores[:, 1] if scores.shape[1] == 2 else scores.max(axis=1)
    edges: dict[str, Edges] = {"ece": EQUAL_WIDTH, "ece_equal_mass": equal_mass_edges(score)}
    return {name: partial(_most_by_chance, score, of) for name, of in edges.items()}


def _most_by_chance(score: Values, edges: Edges, level: float) -> float:
    return error_by_chance(score, edges, level=level)[1]
