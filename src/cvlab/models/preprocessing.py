"""From 0..255 RGB to what a backbone expects, as built-in Keras layers inside the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cvlab.config_values import Preprocessing

if TYPE_CHECKING:
    import keras

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


def preprocess(x: keras.KerasTensor, kind: Preprocessing) -> keras.KerasTensor:
    """Scales 0..255 RGB to what a backbone expects.

    `unit`: to [0, 1]. `tf`: to [-1, 1]. `torch`: by the mean and deviation of ImageNet. `caffe`: to BGR less the mean.
    `none`: not at all.

    It computes in float32 whatever the precision of the network: bfloat16 cannot tell 256 grey levels apart.
    """
    import keras

    if kind == "none":
        return x
    if kind == "caffe":
        x = keras.ops.flip(x, axis=-1)
        return keras.layers.Normalization(
            mean=CAFFE_MEAN_BGR, variance=(1.0,) * 3, dtype="float32", name="standardise"
        )(x)
    if kind == "tf":
        return keras.layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="rescale")(x)
    x = keras.layers.Rescaling(1 / 255, dtype="float32", name="rescale")(x)
    if kind == "torch":
        variance = tuple(deviation**2 for deviation in IMAGENET_DEVIATION)
        x = keras.layers.Normalization(mean=IMAGENET_MEAN, variance=variance, dtype="float32", name="standardise")(x)
    return x
