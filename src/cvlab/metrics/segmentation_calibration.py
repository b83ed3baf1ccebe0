"""Calibration of masks: whether of the pixels with a probability of 0.8 four in five belong to the structure.

The expected calibration error over all pixels is sum[|sum[t - p]|] / pixels: the outer sum over 15 equally wide bins of
p, the inner one over the pixels of a bin (Guo et al. 2017, of two classes), with t the truth (0 or 1) and p the
probability. A table keeps these 15 sums of each image. A bin holds its upper edge and not its lower one; the first
holds 0 too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 15

Values = NDArray[np.float64]


def mask_gaps(truth: NDArray[np.bool_], probabilities: Values) -> Values:
    """Returns sum[t - p] over the pixels of each bin, for each mask: (n, 15).

    Args:
        truth: (n, height, width) whether a pixel belongs to the structure.
        probabilities: (n, height, width) the probability that it does.
    """
    place = np.searchsorted(np.arange(1, BINS) / BINS, probabilities, side="left")
    cells = BINS * np.arange(len(truth))[:, None, None] + place
    sums = np.bincount(cells.ravel(), weights=(truth - probabilities).ravel(), minlength=BINS * len(truth))
    return np.asarray(sums, dtype=np.float64).reshape(len(truth), BINS)


def pixel_calibration_error(gaps: Values, pixels: int) -> float:
    """Returns the expected calibration error over all pixels of n masks.

    Args:
        gaps: (n, 15) from `mask_gaps`.
        pixels: How many pixels all masks have together.
    """
    return float(np.abs(gaps.sum(axis=0)).sum() / pixels)
