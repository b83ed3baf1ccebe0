"""U-Net of Ronneberger et al. 2015 (arXiv 1505.04597) with same padding: four steps down, four steps up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cvlab.config_values import Count
from cvlab.models.decoder import DecoderConfig, decoder, two_convolutions

if TYPE_CHECKING:
    import keras


class Config(DecoderConfig):
    """Settings of `unet`.

    Attributes:
        filters: Of the convolutions of the four levels from fine to coarse, then of the bridge.
    """

    name: Literal["unet"] = "unet"
    batchnorm: bool = False
    filters: tuple[Count, Count, Count, Count, Count] = (64, 128, 256, 512, 1024)


def backbone(x: keras.KerasTensor, config: Config) -> list[keras.KerasTensor]:
    """The encoder: two convolutions of 3x3 a level, and max pooling by 2 between the levels.

    Returns:
        The features of the four levels, then those of the bridge.
    """
    import keras

    levels: list[keras.KerasTensor] = []
    for level, filters in enumerate(config.filters, start=1):
        if levels:
            x = keras.layers.MaxPooling2D(2, name=f"block{level - 1}_pool")(x)
        x = two_convolutions(x, filters, config, name=f"block{level}")
        levels.append(x)
    return levels


def head(config: Config) -> list[keras.layers.Layer]:
    """The decoder, with the filters of the encoder's levels."""
    return [decoder(config, channels=config.filters, filters=config.filters[-2::-1])]
