"""Losses and running metrics of masks. Importing this module imports Keras.

Truth and prediction are (batch, height, width, 1): 0 or 1, and scores from 0 to 1. Everything is computed in float32,
whatever the precision of the network: sums over pixels overflow half precision.

With t the truth and p the scores, TP = sum(t p), FP = sum((1 - t) p) and FN = sum(t (1 - p)) over all pixels of a
batch. So an image without the structure, which has no Dice of its own, only adds its false positives.
"""

from __future__ import annotations

from typing import Any

import keras

from cvlab.tasks import segmentation_settings as settings
from cvlab.tasks.losses import PACKAGE, FocalCrossEntropy

# In the denominator: keeps value and gradient finite where truth and scores are 0 everywhere.
EPSILON = 1e-6
THRESHOLD = 0.5
# Counts are kept in units and a rest, since float32 holds whole numbers up to 2^24 only: an epoch has more pixels.
UNIT = 4096.0


def make_loss(loss: settings.Loss) -> keras.losses.Loss:
    """Returns the loss that the settings stand for."""
    match loss:
        case settings.BinaryCrossEntropy():
            return keras.losses.BinaryCrossentropy(dtype="float32")
        case settings.DiceCrossEntropy(weight=weight):
            return DiceCrossEntropyLoss(weight)
        case settings.Focal(gamma=gamma, alpha=alpha):
            return FocalCrossEntropy(gamma, alpha)
        case settings.Tversky(alpha=alpha, beta=beta):
            return TverskyLoss(alpha, beta)
    return DiceLoss()


def training_metrics() -> list[keras.metrics.Metric]:
    """Returns what is shown while an epoch runs: Dice, IoU and the accuracy of pixels."""
    return [PooledDice(), PooledIoU(), PixelAccuracy()]


def _soft_counts(y_true: Any, y_pred: Any) -> tuple[Any, Any, Any]:
    """TP, FP and FN of a batch."""
    ops = keras.ops
    true_positive = ops.sum(y_true * y_pred)
    return true_positive, ops.sum((1.0 - y_true) * y_pred), ops.sum(y_true * (1.0 - y_pred))


@keras.saving.register_keras_serializable(package=PACKAGE)
class DiceLoss(keras.losses.Loss):
    """1 - (2 TP + e) / (2 TP + FP + FN + e) with e = 1e-6, a scalar (Milletari et al. 2016, without squares).

    It is computed as (FP + FN) / (2 TP + FP + FN + e), the same without the loss of digits near 0. It is 0 where truth
    and scores are 0 everywhere. Weights of samples have no meaning here, since a batch has one value.
    """

    def __init__(self, name: str = "dice", **kwargs: Any) -> None:
        super().__init__(name=name, **(kwargs | {"dtype": "float32"}))

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of a batch."""
        true_positive, false_positive, false_negative = _soft_counts(y_true, y_pred)
        wrong = false_positive + false_negative
        return wrong / (2.0 * true_positive + wrong + EPSILON)


@keras.saving.register_keras_serializable(package=PACKAGE)
class DiceCrossEntropyLoss(keras.losses.Loss):
    """`weight` times `DiceLoss` plus (1 - `weight`) times the mean cross-entropy of the pixels, a scalar.

    Args:
        weight: From 0 to 1.
        name: Of the loss.
        **kwargs: Those of every loss of Keras.
    """

    def __init__(self, weight: float = 0.5, name: str = "dice_bce", **kwargs: Any) -> None:
        super().__init__(name=name, **(kwargs | {"dtype": "float32"}))
        self.weight = weight
        self.dice = DiceLoss()

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of a batch."""
        entropy = keras.ops.mean(keras.losses.binary_crossentropy(y_true, y_pred))
        return self.weight * self.dice.call(y_true, y_pred) + (1.0 - self.weight) * entropy

    def get_config(self) -> dict[str, Any]:
        """What a saved model keeps of it."""
        return {**super().get_config(), "weight": self.weight}


@keras.saving.register_keras_serializable(package=PACKAGE)
class TverskyLoss(keras.losses.Loss):
    """1 - (TP + e) / (TP + alpha FP + beta FN + e) with e = 1e-6, a scalar (Salehi et al. 2017).

    Computed as (alpha FP + beta FN) / (TP + alpha FP + beta FN + e). Weights of samples have no meaning here.

    Args:
        alpha: Weight of false positives, above 0.
        beta: Weight of false negatives, above 0.
        name: Of the loss.
        **kwargs: Those of every loss of Keras.
    """

    def __init__(self, alpha: float = 0.3, beta: float = 0.7, name: str = "tversky", **kwargs: Any) -> None:
        super().__init__(name=name, **(kwargs | {"dtype": "float32"}))
        self.alpha, self.beta = alpha, beta

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of a batch."""
        true_positive, false_positive, false_negative = _soft_counts(y_true, y_pred)
        wrong = self.alpha * false_positive + self.beta * false_negative
        return wrong / (true_positive + wrong + EPSILON)

    def get_config(self) -> dict[str, Any]:
        """What a saved model keeps of it."""
        return {**super().get_config(), "alpha": self.alpha, "beta": self.beta}


class _PixelMetric(keras.metrics.Metric):
    """A metric of the counts TP, FP, FN and TN of all pixels so far, where a score of at least 0.5 is positive.

    The counts are exact up to 2^36 pixels, with images of up to 4096x4096 and batches of up to 4,096.
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(name=name, **(kwargs | {"dtype": "float32"}))
        self.units = self.add_variable((4,), initializer="zeros", name="units")
        self.rest = self.add_variable((4,), initializer="zeros", name="rest")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch, (batch, height, width, 1); weights of samples do not count, as in evaluation."""
        ops = keras.ops
        truth = ops.cast(y_true, "float32")
        called = ops.cast(ops.cast(y_pred, "float32") >= THRESHOLD, "float32")
        true_positive, positive, called_positive = (
            ops.sum(of, axis=(1, 2, 3)) for of in (truth * called, truth, called)
        )
        false_positive, false_negative = called_positive - true_positive, positive - true_positive
        pixels = ops.cast(ops.prod(ops.shape(truth)[1:]), "float32")
        true_negative = pixels - positive - false_positive
        counts = ops.stack([true_positive, false_positive, false_negative, true_negative])
        units = ops.floor(counts / UNIT)
        rest = self.rest + ops.sum(counts - units * UNIT, axis=1)
        carried = ops.floor(rest / UNIT)
        self.units.assign_add(ops.sum(units, axis=1) + carried)
        self.rest.assign(rest - carried * UNIT)

    def counts(self) -> tuple[Any, Any, Any, Any]:
        """TP, FP, FN and TN so far, each to the precision of float32."""
        counts = self.units * UNIT + self.rest
        return counts[0], counts[1], counts[2], counts[3]


@keras.saving.register_keras_serializable(package=PACKAGE)
class PooledDice(_PixelMetric):
    """2 TP / (2 TP + FP + FN) of all pixels so far; 1 where truth and prediction are both empty."""

    def __init__(self, name: str = "dice", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def result(self) -> Any:
        """The value so far."""
        true_positive, false_positive, false_negative, _ = self.counts()
        return _share(2.0 * true_positive, false_positive + false_negative)


@keras.saving.register_keras_serializable(package=PACKAGE)
class PooledIoU(_PixelMetric):
    """TP / (TP + FP + FN) of all pixels so far; 1 where truth and prediction are both empty."""

    def __init__(self, name: str = "iou", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def result(self) -> Any:
        """The value so far."""
        true_positive, false_positive, false_negative, _ = self.counts()
        return _share(true_positive, false_positive + false_negative)


@keras.saving.register_keras_serializable(package=PACKAGE)
class PixelAccuracy(_PixelMetric):
    """(TP + TN) / all pixels so far."""

    def __init__(self, name: str = "accuracy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def result(self) -> Any:
        """The value so far."""
        true_positive, false_positive, false_negative, true_negative = self.counts()
        return _share(true_positive + true_negative, false_positive + false_negative)


def _share(right: Any, wrong: Any) -> Any:
    """The share of what is right; 1 where there is nothing."""
    ops = keras.ops
    total = right + wrong
    return ops.where(total > 0, right / ops.maximum(total, 1.0), 1.0)
