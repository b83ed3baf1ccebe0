"""What a classification tells a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvlab.compare_task import Canvas, Metric, NamedTest
from cvlab.document import Picture
from cvlab.errors import counted
from cvlab.metrics.binary import binary_metrics
from cvlab.metrics.classification import ClassificationPredictions, classification_metrics, read_predictions
from cvlab.metrics.classification_replicates import resampling
from cvlab.metrics.operating_point import OperatingPoint
from cvlab.metrics.replicates import Resampling
from cvlab.metrics.uncertainty import INJECTION
from cvlab.report_record import RunRecord
from cvlab.report_text import three_decimals
from cvlab.run_folder import Json, read_json
from cvlab.statistics.delong import PairedDifference, paired_test
from cvlab.statistics.paired import FEWEST_GROUPS, mcnemar, tango_interval

METRICS = (
    Metric(("accuracy",), "accuracy"),
    Metric(("macro_roc_auc",), "macro ROC AUC"),
    Metric(("balanced_accuracy",), "balanced accuracy"),
    Metric(("macro_f1",), "macro F1"),
    Metric(("macro_average_precision",), "macro average precision"),
    Metric(("cohen_kappa",), "Cohen's kappa"),
    Metric(("mcc",), "Matthews correlation"),
    Metric(("loss",), "loss", lower_is_better=True),
    Metric(("brier",), "Brier score", lower_is_better=True),
    Metric(("ece",), "ECE (equal width)", lower_is_better=True),
)
# At the operating point; where there are two classes, the areas take the place of the means over both.
BINARY = (
    Metric(("binary", "roc_auc"), "ROC AUC of {positive}"),
    Metric(("binary", "average_precision"), "average precision of {positive}"),
    Metric(("binary", "sensitivity"), "sensitivity for {positive}"),
    Metric(("binary", "specificity"), "specificity for {positive}"),
)
POSITIVE = "positive_class"
OF_TWO = ("macro_roc_auc", "macro_average_precision")


def compared_task() -> ComparedClassification:
    """Returns the task."""
    return ComparedClassification()


class ComparedClassification:
    """A classification, as a comparison sees it."""

    @property
    def curves(self) -> Mapping[str, str]:
        """What is watched on validation."""
        return {"val_loss": "loss", "val_accuracy": "accuracy"}

    def show(self, value: float) -> str:
        """A value with three decimals."""
        return three_decimals(value)

    def read(self, file: Path) -> ClassificationPredictions:
        """Reads and checks a table of predictions."""
        return read_predictions(file)

    def outputs(self, table: ClassificationPredictions) -> tuple[str, ...]:
        """The classes."""
        return table.class_names

    def in_order(self, table: ClassificationPredictions, outputs: Sequence[str]) -> ClassificationPredictions:
        """The same table with its classes in another order."""
        place = np.array([outputs.index(name) for name in table.class_names])
        return replace(
            table,
            target=place[table.target],
            predicted=place[table.predicted],
            scores=table.scores[:, np.argsort(place)],
            class_names=tuple(outputs),
        )

    def truths(self, tables: Sequence[ClassificationPredictions]) -> list[NDArray[np.object_]]:
        """The class of each sample."""
        return [np.array(table.class_names, dtype=object)[table.target] for table in tables]

    def values(self, table: ClassificationPredictions, record: RunRecord, *, pooled: bool) -> Json:
        """Every metric; `binary` holds those at the operating point."""
        found = classification_metrics(table, top_k=_top_k(record))
        point = None if pooled else read_point(record)
        if point is None:
            return found
        positive, score = point.of(table)
        binary = binary_metrics(positive, score, threshold=point.threshold)
        return {**found, "binary": binary, POSITIVE: point.positive_class}

    def resampling(self, table: ClassificationPredictions, record: RunRecord, *, pooled: bool) -> Resampling:
        """What there is to resample."""
        return resampling(table, top_k=_top_k(record), point=None if pooled else read_point(record))

    def metrics(self, found: Sequence[Json], outputs: Sequence[str], *, grouped: bool) -> list[Metric]:
        """Accuracy, ROC AUC and the rest; at the operating points where all runs call the same class positive."""
        positive = {one.get(POSITIVE) for one in found}
        if len(positive) > 1 or positive == {None}:
            return [*METRICS, *_by_class(outputs)]
        (name,) = positive
        binary = [metric._replace(label=metric.label.replace("{positive}", str(name))) for metric in BINARY]
        if len(outputs) > 2:
            return [*METRICS, *binary, *_by_class(outputs)]
        kept = [metric for metric in METRICS if metric.path[0] not in OF_TWO]
        return [kept[0], binary[0], *kept[1:], *binary[1:]]

    def draw(self, canvas: Canvas, found: Sequence[Json], *, grouped: bool) -> list[Picture]:
        """ROC and precision-recall curves, and confusion matrices."""
        positive = {one.get(POSITIVE) for one in found}
        return canvas.of_classes(positive.pop() if len(positive) == 1 else None)

    def tests(
        self, metric: Metric, first: ClassificationPredictions, second: ClassificationPredictions
    ) -> list[NamedTest]:
        """McNemar's test of the accuracy, DeLong's of the area under the curve of one class."""
        if metric.path == ("accuracy",):
            return [_mcnemar(first, second)]
        if metric.path[0] == "per_class" and metric.path[-1] == "roc_auc":
            return _delong(first, second, first.class_names.index(metric.path[1]))
        if metric.path == ("binary", "roc_auc") and len(first.class_names) == 2:
            # The area of a class against the other is that of the other against it.
            return _delong(first, second, 1)
        return []


def read_point(record: RunRecord) -> OperatingPoint | None:
    """Returns the operating point of a run; None where it has none."""
    path = record.run.operating_point
    value = read_json(path) if path.is_file() else None
    if value is None or (isinstance(value, dict) and [*value] == [INJECTION]):
        return None
    return OperatingPoint.from_json(value)


def _by_class(outputs: Sequence[str]) -> list[Metric]:
    if len(outputs) == 2:
        return []
    return [Metric(("per_class", name, "roc_auc"), f"ROC AUC of {name}") for name in outputs]


def _top_k(record: RunRecord) -> int:
    return int((record.config.get("evaluate") or {}).get("top_k", 3))


def _mcnemar(first: ClassificationPredictions, second: ClassificationPredictions) -> NamedTest:
    right = [table.predicted == table.target for table in (first, second)]
    found = mcnemar(*right)
    n = len(first.target)
    low, high = tango_interval(found.only_first, found.only_second, n)
    difference = PairedDifference((found.only_first - found.only_second) / n, low, high, found.p)
    note = f"right alone: {found.only_first:,} and {found.only_second:,} of {counted(n, 'sample')}"
    return NamedTest("McNemar, exact" if found.exact else "McNemar", found.p, difference, independent=True, note=note)


def _delong(first: ClassificationPredictions, second: ClassificationPredictions, index: int) -> list[NamedTest]:
    is_class = first.target == index
    positives, negatives = int(is_class.sum()), int((~is_class).sum())
    if min(positives, negatives) < FEWEST_GROUPS:
        return []
    found = paired_test(is_class, first.scores[:, index], second.scores[:, index])
    note = f"{positives:,} of the class, {negatives:,} of others"
    return [NamedTest("DeLong", found.p, found, independent=True, note=note)]
