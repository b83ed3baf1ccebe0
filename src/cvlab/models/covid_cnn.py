"""COVID CNN of Reshi et al. 2021 (Complexity, 6621607): up to six convolutions, then two dense layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from cvlab.config import ModelConfig
from cvlab.models.blocks import Rate
from cvlab.models.head import HeadLayer, head_layers

if TYPE_CHECKING:
    import keras

FILTERS = (64, 64, 128, 128, 256, 256)


class Config(ModelConfig):
    """Settings of `covid_cnn`.

    Attributes:
        depth: How many of the six convolutions there are; the paper varies it from 1 to 6. Each halves the image, so
            that few of them leave many features to the first dense layer (360,000 at depth 1 and 150x150).
        dropout: Rate of dropout after each convolution.
        batchnorm_momentum: Share of the moving averages that a step keeps. Keras' 0.99 lags for several hundred
            steps, longer than training on a small data set lasts.
        head: The dense layers.
    """

    name: Literal["covid_cnn"] = "covid_cnn"
    depth: Annotated[int, Field(ge=1, le=len(FILTERS))] = len(FILTERS)
    dropout: Rate = 0.2
    batchnorm_momentum: Rate = 0.9
    head: tuple[HeadLayer, ...] = (HeadLayer(units=512, batchnorm=True), HeadLayer(units=256, batchnorm=True))

    @classmethod
    def smallest_side(cls, settings: Mapping[str, Any]) -> tuple[int, str]:
        """Returns 2 to the power of the depth: each of its layers halves the image."""
        depth = settings.get("depth")
        depth = depth if isinstance(depth, int) and 1 <= depth <= len(FILTERS) else len(FILTERS)
        return 2**depth, f"covid_cnn of depth {depth}"

    @property
    def has_batchnorm(self) -> bool:
        """Whether the network has BatchNorm: always."""
        return True


def backbone(x: keras.KerasTensor, config: Config) -> keras.KerasTensor:
    """Convolutions of 3x3 with 64, 64, 128, 128, 256, 256 filters, each with pooling, BatchNorm, ReLU and dropout."""
    import keras

    for filters in FILTERS[: config.depth]:
        x = keras.layers.Conv2D(filters, 3, padding="same")(x)
        x = keras.layers.MaxPooling2D(2)(x)
        x = keras.layers.BatchNormalization(momentum=config.batchnorm_momentum)(x)
        x = keras.layers.ReLU()(x)
        if config.dropout:
            x = keras.layers.Dropout(config.dropout)(x)
    return x


def head(config: Config) -> list[keras.layers.Layer]:
    """Flattens the features; then the dense layers of the settings."""
    return head_layers("flatten", config.head, batchnorm_momentum=config.batchnorm_momentum)
