"""What a regression tells a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvlab.compare_task import Canvas, Metric, NamedTest
from cvlab.document import Picture
from cvlab.metrics.regression import MSE, RegressionPredictions, read_predictions, regression_metrics
from cvlab.metrics.regression_replicates import resampling
from cvlab.metrics.replicates import Resampling
from cvlab.reading_stages import decimals
from cvlab.report_record import RunRecord
from cvlab.run_folder import Json

METRICS = (
    Metric(("rmse",), "RMSE", lower_is_better=True),
    Metric(("ccc",), "CCC"),
    Metric(("mae",), "MAE", lower_is_better=True),
    Metric(("corr",), "CORR"),
    Metric(("sagr",), "SAGR"),
    Metric(("r2",), "R²"),
)


def compared_task() -> ComparedRegression:
    """Returns the task."""
    return ComparedRegression()


class ComparedRegression:
    """A regression, as a comparison sees it."""

    @property
    def curves(self) -> Mapping[str, str]:
        """What is watched on validation."""
        return {"val_loss": "loss", "val_rmse": "RMSE", "val_ccc": "CCC"}

    def show(self, value: float) -> str:
        """A value with three decimals, or with three digits where those hide it."""
        return decimals(value)

    def read(self, file: Path) -> RegressionPredictions:
        """Reads and checks a table of predictions."""
        return read_predictions(file)

    def outputs(self, table: RegressionPredictions) -> tuple[str, ...]:
        """The targets."""
        return table.target_names

    def in_order(self, table: RegressionPredictions, outputs: Sequence[str]) -> RegressionPredictions:
        """The same table with its targets in another order."""
        place = [table.target_names.index(name) for name in outputs]
        target, predicted = table.target[:, place], table.predicted[:, place]
        return replace(table, target=target, predicted=predicted, target_names=tuple(outputs))

    def truths(self, tables: Sequence[RegressionPredictions]) -> list[NDArray[np.object_]]:
        """The numbers of each sample."""
        rows = (table.target.tolist() for table in tables)
        return [np.array([", ".join(map(repr, row)) for row in of_table], dtype=object) for of_table in rows]

    def values(self, table: RegressionPredictions, record: RunRecord, *, pooled: bool) -> Json:
        """Every metric."""
        return regression_metrics(table, loss=_loss(record))

    def resampling(self, table: RegressionPredictions, record: RunRecord, *, pooled: bool) -> Resampling:
        """What there is to resample."""
        return resampling(table, loss=_loss(record))

    def metrics(self, found: Sequence[Json], outputs: Sequence[str], *, grouped: bool) -> list[Metric]:
        """The means over the targets, then the same of each target."""
        if len(outputs) == 1:
            return [*METRICS]
        targets = [
            metric._replace(path=("per_target", name, *metric.path), label=f"{metric.label} of {name}")
            for name in outputs
            for metric in METRICS
        ]
        return [*(metric._replace(label=f"mean {metric.label}") for metric in METRICS), *targets]

    def draw(self, canvas: Canvas, found: Sequence[Json], *, grouped: bool) -> list[Picture]:
        """None beside the curves of training."""
        return []

    def tests(self, metric: Metric, first: RegressionPredictions, second: RegressionPredictions) -> list[NamedTest]:
        """None but the bootstrap."""
        return []


def _loss(record: RunRecord) -> dict[str, Any]:
    loss = record.task.get("loss")
    return dict(loss) if isinstance(loss, dict) else dict(MSE)
