"""VGGNet variant of Hewitt & Gunes 2018 (arXiv 1807.08775): five pairs of 3x3 convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cvlab.models.blocks import DenseHeadConfig, convolution, dense_layers, pool_with_noise

if TYPE_CHECKING:
    import keras


class Config(DenseHeadConfig):
    """Settings of `vggnet`."""

    name: Literal["vggnet"] = "vggnet"


def backbone(x: keras.KerasTensor, config: Config) -> keras.KerasTensor:
    """Pairs of 3x3 convolutions with 16, 32, 64, 128, 128 filters, each pair with pooling and noise."""
    for filters in (16, 32, 64, 128, 128):
        x = convolution(convolution(x, filters, 3, config), filters, 3, config)
        x = pool_with_noise(x, config.noise)
    return x


def head(config: Config) -> list[keras.layers.Layer]:
    """Two dense layers of 1,024 units."""
    import keras

    return [keras.layers.Flatten(), *dense_layers(config)]
