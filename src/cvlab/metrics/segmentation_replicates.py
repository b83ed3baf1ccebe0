"""Segmentation metrics of each resample; see `segmentation` for them and `replicates` for what a replicate is."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from cvlab.metrics.replicates import Draws, Flags, Path, Replicates, Resampling, Sorted, divide
from cvlab.metrics.segmentation_table import PixelCounts, SegmentationPredictions
from cvlab.statistics.bootstrap import Values


class SegmentationReplicates:
    """Computes every metric of the same n images for any weights; what sorting is needed is done once."""

    def __init__(self, p: SegmentationPredictions) -> None:
        """Takes the predictions."""
        self._counts, self._distances = p.counts, p.hd95
        self._measured = ~np.isnan(p.hd95)
        self._by_distance = Sorted.of(p.hd95, self._measured)
        names, volumes = p.counts.by_group(p.group)
        place = {name: index for index, name in enumerate(names)}
        self._member = np.array([place[name] for name in p.group])
        self._first = np.unique(self._member, return_index=True)[1]
        self._volumes = {"dice": volumes.dice(), "iou": volumes.iou()}
        self._by_volume = {name: Sorted.of(values) for name, values in self._volumes.items()}

    def __call__(self, weights: ArrayLike) -> Replicates:
        """Returns every metric but counts and standard errors, (B,) each, from weights (B, n).

        Raises:
            ValueError: The images of a group have different weights.
        """
        draws = Draws.of(weights)
        distances = np.where(self._measured, self._distances, 0.0)
        return {
            **_of_images(self._counts, draws),
            **self._of_groups(draws),
            "hd95_mean": draws.means_of(distances, self._measured),
            "hd95_median": self._by_distance.medians(draws),
        }

    def _of_groups(self, draws: Draws) -> Replicates:
        of_groups = Draws.of(draws.rows[:, self._first])
        if not np.array_equal(of_groups.rows[:, self._member], draws.rows):
            raise ValueError("Expected equal weights for all images of a group: a volume is drawn whole.")
        found: Replicates = {}
        for name, values in self._volumes.items():
            found[f"{name}_group_mean"] = of_groups.means(values)
            found[f"{name}_group_median"] = self._by_volume[name].medians(of_groups)
        return found


def replicates(p: SegmentationPredictions, weights: ArrayLike) -> Replicates:
    """Returns what every metric is on each resample, in the form of `segmentation_metrics`.

    Counts, standard errors, and what stands by group, over thresholds and for predicting nothing are left out. A group
    that is drawn twice is two volumes.

    Args:
        p: n predictions.
        weights: (B, n) how often each image stands in each resample; equal within a group.

    Returns:
        Arrays (B,) by name; NaN where a metric is undefined.

    Raises:
        ValueError: The images of a group have different weights.
    """
    return SegmentationReplicates(p)(weights)


def resampling(p: SegmentationPredictions) -> Resampling:
    """Returns what the intervals of a table's metrics are computed from."""
    positive, called = p.counts.true > 0, p.counts.predicted > 0
    shares: dict[Path, tuple[Flags, Flags]] = {
        ("image_sensitivity",): (called, positive),
        ("image_specificity",): (~called, ~positive),
    }
    return Resampling(p.group, positive.astype(np.int64), (), SegmentationReplicates(p), shares, {}, unit="image")


def _of_images(c: PixelCounts, draws: Draws) -> Replicates:
    positive, called = c.true > 0, c.predicted > 0
    tp, fp, fn, tn = draws.sums(np.column_stack([*vars(c).values()])).T
    found: Replicates = {
        "dice_pooled": _share(2 * tp, 2 * tp + fp + fn),
        "iou_pooled": _share(tp, tp + fp + fn),
        "pixel_accuracy": divide(tp + tn, tp + fp + fn + tn),
        "precision": divide(tp, tp + fp),
        "recall": divide(tp, tp + fn),
        "image_sensitivity": draws.means_of(called, positive),
        "image_specificity": draws.means_of(~called, ~positive),
    }
    for name, values in {"dice": c.dice(), "iou": c.iou()}.items():
        found[f"{name}_all"] = draws.means(values)
        found[f"{name}_nonempty"] = draws.means_of(values, positive)
    return found


def _share(part: Values, whole: Values) -> Values:
    # Nothing true and nothing predicted counts as 1, as for two empty masks.
    return np.where(whole > 0, divide(part, whole), 1.0)
