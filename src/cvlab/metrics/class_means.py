"""Means over classes: on how many groups they rest, and which rare classes decide them.

One rule for the intervals of a run and for the tests between runs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cvlab.errors import counted
from cvlab.metrics.replicates import Path
from cvlab.statistics.bootstrap import MOST_MISSING, Values

# The means over classes, and what of each class they are the mean of.
MEANS = {
    "macro_precision": "precision",
    "macro_recall": "recall",
    "balanced_accuracy": "recall",
    "macro_specificity": "specificity",
    "macro_f1": "f1",
    "macro_roc_auc": "roc_auc",
    "macro_average_precision": "average_precision",
}
MOST_NAMED = 3


def of_one_urn(path: Path, values: Values) -> bool:
    """Returns whether a metric is to be resampled with all groups in one urn, even where classes are rare.

    Where rare classes are drawn apart, their share in the resamples stays that of the data. What is of a class, or a
    mean over classes, is then defined in each; what pools all samples, such as the accuracy, would vary too little,
    since it varies with the share of the classes.

    Args:
        path: The metric.
        values: (B,) its values in resamples of one urn; NaN where it is undefined.
    """
    if path[0] == "per_class" or path[0] in MEANS:
        return False
    return float(np.isnan(values).mean()) <= MOST_MISSING


def groups_of_mean(drawn: Mapping[str, Values], groups: Mapping[str, int], *, fewest: int) -> float:
    """Returns on how many groups a mean over classes rests: one more than the degrees of freedom of its variance.

    Each class adds its variance, of as many degrees of freedom as it has groups, less one (Satterthwaite 1946). The few
    groups of a rare class may happen to agree; its variance is taken to be no less than that of the other classes, had
    they so few groups. A class of a single group has no degree of freedom: nothing tells how uncertain it is.

    Args:
        drawn: By class, what the mean is taken of on each resample (B,); NaN where it is undefined.
        groups: By class, in how many groups it stands; classes of none count for nothing.
        fewest: A class of fewer groups is rare.

    Returns:
        From 1 on; infinite where nothing varies.
    """
    counts = {name: count for name, count in groups.items() if count}
    # Resamples of g groups vary less than samples of g groups do, by (g - 1) / g.
    variances = {
        name: float(np.nan_to_num(drawn[name]).var()) * count / max(count - 1, 1) for name, count in counts.items()
    }
    usual = [variances[name] * count for name, count in counts.items() if count >= fewest]
    least = float(np.mean(usual)) if usual else 0.0
    parts = [
        (max(variances[name], least / count) if count < fewest else variances[name], count - 1)
        for name, count in counts.items()
    ]
    parts = [(variance, freedom) for variance, freedom in parts if variance]
    if any(not freedom for _, freedom in parts):
        return 1.0
    total = sum(variance for variance, _ in parts)
    return 1 + total**2 / sum(variance**2 / freedom for variance, freedom in parts) if parts else np.inf


def rare_classes(groups: Mapping[str, int], unit: str, *, fewest: int) -> str:
    """Returns why there is no interval of a mean over classes, naming those of fewer than `fewest` groups.

    Args:
        groups: By class, in how many groups it stands.
        unit: What a group is called.
        fewest: A class of fewer is rare.
    """
    rare = [f"{name} ({counted(count, unit)})" for name, count in groups.items() if 0 < count < fewest]
    more = [f"{len(rare) - MOST_NAMED} more"] if len(rare) > MOST_NAMED else []
    return f"rare classes decide it: {', '.join([*rare[:MOST_NAMED], *more])}"
