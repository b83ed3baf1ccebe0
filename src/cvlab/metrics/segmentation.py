"""Segmentation metrics, all computed from the table of predictions.

A metric is a cell: `{"value": v}`, with a `"note"` where it says little, or `{"value": None, "reason": "..."}`
where it is undefined. Dice and IoU of two masks are 1 where both are empty and 0 where one of them is; which images are
averaged, and what is pooled, is part of every metric's name.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvlab.errors import counted
from cvlab.metrics.segmentation_counts import MaskCounter, hd95, predicted_masks
from cvlab.metrics.segmentation_monitor import MaskMonitor, monitored
from cvlab.metrics.segmentation_table import (
    THRESHOLD_NAMES,
    PixelCounts,
    SegmentationPredictions,
    predictions_csv,
    read_predictions,
)
from cvlab.metrics.segmentation_threshold import MaskThreshold, choose, choose_threshold

__all__ = [
    "MaskCounter",
    "MaskMonitor",
    "MaskThreshold",
    "PixelCounts",
    "SegmentationPredictions",
    "choose",
    "choose_threshold",
    "counts_metrics",
    "hd95",
    "monitored",
    "predicted_masks",
    "predictions_csv",
    "read_predictions",
    "segmentation_metrics",
    "spread_rows",
    "worst_rows",
]

Cell = dict[str, Any]
Values = NDArray[np.float64]

NONE_TRUE = "no image shows the structure"
ALL_TRUE = "every image shows the structure"
NONE_PREDICTED = "no pixel is predicted"
NO_DISTANCE = "no image has both a true and a predicted mask"


def segmentation_metrics(p: SegmentationPredictions) -> dict[str, Any]:
    """Computes every metric of a segmentation; each is a cell as the module describes it.

    With tp, fp, fn, tn the pixels of an image, Dice = 2 tp / (2 tp + fp + fn) and IoU = tp / (tp + fp + fn):

    - dice_all, iou_all: mean over all images. dice_nonempty, iou_nonempty: mean over the images whose true mask is not
      empty. dice_pooled, iou_pooled: from the sums of the pixels of all images.
    - dice_group_mean, dice_group_median, iou_group_mean, iou_group_median: of the volumes, in which the pixels of all
      images of a group (a patient) are summed; dice_group_standard_error: sd / sqrt(groups) of that mean.
    - pixel_accuracy (tp + tn) / pixels, precision tp / (tp + fp), recall tp / (tp + fn), pooled.
    - image_sensitivity, image_specificity: an image is positive where its true mask is not empty, and is called
      positive where any pixel is predicted.
    - hd95_mean, hd95_median over the images where the distance is defined, in pixels; hd95_defined,
      hd95_one_empty and hd95_both_empty: images where it is, and where it is not since one mask is empty or both are.
    - images, nonempty_images, groups, true_pixels, predicted_pixels.

    Returns:
        These; then `by_group` (numbers by name), `over_thresholds` (cells by threshold), `predict_nothing`
        (all that stands above, of a model that predicts no pixel) and `samples` (the number of images).
    """
    if not len(p.counts):
        raise ValueError("Expected at least one image.")
    nothing = PixelCounts(0 * p.counts.tp, 0 * p.counts.fp, p.counts.true, p.counts.fp + p.counts.tn)
    return {
        **_figures(p.counts, p.group, p.hd95),
        "by_group": _by_group(p),
        "over_thresholds": {name: counts_metrics(p.at(index)) for index, name in enumerate(THRESHOLD_NAMES)},
        "predict_nothing": _figures(nothing, p.group, np.full(len(nothing), np.nan)),
        "samples": len(p.counts),
    }


def worst_rows(p: SegmentationPredictions, count: int) -> NDArray[np.int64]:
    """Returns the rows of the images with the lowest Dice, the worst first; of equals the most wrong pixels first."""
    return np.lexsort((-(p.counts.fp + p.counts.fn), p.counts.dice()))[:count]


def spread_rows(p: SegmentationPredictions, count: int) -> NDArray[np.int64]:
    """Returns rows from the best to the worst Dice at even steps, out of the images whose true mask is not empty.

    Nobody chose these by hand; where no mask shows anything they are out of all images.
    """
    dice = p.counts.dice()
    shown = np.flatnonzero(p.counts.true) if p.counts.true.any() else np.arange(len(dice))
    order = shown[np.argsort(-dice[shown], kind="stable")]
    places = np.linspace(0, len(order) - 1, min(count, len(order)))
    return order[np.round(places).astype(np.int64)]


def _value(value: float, note: str = "") -> Cell:
    return {"value": float(value), "note": note} if note else {"value": float(value)}


def _undefined(reason: str) -> Cell:
    return {"value": None, "reason": reason}


def _count(value: Any) -> Cell:
    return {"value": int(value)}


def _ratio(part: int, whole: int, reason: str) -> Cell:
    return _value(part / whole) if whole else _undefined(reason)


def _mean(values: Values, reason: str = "", *, note: str = "") -> Cell:
    return _value(values.mean(), note) if len(values) else _undefined(reason)


def _median(values: Values, reason: str = "", *, note: str = "") -> Cell:
    return _value(float(np.median(values)), note) if len(values) else _undefined(reason)


def counts_metrics(c: PixelCounts) -> dict[str, Cell]:
    """Returns the cells that come from the counts of images alone: no group, no distance."""
    positive, called = c.true > 0, c.predicted > 0
    pooled = c.pooled()
    tp, true, calls = int(pooled.tp[0]), int(pooled.true[0]), int(pooled.predicted[0])
    empty = "" if true or calls else "nothing is true and nothing is predicted, which counts as 1"
    scores = {"dice": (c.dice(), pooled.dice()), "iou": (c.iou(), pooled.iou())}
    cells: dict[str, Cell] = {}
    for name, (values, of_all_pixels) in scores.items():
        cells[f"{name}_all"] = _mean(values)
        cells[f"{name}_nonempty"] = _mean(values[positive], NONE_TRUE)
        cells[f"{name}_pooled"] = _value(of_all_pixels[0], empty)
    return {
        **cells,
        "pixel_accuracy": _value(int((pooled.tp + pooled.tn)[0]) / int(pooled.pixels[0])),
        "precision": _ratio(tp, calls, NONE_PREDICTED),
        "recall": _ratio(tp, true, NONE_TRUE),
        "image_sensitivity": _ratio(int((positive & called).sum()), int(positive.sum()), NONE_TRUE),
        "image_specificity": _ratio(int((~positive & ~called).sum()), int((~positive).sum()), ALL_TRUE),
        "true_pixels": _count(true),
        "predicted_pixels": _count(calls),
    }


def _figures(c: PixelCounts, group: NDArray[np.object_], distances: Values) -> dict[str, Cell]:
    defined = distances[~np.isnan(distances)]
    both_empty = int(((c.true == 0) & (c.predicted == 0)).sum())
    return {
        **counts_metrics(c),
        **_of_groups(c.by_group(group)[1]),
        "hd95_mean": _mean(defined, NO_DISTANCE),
        "hd95_median": _median(defined, NO_DISTANCE),
        "hd95_defined": _count(len(defined)),
        "hd95_one_empty": _count(len(c) - len(defined) - both_empty),
        "hd95_both_empty": _count(both_empty),
        "images": _count(len(c)),
        "nonempty_images": _count((c.true > 0).sum()),
    }


def _of_groups(volumes: PixelCounts) -> dict[str, Cell]:
    empty = int((volumes.true == 0).sum())
    note = f"{counted(empty, 'group')} without any true pixel: 1 where nothing is predicted, else 0" if empty else ""
    dice, iou = volumes.dice(), volumes.iou()
    error = _value(dice.std(ddof=1) / np.sqrt(len(dice))) if len(dice) > 1 else _undefined("one group shows no spread")
    return {
        "dice_group_mean": _mean(dice, note=note),
        "dice_group_median": _median(dice, note=note),
        "dice_group_standard_error": error,
        "iou_group_mean": _mean(iou, note=note),
        "iou_group_median": _median(iou, note=note),
        "groups": _count(len(volumes)),
    }


def _by_group(p: SegmentationPredictions) -> dict[str, dict[str, Any]]:
    """Images, images with a true mask, true and predicted pixels, Dice and IoU of each volume, by group."""
    names, volumes = p.counts.by_group(p.group)
    nonempty = dict.fromkeys(names, 0)
    images = dict.fromkeys(names, 0)
    for name, true in zip(p.group, p.counts.true, strict=True):
        images[name] += 1
        nonempty[name] += bool(true)
    columns = zip(names, volumes.true, volumes.predicted, volumes.dice(), volumes.iou(), strict=True)
    return {
        name: {
            "images": images[name],
            "nonempty_images": nonempty[name],
            "true_pixels": int(true),
            "predicted_pixels": int(predicted),
            "dice": float(dice),
            "iou": float(iou),
        }
        for name, true, predicted, dice, iou in columns
    }
