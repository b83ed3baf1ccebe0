"""AlexNet variant of Hewitt & Gunes 2018 (arXiv 1807.08775): five convolutions, 9x9 down to 3x3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cvlab.models.blocks import DenseHeadConfig, convolution, dense_layers, pool_with_noise

if TYPE_CHECKING:
    import keras


class Config(DenseHeadConfig):
    """Settings of `alexnet`."""

    name: Literal["alexnet"] = "alexnet"


def backbone(x: keras.KerasTensor, config: Config) -> keras.KerasTensor:
    """Convolutions 9x9x16, 7x7x32, 5x5x64, 3x3x128, 3x3x128, each with pooling and noise."""
    for filters, size in ((16, 9), (32, 7), (64, 5), (128, 3), (128, 3)):
        x = pool_with_noise(convolution(x, filters, size, config), config.noise)
    return x


def head(config: Config) -> list[keras.layers.Layer]:
    """Two dense layers of 1,024 units."""
    import keras

    return [keras.layers.Flatten(), *dense_layers(config)]
