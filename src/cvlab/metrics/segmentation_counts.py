"""From probabilities and true masks to counts of pixels, a batch at a time: nothing else of an image is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt

from cvlab.errors import RunFolderError
from cvlab.metrics.segmentation_table import (
    THRESHOLDS,
    Counts,
    Flags,
    PixelCounts,
    SegmentationPredictions,
    Values,
)

PERCENTILE = 95


def predicted_masks(probabilities: NDArray[Any], threshold: float) -> Flags:
    """Returns where the probability is at least `threshold`, whatever the type and shape of `probabilities`."""
    # In float64: beside float32 NumPy would round the threshold, and 0.7 would be reached by less.
    return np.asarray(probabilities, dtype=np.float64) >= threshold


def boundary(mask: Flags) -> Flags:
    """Returns the boundary of a mask (h, w): its pixels with one of four neighbours outside of it.

    What lies beyond the border of the image is outside.
    """
    inner: Flags = binary_erosion(mask, border_value=0)
    return mask & ~inner


def hd95(truth: Flags, predicted: Flags) -> float | None:
    """Returns the 95th percentile of the symmetric surface distances of two masks, in pixels.

    The distances are those from the centre of each pixel of the `boundary` of one mask to the nearest boundary pixel
    of the other (Euclidean), of both directions together; the percentile is interpolated linearly. It is the quantile
    of Huttenlocher et al. 1993 (IEEE PAMI 15:850) in the symmetric form that MedPy's `hd95` has; others take the
    larger of the percentiles of both directions.

    Args:
        truth: (h, w) mask.
        predicted: (h, w) mask.

    Returns:
        The distance, or None where it is undefined: one of the masks is empty, or both are.
    """
    if not (truth.any() and predicted.any()):
        return None
    # Beyond the box that holds both masks there is no boundary, and a smaller image is faster.
    box = tuple(slice(places.min(), places.max() + 1) for places in np.nonzero(truth | predicted))
    edges = boundary(truth[box]), boundary(predicted[box])
    distances = [distance_transform_edt(~other)[one] for one, other in (edges, edges[::-1])]
    return float(np.percentile(np.concatenate(distances), PERCENTILE))


def count_grid(probabilities: Values, truth: Flags) -> tuple[Counts, Counts]:
    """Returns true and false positives at each of `THRESHOLDS`, (b, 19) each, from one pass over the pixels.

    Args:
        probabilities: (b, h, w) float64 in 0..1.
        truth: (b, h, w) masks.
    """
    images, levels = len(probabilities), len(THRESHOLDS) + 1
    # How many thresholds a pixel reaches; those from a level on add up to what is predicted at its threshold.
    level = np.searchsorted(THRESHOLDS, probabilities, side="right")
    image = np.arange(images)[:, None, None]
    cells = np.bincount(((2 * image + truth) * levels + level).ravel(), minlength=2 * images * levels)
    reached = cells.reshape(images, 2, levels)[:, :, ::-1].cumsum(axis=2)[:, :, ::-1][:, :, 1:]
    return reached[:, 1], reached[:, 0]


class MaskCounter:
    """Counts the pixels of one batch after the other; memory grows by some numbers an image."""

    def __init__(self, threshold: float) -> None:
        """Counts a pixel as predicted where its probability is at least `threshold`."""
        self.threshold = threshold
        self._ids: list[str] = []
        self._groups: list[str] = []
        self._counts: list[Counts] = []
        self._grid: list[tuple[Counts, Counts]] = []
        self._hd95: list[float] = []

    def add(
        self,
        sample_id: Sequence[str] | NDArray[Any],
        group: Sequence[str] | NDArray[Any],
        probabilities: NDArray[Any],
        truth: NDArray[Any],
    ) -> Flags:
        """Counts a batch and returns its predicted masks, (b, h, w).

        Args:
            sample_id: b ids.
            group: b groups.
            probabilities: (b, h, w) or (b, h, w, 1), in 0..1.
            truth: (b, h, w) or (b, h, w, 1), 0 or 1.

        Raises:
            RunFolderError: A probability is no number from 0 to 1.
        """
        exact, true = _planes(probabilities), _planes(truth)
        if not exact.shape == true.shape == (len(sample_id), *exact.shape[1:]) or len(group) != len(sample_id):
            raise ValueError(
                f"Expected probabilities and truth of {len(sample_id)} images with a group each, received "
                f"{exact.shape}, {true.shape} and {len(group)} groups."
            )
        _check(sample_id, exact, true)
        mask, predicted = true == 1, predicted_masks(exact, self.threshold)
        self._ids += [str(one) for one in sample_id]
        self._groups += [str(one) for one in group]
        self._counts.append(_four_counts(mask, predicted))
        self._grid.append(count_grid(exact, mask))
        distances = (hd95(*pair) for pair in zip(mask, predicted, strict=True))
        self._hd95 += [np.nan if distance is None else distance for distance in distances]
        return predicted

    def predictions(self) -> SegmentationPredictions:
        """Returns the table of all images so far; there must be one."""
        tp, fp = (np.concatenate(parts) for parts in zip(*self._grid, strict=True))
        return SegmentationPredictions(
            sample_id=np.array(self._ids, dtype=object),
            group=np.array(self._groups, dtype=object),
            counts=PixelCounts(*np.concatenate(self._counts).T),
            hd95=np.array(self._hd95),
            grid_tp=tp,
            grid_fp=fp,
        )


def _planes(values: NDArray[Any]) -> Values:
    exact = np.asarray(values, dtype=np.float64)
    return exact[..., 0] if exact.ndim == 4 and exact.shape[3] == 1 else exact


def _check(sample_id: Sequence[str] | NDArray[Any], probabilities: Values, truth: Values) -> None:
    if not ((truth == 0) | (truth == 1)).all():
        raise ValueError("Expected true masks of 0 and 1 alone.")
    # Written so that NaN fails too.
    sound = ((probabilities >= 0) & (probabilities <= 1)).all(axis=(1, 2))
    if not sound.all():
        first = int(np.argmin(sound))
        plane = probabilities[first]
        value = float(plane[~((plane >= 0) & (plane <= 1))][0])
        raise RunFolderError(
            f"The model's output for sample '{sample_id[first]}': expected probabilities from 0 to 1, "
            f"received {value!r}."
        )


def _four_counts(truth: Flags, predicted: Flags) -> Counts:
    """Returns tp, fp, fn and tn of each image, (b, 4)."""
    tp, true, calls = (mask.sum(axis=(1, 2), dtype=np.int64) for mask in (truth & predicted, truth, predicted))
    pixels = truth.shape[1] * truth.shape[2]
    return np.stack([tp, calls - tp, true - tp, pixels - true - calls + tp], axis=1)
