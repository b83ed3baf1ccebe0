"""Losses and running metrics that Keras does not have. Importing this module imports Keras."""

from __future__ import annotations

from typing import Any

import keras

# The variance below which a batch counts as constant: a spread of 1e-3 changes the concordance by 0.5 %.
EPSILON = 1e-8
PACKAGE = "cvlab"


@keras.saving.register_keras_serializable(package=PACKAGE)
class ConcordanceLoss(keras.losses.Loss):
    """1 - CCC of the batch, averaged over the targets; from 0 (equal) to 2.

    CCC = 2 cov(t, p) / (s_t^2 + s_p^2 + (m_t - m_p)^2 + 1e-8), Lin 1989, with population moments of the batch. The
    1e-8 keeps value and gradient finite where truth and prediction are constant, as in a batch of one sample; the
    loss of such a batch is 1 and its gradient 0. It is computed in float32, whatever the precision of the model.
    Weights of samples have no meaning here, since a batch has one value.
    """

    def __init__(self, name: str = "concordance", **kwargs: Any) -> None:
        super().__init__(name=name, **(kwargs | {"dtype": "float32"}))

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of a batch, a scalar; `y_true` and `y_pred` are (batch, targets)."""
        ops = keras.ops
        truth_mean, prediction_mean = ops.mean(y_true, axis=0), ops.mean(y_pred, axis=0)
        truth, prediction = y_true - truth_mean, y_pred - prediction_mean
        covariance = ops.mean(truth * prediction, axis=0)
        spread = ops.mean(ops.square(truth), axis=0) + ops.mean(ops.square(prediction), axis=0)
        apart = ops.square(truth_mean - prediction_mean)
        return 1.0 - ops.mean(2.0 * covariance / (spread + apart + EPSILON))


@keras.saving.register_keras_serializable(package=PACKAGE)
class TargetRMSE(keras.metrics.Metric):
    """Root mean squared error of each target so far, averaged over the targets.

    Keras' RootMeanSquaredError takes one root over all targets: another number as soon as there are two, and not
    what evaluation calls RMSE.
    """

    def __init__(self, targets: int, name: str = "rmse", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.targets = targets
        self.squares = self.add_variable((targets,), initializer="zeros", name="squares")
        self.samples = self.add_variable((), initializer="zeros", name="samples")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch, (batch, targets); weights of samples do not count, as in evaluation."""
        ops = keras.ops
        errors = ops.cast(y_pred, self.dtype) - ops.cast(y_true, self.dtype)
        self.squares.assign_add(ops.sum(ops.square(errors), axis=0))
        self.samples.assign_add(ops.cast(ops.shape(errors)[0], self.dtype))

    def result(self) -> Any:
        """The value so far; 0 before the first batch."""
        ops = keras.ops
        return ops.mean(ops.sqrt(self.squares / ops.maximum(self.samples, 1.0)))

    def get_config(self) -> dict[str, Any]:
        """What a saved model keeps of it."""
        return {**super().get_config(), "targets": self.targets}
