"""Other ways to compute the training step that were tried and are not in cvlab, to be measured by `training_step`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import norm


def deviation(layer: Any) -> float:
    """The standard deviation of a GaussianDropout layer's noise."""
    return math.sqrt(layer.rate / (1 - layer.rate))


def next_seed(layer: Any) -> Any:
    import tensorflow as tf

    return tf.cast(tf.math.floormod(layer.seed_generator.next(), tf.int32.max - 1), tf.int32)


def quantile_table(layer: Any, inputs: Any, training: bool = False) -> Any:
    """16 random bits choose one of 65,536 equally likely values of a normal distribution."""
    import tensorflow as tf

    if not training:
        return inputs
    quantiles = 1 + deviation(layer) * norm.ppf((np.arange(65536) + 0.5) / 65536)
    shape = tf.shape(inputs)
    pairs = tf.concat([shape[:-1], [shape[-1] // 2]], axis=0)
    bits = tf.random.stateless_uniform(pairs, next_seed(layer), minval=None, maxval=None, dtype=tf.uint32)
    rows = tf.cast(tf.bitcast(bits, tf.uint16), tf.int32)
    return inputs * tf.reshape(tf.gather(tf.constant(quantiles, inputs.dtype), rows), shape)


def inverse_error_function(layer: Any, inputs: Any, training: bool = False) -> Any:
    """A uniform number through the quantile function."""
    import tensorflow as tf

    if not training:
        return inputs
    uniform = tf.random.stateless_uniform(tf.shape(inputs), next_seed(layer), -1.0, 1.0)
    noise = 1 + deviation(layer) * math.sqrt(2) * tf.math.erfinv(uniform)
    return inputs * tf.cast(noise, inputs.dtype)


def single_precision(layer: Any, inputs: Any, training: bool = False) -> Any:
    """TensorFlow's normal numbers, drawn in float32 whatever the precision of the network."""
    import tensorflow as tf

    if not training:
        return inputs
    noise = tf.random.stateless_normal(tf.shape(inputs), next_seed(layer), 1.0, deviation(layer))
    return inputs * tf.cast(noise, inputs.dtype)


NOISE: dict[str, Callable[..., Any]] = {
    "quantile table": quantile_table,
    "inverse error function": inverse_error_function,
    "single precision": single_precision,
}


def relu_after_pooling(x: Any, config: Any) -> Any:
    """VGGNet with the last ReLU of each block behind the pooling, which gives the same numbers."""
    import keras

    from cvlab.models.batchnorm import batch_normalization
    from cvlab.models.blocks import convolution
    from cvlab.models.noise import gaussian_noise

    for filters in (16, 32, 64, 128, 128):
        x = convolution(x, filters, 3, config)
        x = keras.layers.Conv2D(config.filters(filters), 3, padding="same", use_bias=False)(x)
        x = keras.layers.MaxPooling2D(2)(batch_normalization(config.batchnorm_momentum)(x))
        x = gaussian_noise(config.noise)(keras.layers.ReLU()(x))
    return x
