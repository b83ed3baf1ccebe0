"""Building blocks that several networks share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from cvlab.config import ModelConfig
from cvlab.config_values import Count, Positive
from cvlab.models.batchnorm import batch_normalization
from cvlab.models.noise import gaussian_noise

if TYPE_CHECKING:
    import keras

Rate = Annotated[float, Field(ge=0, lt=1)]


class AffectConfig(ModelConfig):
    """Settings that the three networks of Hewitt & Gunes 2018 share.

    Attributes:
        width: Multiplies the number of filters of every convolution.
        batchnorm: Whether BatchNorm follows every layer; without it the layers have biases instead.
        batchnorm_momentum: Share of the moving averages that a step keeps. Keras' 0.99 lags for several hundred
            steps, longer than training on a small data set lasts.
        dense_units: Units of the dense layers of the head.
        dropout: Rate of dropout in the head.
    """

    width: Positive = 1.0
    batchnorm: bool = True
    batchnorm_momentum: Rate = 0.9
    dense_units: tuple[Count, ...] = ()
    dropout: Rate = 0.5

    @property
    def has_batchnorm(self) -> bool:
        """Whether the network has BatchNorm."""
        return self.batchnorm

    def filters(self, count: int) -> int:
        """Scales a number of filters by `width`."""
        return max(1, round(count * self.width))


class DenseHeadConfig(AffectConfig):
    """Settings of the networks that end in two dense layers."""

    smallest_image: ClassVar[int] = 32
    noise: Rate = 0.2
    dense_units: tuple[Count, ...] = (1024, 1024)


def normalise(x: keras.KerasTensor, config: AffectConfig) -> keras.KerasTensor:
    """BatchNorm (if the settings have it), then ReLU."""
    import keras

    if config.batchnorm:
        x = batch_normalization(config.batchnorm_momentum)(x)
    return keras.layers.ReLU()(x)


def convolution(x: keras.KerasTensor, filters: int, size: int, config: AffectConfig) -> keras.KerasTensor:
    """Convolution with same padding, BatchNorm, ReLU."""
    import keras

    filters = config.filters(filters)
    return normalise(keras.layers.Conv2D(filters, size, padding="same", use_bias=not config.batchnorm)(x), config)


def pool_with_noise(x: keras.KerasTensor, noise: float) -> keras.KerasTensor:
    """Max pooling by 2, then multiplicative Gaussian noise (GaussianDropout) while training."""
    import keras

    return gaussian_noise(noise)(keras.layers.MaxPooling2D(2)(x))


def dense_layers(config: AffectConfig) -> list[keras.layers.Layer]:
    """The dense layers of a head, each with BatchNorm, ReLU and dropout."""
    import keras

    layers: list[keras.layers.Layer] = []
    for units in config.dense_units:
        layers.append(keras.layers.Dense(units, use_bias=not config.batchnorm))
        if config.batchnorm:
            layers.append(keras.layers.BatchNormalization(momentum=config.batchnorm_momentum))
        layers += [keras.layers.ReLU(), keras.layers.Dropout(config.dropout)]
    return layers
