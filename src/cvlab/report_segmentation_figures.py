"""The figures of a segmentation's report."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from cvlab.metrics.segmentation import MaskThreshold, SegmentationPredictions
from cvlab.metrics.segmentation_table import THRESHOLDS
from cvlab.plots_segmentation import (
    WIDE,
    ThresholdCurves,
    dice_by_group,
    dice_histogram,
    dice_over_thresholds,
    groups_height,
)
from cvlab.reading_segmentation import has_volumes
from cvlab.report_parts import Figure
from cvlab.report_text import md

Metrics = dict[str, Any]


class Names(NamedTuple):
    """What the masks show, such as `tumour`, and what a group is called, such as `patient`."""

    structure: str
    group: str

    def fill(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Returns labels with both names in their places, as Markdown."""
        given = self._asdict()
        return {
            key: re.sub(r"\{(structure|group)\}", lambda match: md(given[match[1]]), label)
            for key, label in labels.items()
        }


def figures_of(
    p: SegmentationPredictions,
    metrics: dict[str, Metrics],
    point: MaskThreshold | None,
    *,
    split: str,
    names: Names,
) -> list[Figure]:
    """Returns the histogram of Dice, Dice by group and Dice over thresholds.

    Args:
        p: The predictions that the report is about.
        metrics: `segmentation_metrics` by split.
        point: The threshold in use; without one no curves over thresholds are drawn.
        split: What `p` is called.
        names: How things are called.
    """
    figures = [_histogram(p, split, names.structure)]
    if has_volumes(metrics[split]):
        figures.append(_box_plot(p, metrics[split], split, names.group))
    if point is not None:
        compared = {name: metrics[name] for name in dict.fromkeys((split, point.split)) if name in metrics}
        figures.append(_threshold_curves(compared, point.threshold, names.structure))
    return figures


def _histogram(p: SegmentationPredictions, split: str, structure: str) -> Figure:
    dice, nonempty = p.counts.dice(), p.counts.true > 0
    caption = f"Dice of images with {md(structure)}"
    return Figure(
        "dice_histogram",
        caption,
        WIDE,
        lambda ax: dice_histogram(dice, nonempty, structure=structure, split=split, ax=ax),
        "Histogram: how many images have which Dice.",
    )


def _box_plot(p: SegmentationPredictions, metrics: Metrics, split: str, named: str) -> Figure:
    volumes = {name: values["dice"] for name, values in metrics["by_group"].items()}
    dice, nonempty = p.counts.dice(), p.counts.true > 0
    return Figure(
        "dice_by_group",
        f"Dice by {md(named)}",
        (8.6, groups_height(len(volumes))),
        lambda ax: dice_by_group(dice, p.group, nonempty, volumes, split=split, ax=ax, named=named),
        f"A row for each {named}: the Dice of its images as a box, and that of all of them as one volume.",
    )


def _threshold_curves(metrics: dict[str, Metrics], chosen: float, structure: str) -> Figure:
    curves = {
        split: ThresholdCurves(*(_curve(m, name) for name in ("dice_pooled", "dice_nonempty")))
        for split, m in metrics.items()
    }
    return Figure(
        "dice_over_thresholds",
        "Dice over thresholds",
        WIDE,
        lambda ax: dice_over_thresholds(curves, THRESHOLDS, chosen=chosen, structure=structure, ax=ax),
        "Dice over the threshold that a pixel must reach; the threshold in use is marked.",
    )


def _curve(metrics: Metrics, name: str) -> np.ndarray:
    values = [cells[name]["value"] for cells in metrics["over_thresholds"].values()]
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
