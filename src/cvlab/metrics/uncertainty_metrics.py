"""Every metric of a table of uncertainties, as cells (see `uncertainty`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from cvlab.metrics.calibration import expected_calibration_error
from cvlab.metrics.segmentation import counts_metrics
from cvlab.metrics.segmentation_calibration import pixel_calibration_error
from cvlab.metrics.segmentation_table import PixelCounts
from cvlab.metrics.uncertainty import (
    Cell,
    Indices,
    Values,
    calibration_error,
    class_losses,
    entropy,
    gaussian_losses,
    mean_cell,
    risk_coverage_area,
)
from cvlab.metrics.uncertainty_table import (
    ClassUncertainty,
    MaskUncertainty,
    RegressionUncertainty,
    UncertaintyTable,
)


def uncertainty_metrics(table: UncertaintyTable) -> dict[str, Any]:
    """Computes every metric of a table of uncertainties, and `samples`, their number.

    - Of classes: accuracy, nll, ece and aurc of the mean scores (`score_cells`), and the mean mutual_information.
    - Of numbers, `per_target`: rmse and mae of the mean, nll (see `gaussian_losses`), calibration_error, aurc (the
      risk is |error|, the uncertainty the variance) and the mean standard deviation, `deviation`.
    - Of masks: nll, ece, mean entropy and mutual_information over the pixels; dice_all, dice_nonempty and dice_pooled
      of the mean mask, as `segmentation_metrics` has them; aurc (the risk is 1 - Dice of an image, 0 for two empty
      masks, the uncertainty the mean entropy).
    """
    if isinstance(table, ClassUncertainty):
        cells = score_cells(table.target, table.mean)
        return {**cells, "mutual_information": _mean(table.mutual_information), "samples": len(table.sample_id)}
    if isinstance(table, RegressionUncertainty):
        columns = zip(table.target_names, table.target.T, table.mean.T, table.variance.T, strict=True)
        per_target = {name: number_cells(*values) for name, *values in columns}
        return {"per_target": per_target, "samples": len(table.sample_id)}
    return {
        **dice_cells(PixelCounts(*table.counts.T)),
        "nll": _mean(table.nll),
        "ece": {"value": pixel_calibration_error(table.gaps, int(table.counts.sum()))},
        "entropy": _mean(table.entropy),
        "mutual_information": _mean(table.mutual_information),
        "aurc": risk_coverage_area(mask_risk(table), table.entropy),
        "samples": len(table.sample_id),
    }


def score_cells(target: Indices, scores: Values) -> dict[str, Cell]:
    """Computes accuracy, nll, ece, mean entropy and aurc (the risk is a wrong class, the uncertainty the entropy).

    Args:
        target: (n,) indices of the true classes.
        scores: (n, k) that sum to 1.
    """
    uncertainty = entropy(scores)
    return {
        "accuracy": _mean(1 - class_risk(target, scores)),
        "nll": mean_cell(class_losses(target, scores)),
        "ece": expected_calibration_error(target, scores),
        "entropy": _mean(uncertainty),
        "aurc": risk_coverage_area(class_risk(target, scores), uncertainty),
    }


def number_cells(target: Values, mean: Values, variance: Values) -> dict[str, Cell]:
    """Computes the metrics of one target; all are (n,)."""
    errors = mean - target
    return {
        "rmse": {"value": float(np.sqrt((errors**2).mean()))},
        "mae": _mean(np.abs(errors)),
        "nll": mean_cell(gaussian_losses(target, mean, variance)),
        "calibration_error": calibration_error(target, mean, variance),
        "aurc": risk_coverage_area(np.abs(errors), variance),
        "deviation": _mean(np.sqrt(variance)),
    }


def dice_cells(counts: PixelCounts) -> dict[str, Cell]:
    """Returns the Dice of masks over all images, over those with a true mask, and pooled over the pixels."""
    cells = counts_metrics(counts)
    return {name: cells[name] for name in ("dice_all", "dice_nonempty", "dice_pooled")}


def class_risk(target: Indices, scores: Values) -> Values:
    """Returns 1 for each sample whose first highest score is that of a wrong class, else 0."""
    return np.asarray(scores.argmax(axis=1) != target, dtype=np.float64)


def mask_risk(table: MaskUncertainty) -> Values:
    """Returns 1 - Dice of each image."""
    return 1 - PixelCounts(*table.counts.T).dice()


def _mean(values: Values) -> Cell:
    return {"value": float(values.mean())}
