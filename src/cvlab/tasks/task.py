"""What every task offers to training, evaluation and report."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cvlab.config import EvaluateConfig
from cvlab.data.pipeline import Batches
from cvlab.data.samples import SampleTable
from cvlab.data.source import Labels
from cvlab.run_folder import Json
from cvlab.tasks.pictures import Pictures

if TYPE_CHECKING:
    import keras


class Task(Protocol):
    """A task for a data set: it knows the classes (or targets) and their order.

    Outputs are what the network returns, an array with a row a sample; truth is what `encode` returns.
    """

    @property
    def truth_is_masks(self) -> bool:
        """Whether batches bring masks as the truth, instead of what `encode` returns."""

    @property
    def counts_at_threshold(self) -> bool:
        """Whether a predictions table depends on the threshold of the operating point; scores and numbers do not."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The task and what each output stands for; stages with equal outputs share a head."""

    def misfit(self, labels: Labels) -> str:
        """What other data lack for this task (`expected ...; found ...`); empty if they fit."""

    def output_layer(self) -> keras.layers.Layer:
        """The last layer of the network, in float32 whatever the precision."""

    def loss(self) -> keras.losses.Loss:
        """The loss that training minimises."""

    def training_metrics(self) -> list[keras.metrics.Metric]:
        """What is shown beside the loss while an epoch runs."""

    def encode(self, table: SampleTable) -> np.ndarray | None:
        """The truth as float32, in the form that `loss` takes; a row a sample. None where masks are the truth."""

    def sample_weights(self, table: SampleTable) -> np.ndarray | None:
        """Weights of training samples in the loss as float32; None for equal weights."""

    def validate(self, model: keras.Model, batches: Batches, table: SampleTable) -> dict[str, float]:
        """The values of `Config.monitors` of the samples in `table`, computed as evaluation computes them."""

    def predict(
        self, model: keras.Model, batches: Batches, table: SampleTable, *, point: Json | None, masks: Path | None
    ) -> str:
        """Predicts the samples in `table` and returns their predictions table as text.

        Args:
            model: The network.
            batches: The samples, in the order of the table.
            table: The samples.
            point: The operating point, if there is one yet.
            masks: The folder for predicted masks; None to write none.
        """

    def check_evaluation(self, evaluate: EvaluateConfig, table: SampleTable) -> None:
        """Refuses settings of the evaluation that do not fit the data, before any training.

        Raises:
            CvlabError: What is wrong; `table` holds the samples of all splits.
        """

    def operating_point(self, predictions: Path, evaluate: EvaluateConfig) -> Json | None:
        """What is chosen from the predictions of validation, as `operating_point.json` holds it; None for nothing."""

    def metrics(
        self, predictions: Path, evaluate: EvaluateConfig, point: Json | None = None, *, seed: int | None = None
    ) -> dict[str, Any]:
        """Every metric of a predictions table, in the form of `metrics.json`.

        Args:
            predictions: The table.
            evaluate: The settings.
            point: The operating point, if there is one.
            seed: Of the intervals; None to leave them out.
        """

    def pictures(self, predictions: Path, table: SampleTable, point: Json | None) -> Pictures:
        """What to show of a predictions table; `table` holds the same samples in the same order."""

    def picture_names(self, table: SampleTable) -> list[str]:
        """A short title for the picture of each sample: its truth."""

    def summary(self, table: SampleTable) -> Mapping[str, Mapping[str, int]]:
        """Samples by split and class; where there are no classes, by split and `images`."""


class WholeOutputs(ABC):
    """A task whose outputs are small: those of all samples are predicted first, then looked at."""

    truth_is_masks = False
    counts_at_threshold = False

    @abstractmethod
    def monitor(self, outputs: np.ndarray, table: SampleTable) -> dict[str, float]:
        """The values of `Config.monitors`, from the outputs for all samples."""

    @abstractmethod
    def predictions_csv(self, outputs: np.ndarray, table: SampleTable) -> str:
        """The predictions table as text, from the outputs for all samples."""

    def validate(self, model: keras.Model, batches: Batches, table: SampleTable) -> dict[str, float]:
        """The values of `Config.monitors` of the samples in `table`."""
        return self.monitor(model.predict(batches.dataset(), verbose=0), table)

    def predict(
        self, model: keras.Model, batches: Batches, table: SampleTable, *, point: Json | None, masks: Path | None
    ) -> str:
        """The predictions table as text; an operating point changes nothing in it."""
        return self.predictions_csv(model.predict(batches.dataset(), verbose=0), table)
