"""What a segmentation tells a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvlab.compare_task import Canvas, Metric, NamedTest
from cvlab.document import Picture
from cvlab.errors import counted
from cvlab.metrics.replicates import Resampling
from cvlab.metrics.segmentation import SegmentationPredictions, read_predictions, segmentation_metrics
from cvlab.metrics.segmentation_replicates import resampling
from cvlab.metrics.segmentation_table import PixelCounts
from cvlab.report_record import RunRecord
from cvlab.report_text import three_decimals
from cvlab.run_folder import Json
from cvlab.statistics.paired import wilcoxon

BY_GROUP = (
    Metric(("dice_group_mean",), "mean Dice over groups"),
    Metric(("dice_pooled",), "Dice pooled over all pixels"),
    Metric(("dice_group_median",), "median Dice over groups"),
    Metric(("dice_nonempty",), "mean Dice over images with the structure"),
    Metric(("dice_all",), "mean Dice over all images"),
    Metric(("iou_group_mean",), "mean IoU over groups"),
)
BY_IMAGE = (
    Metric(("dice_all",), "mean Dice over all images"),
    Metric(("dice_pooled",), "Dice pooled over all pixels"),
    Metric(("dice_nonempty",), "mean Dice over images with the structure"),
)
ALL = (
    Metric(("iou_pooled",), "IoU pooled over all pixels"),
    Metric(("precision",), "precision (pooled)"),
    Metric(("recall",), "recall (pooled)"),
    Metric(("image_sensitivity",), "sensitivity by image"),
    Metric(("image_specificity",), "specificity by image"),
    Metric(("hd95_mean",), "HD95, mean (pixels)", lower_is_better=True),
)


def compared_task() -> ComparedSegmentation:
    """Returns the task."""
    return ComparedSegmentation()


class ComparedSegmentation:
    """A segmentation, as a comparison sees it."""

    @property
    def curves(self) -> Mapping[str, str]:
        """What is watched on validation."""
        return {"val_loss": "loss", "val_dice": "Dice"}

    def show(self, value: float) -> str:
        """A value with three decimals."""
        return three_decimals(value)

    def read(self, file: Path) -> SegmentationPredictions:
        """Reads and checks a table of predictions."""
        return read_predictions(file)

    def outputs(self, table: SegmentationPredictions) -> tuple[str, ...]:
        """Nothing: a table of pixels names no structure."""
        return ()

    def in_order(self, table: SegmentationPredictions, outputs: Sequence[str]) -> SegmentationPredictions:
        """The same table."""
        return table

    def truths(self, tables: Sequence[SegmentationPredictions]) -> list[NDArray[np.object_]]:
        """How many pixels of each image are of the structure; whether any is, where runs see images at other sizes."""
        sizes = {int(pixels) for table in tables for pixels in np.unique(table.counts.pixels)}
        if len(sizes) == 1:
            return [np.array([f"{true:,} pixels" for true in table.counts.true], dtype=object) for table in tables]
        return [np.where(table.counts.true > 0, "not empty", "empty").astype(object) for table in tables]

    def values(self, table: SegmentationPredictions, record: RunRecord, *, pooled: bool) -> Json:
        """Every metric."""
        return segmentation_metrics(table)

    def resampling(self, table: SegmentationPredictions, record: RunRecord, *, pooled: bool) -> Resampling:
        """What there is to resample."""
        return resampling(table)

    def metrics(self, found: Sequence[Json], outputs: Sequence[str], *, grouped: bool) -> list[Metric]:
        """Dice by group where images have groups, else by image; then the rest."""
        return [*(BY_GROUP if grouped else BY_IMAGE), *ALL]

    def draw(self, canvas: Canvas, found: Sequence[Json], *, grouped: bool) -> list[Picture]:
        """The Dice of each group, or of each image."""
        return canvas.of_masks(grouped=grouped)

    def tests(self, metric: Metric, first: SegmentationPredictions, second: SegmentationPredictions) -> list[NamedTest]:
        """Wilcoxon's signed-rank test of what is averaged: the Dice (or IoU) of each group, or of each image."""
        name, _, over = metric.path[0].partition("_")
        if name not in ("dice", "iou") or over not in ("group_mean", "all", "nonempty"):
            return []
        if over == "group_mean":
            (names, one), (others, other) = (table.counts.by_group(table.group) for table in (first, second))
            if names != others:
                return []
            return [_wilcoxon(_scores(one, name) - _scores(other, name), "group", independent=False)]
        kept = first.counts.true > 0 if over == "nonempty" else np.full(len(first.counts), True)
        differences = (_scores(first.counts, name) - _scores(second.counts, name))[kept]
        return [_wilcoxon(differences, "image", independent=True)] if len(differences) else []


def _scores(counts: PixelCounts, name: str) -> NDArray[np.float64]:
    return counts.dice() if name == "dice" else counts.iou()


def _wilcoxon(differences: NDArray[np.float64], unit: str, *, independent: bool) -> NamedTest:
    found = wilcoxon(differences)
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    note = f"higher in {better:,} and {worse:,} of {counted(len(differences), unit)}"
    exact = ", exact" if found.exact else ""
    return NamedTest(f"Wilcoxon over {unit}s{exact}", found.p, None, independent=independent, note=note)
