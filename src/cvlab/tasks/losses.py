"""Losses and running metrics that Keras does not have. Importing this module imports Keras."""

from __future__ import annotations

from typing import Any

import keras

# The variance below which a batch counts as constant: a spread of 1e-3 changes the concordance by 0.5 %.
EPSILON = 1e-8
# How near to 1 a score counts in the focal factor: the gradient of a power below 1 is infinite at 0.
SMALLEST_DISTANCE = 1e-7
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
class FocalCrossEntropy(keras.losses.Loss):
    """(1 - p)^gamma times the cross-entropy of a sample, p the score of its true class (Lin et al. 2017).

    With a sigmoid, `alpha` also multiplies the loss of samples of the second class, and 1 - alpha that of the first.
    Label smoothing changes the cross-entropy alone. A sigmoid and a softmax over two classes have the same loss.

    Keras' own focal losses equal it where scores are not extreme. They are not used, since their gradient is no
    number where p is 1 and gamma below 1, and since the categorical one is flat where p is below 1e-7; here gamma 0
    is Keras' cross-entropy, value and gradient. 1 - p is taken as at least 1e-7.

    Args:
        gamma: 0 or more; the higher, the less count samples that are predicted well.
        alpha: Above 0 and below 1; None for equal weights.
        label_smoothing: The share of the truth that is moved to all classes evenly.
        name: Of the loss.
        **kwargs: Those of every loss of Keras.
    """

    def __init__(
        self,
        gamma: float = 2.0,
        alpha: float | None = None,
        label_smoothing: float = 0.0,
        name: str = "focal",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **(kwargs | {"dtype": "float32"}))
        self.gamma, self.alpha, self.label_smoothing = gamma, alpha, label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each sample, (batch,); `y_true` and `y_pred` are (batch, 1), or (batch, classes) one-hot."""
        ops = keras.ops
        binary = y_pred.shape[-1] == 1
        entropy_of = keras.losses.binary_crossentropy if binary else keras.losses.categorical_crossentropy
        entropy = entropy_of(y_true, y_pred, label_smoothing=self.label_smoothing)
        score = ops.sum(y_true * y_pred + (1 - y_true) * (1 - y_pred) if binary else y_true * y_pred, axis=-1)
        factor = ops.power(ops.maximum(1 - score, SMALLEST_DISTANCE), self.gamma)
        if self.alpha is not None:
            factor *= ops.sum(y_true * self.alpha + (1 - y_true) * (1 - self.alpha), axis=-1)
        return factor * entropy

    def get_config(self) -> dict[str, Any]:
        """What a saved model keeps of it."""
        own = {"gamma": self.gamma, "alpha": self.alpha, "label_smoothing": self.label_smoothing}
        return {**super().get_config(), **own}


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
