"""Regression: numbers for each image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, Field

from cvlab.config import EvaluateConfig, TaskConfig
from cvlab.config_values import Positive, Settings
from cvlab.data.samples import SPLITS, SampleTable
from cvlab.data.source import Labels
from cvlab.errors import ConfigError, DataError, did_you_mean
from cvlab.metrics import regression as metrics
from cvlab.metrics.intervals import with_intervals
from cvlab.metrics.regression_replicates import resampling
from cvlab.run_folder import Json
from cvlab.tasks.pictures import Pictures, of_numbers
from cvlab.tasks.task import WholeOutputs
from cvlab.text import printable

if TYPE_CHECKING:
    import keras

MOST_NAMED_TARGETS = 3
# What a grid of pictures shows of a line; a long name is cut, its value never.
LONGEST_LINE = 24


def _distinct(names: list[str]) -> list[str]:
    doubles = [name for place, name in enumerate(names) if name in names[:place]]
    if doubles:
        raise ValueError(f"expected each target once, received '{doubles[0]}' twice")
    return names


class MSE(Settings):
    """Mean squared error."""

    name: Literal["mse"] = "mse"


class MAE(Settings):
    """Mean absolute error."""

    name: Literal["mae"] = "mae"


class Huber(Settings):
    """Half the squared error e^2 / 2 up to `delta`, beyond it delta |e| - delta^2 / 2 (Huber 1964)."""

    name: Literal["huber"] = "huber"
    delta: Positive = 1.0


class CCC(Settings):
    """1 - the concordance correlation (Lin 1989) of each batch; it needs large batches."""

    name: Literal["ccc"] = "ccc"


class Config(TaskConfig):
    """Settings of `regression`.

    Attributes:
        targets: Names of the numbers to predict, in the order of the outputs; null for all that the data have.
        loss: `mse`, `mae`, `huber` (with `delta`) or `ccc`.
    """

    monitors: ClassVar[Mapping[str, bool]] = {"loss": False, "rmse": False, "ccc": True}
    name: Literal["regression"] = "regression"
    targets: Annotated[list[str], Field(min_length=1), AfterValidator(_distinct)] | None = None
    loss: Annotated[MSE | MAE | Huber | CCC, Field(discriminator="name")] = MSE()


def build(config: Config, labels: Labels) -> Regression:
    """Makes the task for a data set.

    Raises:
        ConfigError: The data lack the targets.
    """
    numbers = labels.numbers
    if not numbers:
        classes = f"only the classes {', '.join(labels.class_names)}" if labels.class_names else "no labels"
        raise ConfigError(
            [
                f"task.name: regression needs numbers to predict, but the data offer {classes}. Use a table "
                "(data.name: csv_table) and name its columns of numbers (data.columns.numbers)."
            ]
        )
    targets = numbers if config.targets is None else tuple(config.targets)
    unknown = [name for name in targets if name not in numbers]
    if unknown:
        expected = f"task.targets: expected numbers out of {', '.join(numbers)}"
        hints = [did_you_mean(name, numbers) or "." for name in unknown]
        raise ConfigError([f"{expected}, received '{name}'{hint}" for name, hint in zip(unknown, hints, strict=True)])
    return Regression(config, targets)


class Regression(WholeOutputs):
    """A number for each of `targets`."""

    def __init__(self, config: Config, targets: tuple[str, ...]) -> None:
        self.config = config
        self.targets = targets

    @property
    def outputs(self) -> tuple[str, ...]:
        """The task and the targets in order."""
        return ("regression", *self.targets)

    def misfit(self, labels: Labels) -> str:
        """Other data must have all targets, and may have more numbers."""
        if all(name in labels.numbers for name in self.targets):
            return ""
        return f"expected the numbers {', '.join(self.targets)}; found {', '.join(labels.numbers) or 'none'}"

    def output_layer(self) -> keras.layers.Layer:
        """A linear dense layer, in float32."""
        import keras

        return keras.layers.Dense(len(self.targets), activation="linear", dtype="float32", name="output")

    def loss(self) -> keras.losses.Loss:
        """The loss that the configuration names, over all targets alike."""
        import keras

        from cvlab.tasks.losses import ConcordanceLoss

        loss = self.config.loss
        if isinstance(loss, Huber):
            return keras.losses.Huber(delta=loss.delta)
        classes = {"mse": keras.losses.MeanSquaredError, "mae": keras.losses.MeanAbsoluteError, "ccc": ConcordanceLoss}
        return classes[loss.name]()

    def training_metrics(self) -> list[keras.metrics.Metric]:
        """RMSE, averaged over the targets."""
        from cvlab.tasks.losses import TargetRMSE

        return [TargetRMSE(len(self.targets))]

    def labels(self, table: SampleTable) -> np.ndarray:
        """The truth as float64, a column a target.

        Raises:
            DataError: A value is no number that float32 can hold.
        """
        try:
            truth = np.column_stack([table.targets[name].astype(np.float64) for name in self.targets])
        except (KeyError, ValueError) as error:
            raise DataError(f"expected numbers for {', '.join(self.targets)} of every sample ({error}).") from error
        bad = np.argwhere(~(np.abs(truth) <= metrics.LARGEST))
        if len(bad):
            row, column = map(int, bad[0])
            raise DataError(
                f"{table.sample_id[row]}: {self.targets[column]}: expected a finite number of at most "
                f"{metrics.LARGEST:.3g}, received {float(truth[row, column])!r}."
            )
        return truth

    def encode(self, table: SampleTable) -> np.ndarray:
        """The truth as float32, a column a target."""
        return self.labels(table).astype(np.float32)

    def sample_weights(self, table: SampleTable) -> np.ndarray | None:
        """None: every sample counts alike."""
        return None

    def monitor(self, outputs: np.ndarray, table: SampleTable) -> dict[str, float]:
        """The loss over all samples, and RMSE and CCC averaged over the targets (an undefined CCC counts as 0)."""
        loss = self.config.loss.model_dump()
        return metrics.monitored(self.labels(table), outputs.astype(np.float64), loss=loss)

    def predictions_csv(self, outputs: np.ndarray, table: SampleTable) -> str:
        """One row a sample: id, group, truth and prediction of each target."""
        return metrics.predictions_csv(table.sample_id, table.group, self.labels(table), outputs, self.targets)

    def check_evaluation(self, evaluate: EvaluateConfig, table: SampleTable) -> None:
        """Numbers have no positive class, no threshold and no temperature.

        Raises:
            ConfigError: One was given.
        """
        default, names = EvaluateConfig(), ("positive_class", "threshold", "temperature")
        given = [name for name in names if getattr(evaluate, name) != getattr(default, name)]
        if given:
            raise ConfigError([f"evaluate.{name}: regression has no classes; leave it out." for name in given])

    def operating_point(self, predictions: Path, evaluate: EvaluateConfig) -> Json | None:
        """None: nothing is chosen on validation."""
        return None

    def metrics(
        self, predictions: Path, evaluate: EvaluateConfig, point: Json | None = None, *, seed: int | None = None
    ) -> dict[str, Any]:
        """Every regression metric of a predictions table."""
        p, loss = metrics.read_predictions(predictions), self.config.loss.model_dump()
        found = metrics.regression_metrics(p, loss=loss)
        if seed is None:
            return found
        return with_intervals(found, resampling(p, loss=loss), evaluate.bootstrap, seed=seed)

    def pictures(self, predictions: Path, table: SampleTable, point: Json | None) -> Pictures:
        """The largest errors."""
        p = metrics.read_predictions(predictions)
        return of_numbers(p, self.picture_titles(p.predicted, table))

    def picture_titles(self, outputs: np.ndarray, table: SampleTable) -> list[str]:
        """`target truth → prediction`, a line for each of the first three targets."""
        return [
            self._title([f"{_short(truth)} → {_short(predicted)}" for truth, predicted in zip(*row, strict=True)])
            for row in zip(self.labels(table), outputs, strict=True)
        ]

    def picture_names(self, table: SampleTable) -> list[str]:
        """`target truth`, a line for each of the first three targets."""
        return [self._title([_short(truth) for truth in row]) for row in self.labels(table)]

    def _title(self, values: list[str]) -> str:
        named = [_line(printable(name), value) for name, value in zip(self.targets, values, strict=True)]
        return "\n".join([*named[:MOST_NAMED_TARGETS], *(["…"] if len(named) > MOST_NAMED_TARGETS else [])])

    def summary(self, table: SampleTable) -> Mapping[str, Mapping[str, int]]:
        """The number of images by split."""
        counts = {split: int((table.split == split).sum()) for split in SPLITS}
        return {split: {"images": count} for split, count in counts.items() if count}


def _short(value: float) -> str:
    return f"{round(float(value), 2) + 0.0:.2f}"  # + 0.0, so that nothing reads -0.00


def _line(name: str, value: str) -> str:
    room = max(LONGEST_LINE - len(value) - 1, 1)
    return f"{name if len(name) <= room else name[: room - 1] + '…'} {value}"
