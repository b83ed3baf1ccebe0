"""What is watched while a segmentation trains, from sums over the pixels of all images of validation.

With p the probability of a pixel and t its truth (0 or 1), tp = sum[p t], fp = sum[p (1 - t)], fn = sum[(1 - p) t] over
all pixels of all images, e = 1e-6:

- dice: 1 - (2 tp + e) / (sum[p] + sum[t] + e) (Milletari et al. 2016, without squares).
- bce: mean[-t log p - (1 - t) log(1 - p)], p clipped to 1e-7..1 - 1e-7.
- dice_bce: weight dice + (1 - weight) bce.
- focal: mean[alpha_t (1 - p_t)^gamma bce], p_t = p and alpha_t = alpha where t = 1, else 1 - p and 1 - alpha
  (Lin et al. 2017).
- tversky: 1 - (tp + e) / (tp + alpha fp + beta fn + e) (Salehi et al. 2017).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvlab.metrics.segmentation_counts import predicted_masks
from cvlab.metrics.segmentation_table import PixelCounts

EPSILON = 1e-6
CLIP = 1e-7
THRESHOLD = 0.5
MONITORED = ("loss", "dice", "iou", "accuracy")

Values = NDArray[np.float64]
Settings = Mapping[str, Any]


class MaskMonitor:
    """Sums over one batch after the other; memory does not grow."""

    def __init__(self, loss: Settings, *, threshold: float = THRESHOLD) -> None:
        """Takes the settings of the loss, as the module names them, and the threshold of a predicted pixel."""
        self.loss = loss
        self.threshold = threshold
        # A loss of pixels is summed pixel by pixel; the others come from the soft counts.
        self._of_pixels = _PIXEL_LOSSES.get(loss["name"])
        self._loss_sum = 0.0
        self._soft = np.zeros(3)
        self._hard = np.zeros(4, dtype=np.int64)

    def add(self, probabilities: NDArray[Any], truth: NDArray[Any]) -> None:
        """Adds a batch; both of one shape, probabilities in 0..1 and truth 0 or 1."""
        if np.shape(probabilities) != np.shape(truth):
            raise ValueError(f"Expected one shape, received {np.shape(probabilities)} and {np.shape(truth)}.")
        p, t = (np.asarray(values, dtype=np.float64).ravel() for values in (probabilities, truth))
        if not np.isfinite(p).all():
            self._soft[:] = np.nan
            p = np.zeros_like(p)
        self._soft += np.array([p @ t, p.sum(), t.sum()])
        called, true = predicted_masks(p, self.threshold), t == 1
        tp, calls, trues = (int(np.count_nonzero(mask)) for mask in (called & true, called, true))
        self._hard += np.array([tp, calls - tp, trues - tp, len(t) - trues - calls + tp])
        if self._of_pixels is not None:
            self._loss_sum += float(self._of_pixels(p, t, self.loss).sum())

    def values(self) -> dict[str, float]:
        """Returns `loss`, `dice`, `iou` and `accuracy` over all pixels so far.

        All are NaN if a probability was no finite number. Dice and IoU are those of `segmentation_metrics` (pooled),
        and 1 where nothing is true and nothing is predicted.
        """
        pixels = int(self._hard.sum())
        if not pixels:
            raise ValueError("Expected at least one pixel.")
        if not np.isfinite(self._soft).all():
            return dict.fromkeys(MONITORED, math.nan)
        counts = PixelCounts(*self._hard[:, None])
        scores = (counts.dice(), counts.iou(), (counts.tp + counts.tn) / pixels)
        return dict(zip(MONITORED, (self._loss(pixels), *(float(score[0]) for score in scores)), strict=True))

    def _loss(self, pixels: int) -> float:
        tp, predicted, true = (float(value) for value in self._soft)
        name, mean = self.loss["name"], self._loss_sum / pixels
        fp, fn = predicted - tp, true - tp
        if name == "tversky":
            wrong = self.loss["alpha"] * fp + self.loss["beta"] * fn
            return float(wrong / (tp + wrong + EPSILON))
        # As a share of what is wrong, since 1 - share loses digits near 0.
        dice = (fp + fn) / (2 * tp + fp + fn + EPSILON)
        if name == "dice_bce":
            return float(self.loss["weight"] * dice + (1 - self.loss["weight"]) * mean)
        return dice if name == "dice" else mean


def monitored(
    batches: Iterable[tuple[NDArray[Any], NDArray[Any]]], *, loss: Settings, threshold: float = THRESHOLD
) -> dict[str, float]:
    """Returns what is watched while training, as `MaskMonitor.values` has it.

    Args:
        batches: Probabilities and truth of each batch, of one shape.
        loss: The settings of the loss: `{"name": "dice"}`, `bce`, `{"name": "dice_bce", "weight": 0.5}`,
            `{"name": "focal", "alpha": 0.25, "gamma": 2.0}` or `{"name": "tversky", "alpha": 0.3, "beta": 0.7}`.
        threshold: The probability from which on a pixel is predicted.
    """
    monitor = MaskMonitor(loss, threshold=threshold)
    for probabilities, truth in batches:
        monitor.add(probabilities, truth)
    return monitor.values()


def _cross_entropy(p: Values, t: Values, _: Settings) -> Values:
    clipped = np.clip(p, CLIP, 1 - CLIP)
    # The truth is 0 or 1, so that one of both logarithms counts.
    return np.asarray(-np.log(np.where(t == 1, clipped, 1 - clipped)))


def _focal(p: Values, t: Values, loss: Settings) -> Values:
    clipped = np.clip(p, CLIP, 1 - CLIP)
    of_truth = np.where(t == 1, clipped, 1 - clipped)
    alpha = np.where(t == 1, loss["alpha"], 1 - loss["alpha"])
    return np.asarray(-alpha * (1 - of_truth) ** loss["gamma"] * np.log(of_truth))


_PIXEL_LOSSES: dict[str, Callable[[Values, Values, Settings], Values]] = {
    "bce": _cross_entropy,
    "dice_bce": _cross_entropy,
    "focal": _focal,
}
