"""Heads that are a setting: a pooling of the backbone's features, then a list of dense layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from cvlab.config_values import Count, Settings
from cvlab.models.blocks import Rate

if TYPE_CHECKING:
    import keras

Pooling = Literal["avg", "max", "flatten"]
Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "linear"]


class HeadLayer(Settings):
    """A dense layer of a head: dense, BatchNorm, activation, dropout.

    Attributes:
        units: How many outputs it has.
        activation: Its activation.
        batchnorm: Whether BatchNorm stands between the dense layer and its activation.
        dropout: Rate of the dropout behind it; with 0 there is none.
    """

    units: Count
    activation: Activation = "relu"
    batchnorm: bool = False
    dropout: Rate = 0.0


def head_layers(
    pooling: Pooling, layers: Sequence[HeadLayer], *, batchnorm_momentum: float
) -> list[keras.layers.Layer]:
    """Builds the layers of a head, from the backbone's features (height, width, channels) on.

    Args:
        pooling: `avg` or `max` over height and width, or `flatten`.
        layers: The dense layers, in order.
        batchnorm_momentum: Share of BatchNorm's moving averages that a step keeps.
    """
    import keras

    pool = {
        "avg": keras.layers.GlobalAveragePooling2D,
        "max": keras.layers.GlobalMaxPooling2D,
        "flatten": keras.layers.Flatten,
    }
    built: list[keras.layers.Layer] = [pool[pooling]()]
    for layer in layers:
        built.append(keras.layers.Dense(layer.units))
        if layer.batchnorm:
            built.append(keras.layers.BatchNormalization(momentum=batchnorm_momentum))
        built.append(keras.layers.Activation(layer.activation))
        if layer.dropout:
            built.append(keras.layers.Dropout(layer.dropout))
    return built
