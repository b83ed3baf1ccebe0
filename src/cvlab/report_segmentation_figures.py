"""The figures of a segmentation's report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from cvlab.metrics.segmentation import MaskThreshold, SegmentationPredictions
from cvlab.metrics.segmentation_table import THRESHOLDS
from cvlab.plots import learning_curves, new_figure, save_figure
from cvlab.plots_segmentation import (
    WIDE,
    ThresholdCurves,
    dice_by_group,
    dice_histogram,
    dice_over_thresholds,
    groups_height,
)
from cvlab.report_record import Picture, RunRecord
from cvlab.report_text import md
from cvlab.run_folder import Json

Metrics = dict[str, Any]
Figure = tuple[str, str, tuple[float, float], Callable[[Axes], Axes]]

CURVES = {"loss": "loss", "dice": "Dice", "iou": "IoU", "accuracy": "pixel accuracy"}


def draw_curves(record: RunRecord, history: list[Json], *, prefix: str = "") -> list[Picture]:
    """Draws loss, Dice, IoU and pixel accuracy over the epochs; `prefix` stands before the names of the files."""
    if not history:
        return []
    stages = [str(epoch["stage"]) for epoch in history]
    best = [bool(epoch.get("best")) for epoch in history]
    pictures = []
    for metric, label in CURVES.items():
        train, val = ([epoch.get(key) for epoch in history] for key in (metric, f"val_{metric}"))
        figure, ax = new_figure(9.0, 4.4, synthetic=record.synthetic)
        learning_curves(train, val, stages, best, label=label, ax=ax)
        name = f"{prefix}curve_{metric}.png"
        save_figure(figure, record.run.plots / name)
        pictures.append(Picture(f"plots/{name}", f"{label} by epoch"))
    return pictures


def draw_figures(
    record: RunRecord,
    p: SegmentationPredictions,
    metrics: dict[str, Metrics],
    point: MaskThreshold | None,
    *,
    split: str,
    structure: str,
) -> list[Picture]:
    """Draws the histogram of Dice, Dice by group and Dice over thresholds.

    Args:
        record: The run.
        p: The predictions that the report is about.
        metrics: `segmentation_metrics` by split.
        point: The threshold in use; without one no curves over thresholds are drawn.
        split: What `p` is called.
        structure: What the masks show.
    """
    figures = [_histogram(p, split, structure)]
    if len(metrics[split]["by_group"]) < len(p.counts):
        figures.append(_box_plot(p, metrics[split], split))
    if point is not None:
        compared = {name: metrics[name] for name in dict.fromkeys((split, point.split)) if name in metrics}
        figures.append(_threshold_curves(compared, point.threshold, structure))
    pictures = []
    for stem, caption, size, draw in figures:
        figure, ax = new_figure(*size, synthetic=record.synthetic)
        draw(ax)
        save_figure(figure, record.run.plots / f"{stem}.png")
        pictures.append(Picture(f"plots/{stem}.png", f"{caption} ({split})"))
    return pictures


def _histogram(p: SegmentationPredictions, split: str, structure: str) -> Figure:
    dice, nonempty = p.counts.dice(), p.counts.true > 0
    caption = f"Dice of images with {md(structure)}"
    return (
        "dice_histogram",
        caption,
        WIDE,
        lambda ax: dice_histogram(dice, nonempty, structure=structure, split=split, ax=ax),
    )


def _box_plot(p: SegmentationPredictions, metrics: Metrics, split: str) -> Figure:
    volumes = {name: values["dice"] for name, values in metrics["by_group"].items()}
    dice, nonempty = p.counts.dice(), p.counts.true > 0
    return (
        "dice_by_group",
        "Dice by group",
        (8.6, groups_height(len(volumes))),
        lambda ax: dice_by_group(dice, p.group, nonempty, volumes, split=split, ax=ax),
    )


def _threshold_curves(metrics: dict[str, Metrics], chosen: float, structure: str) -> Figure:
    curves = {
        split: ThresholdCurves(*(_curve(m, name) for name in ("dice_pooled", "dice_nonempty")))
        for split, m in metrics.items()
    }
    return (
        "dice_over_thresholds",
        "Dice over thresholds",
        WIDE,
        lambda ax: dice_over_thresholds(curves, THRESHOLDS, chosen=chosen, structure=structure, ax=ax),
    )


def _curve(metrics: Metrics, name: str) -> np.ndarray:
    values = [cells[name]["value"] for cells in metrics["over_thresholds"].values()]
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
