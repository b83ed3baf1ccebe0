"""Areas under ROC curves of the same samples: variance, interval, and the test of two (DeLong et al. 1988).

An AUC is the share of pairs of a positive and a negative sample in which the positive one has the higher score, ties
counting half. Its variance comes from the share of each sample's pairs alone, by mid-ranks (Sun & Xu 2014, IEEE Signal
Processing Letters 21:1389): n log n instead of n^2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, ndtr, ndtri
from scipy.stats import rankdata

Values = NDArray[np.float64]


class PairedDifference(NamedTuple):
    """The difference of two statistics of the same samples.

    Attributes:
        difference: The first less the second.
        low: Lower end of its interval.
        high: Upper end.
        p: Two-sided probability of a difference as far from 0, were there none; None where there is a difference
            without any variance, so that no test can be made.
    """

    difference: float
    low: float
    high: float
    p: float | None


def delong(is_positive: ArrayLike, scores: ArrayLike) -> tuple[Values, Values]:
    """Returns the AUC of each of m scores, (m,), and their covariance, (m, m).

    Args:
        is_positive: (n,) the truth; two or more positive and two or more negative samples, all independent.
        scores: (m, n) the scores of m models; higher means positive.

    Raises:
        ValueError: A shape does not fit, a score is no number, or one side has fewer than two samples.
    """
    positive, columns = np.asarray(is_positive, dtype=bool), np.asarray(scores, dtype=np.float64)
    if columns.ndim != 2 or columns.shape[1:] != positive.shape:
        raise ValueError(f"Expected scores (m, {len(positive)}), received {columns.shape}.")
    if not np.isfinite(columns).all():
        raise ValueError("Expected finite scores.")
    m, n = int(positive.sum()), int((~positive).sum())
    if min(m, n) < 2:
        raise ValueError(f"Expected two or more samples of either kind, received {m} positive and {n} negative.")
    ranks = rankdata(columns, axis=1)
    # Of each positive sample: which share of the negatives it beats. Of each negative: by which share it is beaten.
    wins = (ranks[:, positive] - rankdata(columns[:, positive], axis=1)) / n
    losses = 1 - (ranks[:, ~positive] - rankdata(columns[:, ~positive], axis=1)) / m
    covariance = np.atleast_2d(np.cov(wins)) / m + np.atleast_2d(np.cov(losses)) / n
    return wins.mean(axis=1), covariance


def auc_interval(auc: float, variance: float, confidence: float = 0.95) -> tuple[float, float] | None:
    """Returns the interval of an AUC on the logit scale, which keeps it in 0..1 and covers better near 1.

    logit(AUC) +- z sqrt(variance) / (AUC (1 - AUC)), back by the logistic function (Pepe 2003, section 5.2).

    Args:
        auc: In 0..1.
        variance: Of the AUC, as `delong` gives it.
        confidence: Such as 0.95.

    Returns:
        The interval, or None where the variance is 0 or the AUC is 0 or 1: the samples are then parted wholly, which
        does not tell how far.
    """
    if not 0 < auc < 1 or variance <= 0:
        return None
    reach = float(ndtri((1 + confidence) / 2)) * np.sqrt(variance) / (auc * (1 - auc))
    low, high = expit(logit(auc) + np.array([-reach, reach]))
    return float(low), float(high)


def paired_test(
    is_positive: ArrayLike, first: ArrayLike, second: ArrayLike, confidence: float = 0.95
) -> PairedDifference:
    """Returns the difference of two AUCs of the same samples, with its interval and the p of the two-sided z test.

    Where the difference has no variance (as when both rank all pairs alike) the interval is the difference itself, and
    p is 1 if that is 0, else None.

    Args:
        is_positive: (n,) the truth.
        first: (n,) scores of the first model.
        second: (n,) scores of the second.
        confidence: Such as 0.95.

    Raises:
        ValueError: As `delong`.
    """
    aucs, covariance = delong(is_positive, np.stack([np.asarray(first), np.asarray(second)]))
    difference = float(aucs[0] - aucs[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    # Equal rankings leave rounding errors where there is no variance.
    error = np.sqrt(variance) if variance > 1e-15 else 0.0
    if not error:
        return PairedDifference(difference, difference, difference, 1.0 if abs(difference) < 1e-12 else None)
    reach = float(ndtri((1 + confidence) / 2)) * error
    p = float(2 * ndtr(-abs(difference) / error))
    return PairedDifference(difference, float(difference - reach), float(difference + reach), p)
