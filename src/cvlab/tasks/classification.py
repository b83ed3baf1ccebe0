"""Classification: one class for each image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from cvlab.config import EvaluateConfig, TaskConfig
from cvlab.config_values import NotNegative, Settings
from cvlab.data import sampling
from cvlab.data.samples import CLASS, SampleTable
from cvlab.data.source import Labels
from cvlab.errors import ConfigError, DataError, did_you_mean
from cvlab.metrics import classification as metrics
from cvlab.metrics.binary import binary_metrics
from cvlab.metrics.classification_replicates import resampling
from cvlab.metrics.intervals import with_intervals
from cvlab.metrics.operating_point import OperatingPoint, check_rule, choose, find_positive_class
from cvlab.metrics.temperature import TEMPERATURE, Temperature, calibrated_table, fit_temperature
from cvlab.run_folder import Json
from cvlab.tasks.pictures import Pictures, of_classes
from cvlab.tasks.task import WholeOutputs

if TYPE_CHECKING:
    import keras


def _weights(value: Any) -> Any:
    if value is None or value == "balanced":
        return value
    numbers = isinstance(value, dict) and all(
        isinstance(weight, int | float) and not isinstance(weight, bool) and 0 < weight < math.inf
        for weight in value.values()
    )
    if numbers and value:
        return value
    raise ValueError("expected 'balanced', null, or a mapping of class names to weights above 0")


_WEIGHTS_SCHEMA = {
    "anyOf": [
        {"enum": ["balanced", None]},
        {"type": "object", "additionalProperties": {"type": "number", "exclusiveMinimum": 0}, "minProperties": 1},
    ]
}


class CrossEntropy(Settings):
    """Cross-entropy, natural logarithm; `label_smoothing` moves that share of the truth to all classes evenly."""

    name: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Focal(Settings):
    """(1 - p)^gamma times the cross-entropy, p the score of the true class (Lin et al. 2017).

    `alpha` is the weight of the positive class of a sigmoid, 1 - alpha that of the other one.
    """

    name: Literal["focal"] = "focal"
    gamma: NotNegative = 2.0
    alpha: Annotated[float, Field(gt=0, lt=1)] | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


Loss = Annotated[CrossEntropy | Focal, Field(discriminator="name")]


def _named(loss: Any) -> Any:
    """A loss without a name is cross-entropy: `{label_smoothing: 0.1}`."""
    return {"name": "cross_entropy", **loss} if isinstance(loss, dict) else loss


class Config(TaskConfig):
    """Settings of `classification`.

    Attributes:
        output: `softmax`, one output a class; or `sigmoid`, one output for two classes (the second is positive).
        class_weights: `balanced` (n / (k n_c) of the training split), null, or `{class: weight}`.
    """

    monitors: ClassVar[Mapping[str, bool]] = {"loss": False, "accuracy": True, "balanced_accuracy": True}
    name: Literal["classification"] = "classification"
    output: Literal["softmax", "sigmoid"] = "softmax"
    class_weights: Annotated[Any, BeforeValidator(_weights), WithJsonSchema(_WEIGHTS_SCHEMA)] = None
    loss: Annotated[Loss, BeforeValidator(_named, json_schema_input_type=Loss)] = CrossEntropy()

    @model_validator(mode="after")
    def _one_alpha(self) -> Config:
        alpha = getattr(self.loss, "alpha", None)
        if alpha is not None and self.output == "softmax":
            raise ValueError(
                f"received `loss.alpha: {alpha:g}`, which weighs the two classes of a sigmoid, with `output: softmax`. "
                "Weigh the classes with `class_weights`"
            )
        if alpha is not None and self.class_weights == "balanced":
            raise ValueError(
                f"received `loss.alpha: {alpha:g}` with `class_weights: balanced`, which would weigh the classes "
                "twice. Keep one"
            )
        return self


def build(config: Config, labels: Labels) -> Classification:
    """Makes the task for a data set.

    Raises:
        ConfigError: The settings do not fit the classes of the data.
    """
    class_names = labels.class_names
    count = len(class_names)
    if not count:
        raise ConfigError(
            [
                "task.name: classification needs classes, but the data name none. Name their column "
                "(data.columns.label), or choose the task regression."
            ]
        )
    if config.output == "sigmoid" and count != 2:
        raise ConfigError(
            [f"task.output: expected 'softmax' for {count} classes, received 'sigmoid' (for two classes)."]
        )
    if config.output == "softmax" and count < 2:
        raise ConfigError([f"task.output: softmax over {count} class is always 1; expected at least 2 classes."])
    if isinstance(config.class_weights, dict):
        unknown = [name for name in config.class_weights if name not in class_names]
        missing = [name for name in class_names if name not in config.class_weights]
        problems = [f"task.class_weights.{n}: unknown class{did_you_mean(n, class_names) or '.'}" for n in unknown]
        problems += [f"task.class_weights.{n}: is missing; every class needs a weight." for n in missing]
        if problems:
            raise ConfigError(problems)
    return Classification(config, class_names)


class Classification(WholeOutputs):
    """One class for each image, out of `class_names`."""

    def __init__(self, config: Config, class_names: tuple[str, ...]) -> None:
        self.config = config
        self.class_names = class_names

    @property
    def _sigmoid(self) -> bool:
        return self.config.output == "sigmoid"

    @property
    def outputs(self) -> tuple[str, ...]:
        """The form of the output, and the classes in order."""
        return ("classification", self.config.output, *self.class_names)

    def misfit(self, labels: Labels) -> str:
        """Other data may lack classes, but not have others."""
        unknown = [name for name in labels.class_names if name not in self.class_names]
        if labels.class_names and not unknown:
            return ""
        return f"expected classes out of {', '.join(self.class_names)}; found {', '.join(unknown) or 'none'}"

    def output_layer(self) -> keras.layers.Layer:
        """A dense layer with softmax or sigmoid, in float32."""
        import keras

        units = 1 if self._sigmoid else len(self.class_names)
        return keras.layers.Dense(units, activation=self.config.output, dtype="float32", name="output")

    def loss(self) -> keras.losses.Loss:
        """Categorical or binary cross-entropy, or focal loss."""
        import keras

        if isinstance(self.config.loss, Focal):
            from cvlab.tasks.losses import FocalCrossEntropy

            return FocalCrossEntropy(**self.config.loss.model_dump(exclude={"name"}))
        smoothing = self.config.loss.label_smoothing
        if self._sigmoid:
            return keras.losses.BinaryCrossentropy(label_smoothing=smoothing)
        return keras.losses.CategoricalCrossentropy(label_smoothing=smoothing)

    def training_metrics(self) -> list[keras.metrics.Metric]:
        """Accuracy."""
        import keras

        metric = keras.metrics.BinaryAccuracy if self._sigmoid else keras.metrics.CategoricalAccuracy
        return [metric(name="accuracy")]

    def labels(self, table: SampleTable) -> np.ndarray:
        """Class indices, int64."""
        index = {name: i for i, name in enumerate(self.class_names)}
        try:
            return np.array([index[name] for name in table.targets[CLASS]], dtype=np.int64)
        except KeyError as error:
            raise DataError(f"class {error} is not one of the classes of this run: {', '.join(index)}.") from error

    def encode(self, table: SampleTable) -> np.ndarray:
        """One-hot rows, or a column of 0 and 1 for a sigmoid."""
        labels = self.labels(table)
        if self._sigmoid:
            return labels[:, None].astype(np.float32)
        one_hot: np.ndarray = np.eye(len(self.class_names), dtype=np.float32)[labels]
        return one_hot

    def class_weights(self, table: SampleTable) -> dict[str, float] | None:
        """The weight of each class in the loss, from the training samples in `table`; balanced is n / (k n_c)."""
        counts = np.bincount(self.labels(table), minlength=len(self.class_names))
        found = dict(zip(self.class_names, counts.tolist(), strict=True))
        return sampling.class_weights(self.config.class_weights, found)

    def sample_weights(self, table: SampleTable) -> np.ndarray | None:
        """The weight of each sample's class."""
        weights = self.class_weights(table)
        if weights is None:
            return None
        return np.array([weights[name] for name in table.targets[CLASS]], dtype=np.float32)

    def scores(self, outputs: np.ndarray) -> np.ndarray:
        """Class probabilities, float64, a column a class (two for a sigmoid)."""
        outputs = np.asarray(outputs, dtype=np.float64)
        return np.hstack([1 - outputs, outputs]) if self._sigmoid else outputs

    def monitor(self, outputs: np.ndarray, table: SampleTable) -> dict[str, float]:
        """Loss, accuracy and balanced accuracy, without class weights and label smoothing."""
        return metrics.monitored(self.labels(table), self.scores(outputs))

    def predictions_csv(self, outputs: np.ndarray, table: SampleTable) -> str:
        """One row a sample: id, group, truth, prediction and the score of each class."""
        return metrics.predictions_csv(
            table.sample_id, table.group, self.labels(table), self.scores(outputs), self.class_names
        )

    def check_evaluation(self, evaluate: EvaluateConfig, table: SampleTable) -> None:
        """The positive class must be one of the classes, and validation hold what is chosen by it.

        Raises:
            ConfigError: There is no such class.
            DataError: Validation lacks the positive class or has nothing else, or has one class for the temperature.
        """
        if evaluate.threshold == "dice":
            raise ConfigError(["evaluate.threshold: 'dice' is for masks; expected a number, 'youden', 'f1', ..."])
        name = find_positive_class(self.class_names, evaluate)
        if name is not None:
            positive = table.of_split("val").targets[CLASS] == name
            check_rule(evaluate.threshold, name, positives=int(positive.sum()), negatives=int((~positive).sum()))
        found = {*table.of_split("val").targets[CLASS]}
        if evaluate.temperature and len(found) < 2:
            raise DataError(
                "evaluate.temperature: is fitted on validation, where expected samples of two classes or more, found "
                f"{', '.join(found) or 'none'} only. Change data.split, or set evaluate.temperature=false."
            )

    def operating_point(self, predictions: Path, evaluate: EvaluateConfig) -> Json | None:
        """The threshold of the positive class and the temperature; None where there is neither."""
        p = metrics.read_predictions(predictions)
        point = choose(p, evaluate)
        found = {} if point is None else point.to_json()
        if evaluate.temperature:
            found[TEMPERATURE] = fit_temperature(p.target, p.scores).to_json()
        return found or None

    def metrics(
        self, predictions: Path, evaluate: EvaluateConfig, point: Json | None = None, *, seed: int | None = None
    ) -> dict[str, Any]:
        """Every classification metric of a predictions table.

        With them `binary`, its metrics at the operating point, and `calibrated`, those of the temperature.
        """
        p = metrics.read_predictions(predictions)
        found = metrics.classification_metrics(p, top_k=evaluate.top_k)
        at, temperature = OperatingPoint.among(point), Temperature.from_json(point)
        if at is not None:
            positive, score = at.of(p)
            found["binary"] = binary_metrics(positive, score, threshold=at.threshold)
        found |= calibrated_table(p.target, p.scores, temperature)
        if seed is None:
            return found
        table = resampling(p, top_k=evaluate.top_k, point=at, temperature=temperature)
        return with_intervals(found, table, evaluate.bootstrap, seed=seed)

    def pictures(self, predictions: Path, table: SampleTable, point: Json | None) -> Pictures:
        """The most confident right and wrong predictions; of two classes also those nearest the threshold."""
        at = OperatingPoint.among(point)
        return of_classes(metrics.read_predictions(predictions), at, one_output=self._sigmoid)

    def picture_names(self, table: SampleTable) -> list[str]:
        """The class of each sample."""
        return [str(name) for name in table.targets[CLASS]]

    def summary(self, table: SampleTable) -> Mapping[str, Mapping[str, int]]:
        """Samples by split and class, classes in the order of the outputs."""
        counts = table.counts(CLASS)
        return {split: {name: found.get(name, 0) for name in self.class_names} for split, found in counts.items()}
