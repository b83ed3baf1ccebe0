"""BatchNorm (Ioffe & Szegedy 2015) that trains with TensorFlow's fused kernel.

Keras computes it from some twenty elementary operations in float32; the kernel passes over the activations far
less often and leaves them in the precision of the network, with statistics in float32 all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cvlab.models.layer_call import replace_call

if TYPE_CHECKING:
    import keras

KERNEL_TYPES = ("float32", "bfloat16", "float16")


def batch_normalization(momentum: float) -> keras.layers.BatchNormalization:
    """Returns Keras' BatchNorm layer, made to train with the fused kernel where there is one.

    Args:
        momentum: Share of the moving averages that a step keeps, 0 to 1.
    """
    import keras

    return use_fused_kernel(keras.layers.BatchNormalization(momentum=momentum))


def use_fused_kernel(layer: keras.layers.BatchNormalization) -> keras.layers.BatchNormalization:
    """Makes a BatchNorm layer train with the fused kernel, and returns it.

    Outputs, gradients and moving averages stay Keras' own up to rounding: to 1e-5 up to some 100,000 pixels a
    channel. Both add up in float32, the kernel in longer chains: over 6.5 million pixels (400 images of 128x128)
    the variance is off by 1e-3, Keras' by 3e-4, below what bfloat16 resolves (4e-3). Compiled by XLA, which the
    CPU does not use here, it would take E[x^2] - E[x]^2, less exact where means are far above deviations.

    What the kernel cannot do (other axes than the last of four, masks, float64, renormalisation, synchronised
    statistics) and inference are left to Keras.
    """
    return replace_call(layer, _call)


def _call(
    layer: keras.layers.BatchNormalization, inputs: Any, training: bool | None = None, mask: Any | None = None
) -> Any:
    if training and layer.trainable and mask is None and _fits_kernel(layer, inputs):
        return _train(layer, inputs)
    return type(layer).call(layer, inputs, training=training, mask=mask)


def _fits_kernel(layer: keras.layers.BatchNormalization, inputs: Any) -> bool:
    import keras

    kind = keras.backend.standardize_dtype(inputs.dtype)
    return (
        len(inputs.shape) == 4
        and layer.axis in (-1, 3)
        and kind in KERNEL_TYPES
        and kind == layer.compute_dtype
        and layer.variable_dtype == "float32"
        and not layer.renorm
        and not layer.synchronized
    )


def _train(layer: keras.layers.BatchNormalization, inputs: Any) -> Any:
    import tensorflow as tf

    channels = inputs.shape[3]
    unused = tf.constant([], tf.float32)
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=tf.convert_to_tensor(layer.gamma) if layer.scale else tf.ones(channels),
        offset=tf.convert_to_tensor(layer.beta) if layer.center else tf.zeros(channels),
        mean=unused,
        variance=unused,
        epsilon=layer.epsilon,
        data_format="NHWC",
        is_training=True,
    )
    # The kernel returns sums of squares over n - 1 (Bessel's correction), Keras averages those over n. With n = 1
    # the kernel divides by zero in places, and the answer is zero.
    pixels = tf.cast(tf.size(inputs, out_type=tf.int64) // channels, tf.float32)
    variance = tf.math.multiply_no_nan(variance, 1 - 1 / pixels)
    kept = layer.momentum
    layer.moving_mean.assign(layer.moving_mean * kept + mean * (1 - kept))
    layer.moving_variance.assign(layer.moving_variance * kept + variance * (1 - kept))
    return outputs
