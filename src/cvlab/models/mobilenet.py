"""MobileNet variant of Hewitt & Gunes 2018 (arXiv 1807.08775): depthwise-separable convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from cvlab.models.blocks import AffectConfig, Rate, dense_layers, normalise

if TYPE_CHECKING:
    import keras

BODY = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


class Config(AffectConfig):
    """Settings of `mobilenet`."""

    smallest_image: ClassVar[int] = 32
    name: Literal["mobilenet"] = "mobilenet"
    dropout: Rate = 0.3


def backbone(x: keras.KerasTensor, config: Config) -> keras.KerasTensor:
    """A 3x3 convolution with stride 2, then 13 depthwise-separable convolutions up to 1,024 filters."""
    import keras

    bias = not config.batchnorm
    x = keras.layers.Conv2D(config.filters(32), 3, strides=2, padding="same", use_bias=bias)(x)
    x = normalise(x, config)
    for filters, stride in BODY:
        x = keras.layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=bias)(x)
        x = normalise(x, config)
        x = keras.layers.Conv2D(config.filters(filters), 1, use_bias=bias)(x)
        x = normalise(x, config)
    return x


def head(config: Config) -> list[keras.layers.Layer]:
    """Global average pooling, then dropout, or the dense layers that the settings ask for."""
    import keras

    return [keras.layers.GlobalAveragePooling2D(), *(dense_layers(config) or [keras.layers.Dropout(config.dropout)])]
