"""What every task offers to training, evaluation and report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cvlab.data.samples import SampleTable

if TYPE_CHECKING:
    import keras


class Task(Protocol):
    """A task for a data set: it knows the classes (or targets) and their order.

    Outputs are what the network returns, an array with a row a sample; truth is what `encode` returns.
    """

    def output_layer(self) -> keras.layers.Layer:
        """The last layer of the network, in float32 whatever the precision."""

    def loss(self) -> keras.losses.Loss:
        """The loss that training minimises."""

    def training_metrics(self) -> list[keras.metrics.Metric]:
        """What is shown beside the loss while an epoch runs."""

    def encode(self, table: SampleTable) -> np.ndarray:
        """The truth as float32, in the form that `loss` takes; a row a sample."""

    def sample_weights(self, table: SampleTable) -> np.ndarray | None:
        """Weights of training samples in the loss as float32; None for equal weights."""

    def monitor(self, outputs: np.ndarray, table: SampleTable) -> dict[str, float]:
        """The values of `Config.monitors`, computed from predictions as evaluation computes them."""

    def predictions_csv(self, outputs: np.ndarray, table: SampleTable) -> str:
        """The predictions table as text."""

    def metrics(self, predictions: Path, *, top_k: int) -> dict[str, Any]:
        """Every metric of a predictions table, in the form of `metrics.json`."""

    def picture_titles(self, outputs: np.ndarray, table: SampleTable) -> list[str]:
        """A short title for the picture of each sample: truth and prediction."""

    def picture_names(self, table: SampleTable) -> list[str]:
        """A short title for the picture of each sample: its truth."""

    def summary(self, table: SampleTable) -> Mapping[str, Mapping[str, int]]:
        """Samples by split and class."""
