"""What the U-Nets share (Ronneberger et al. 2015): pairs of convolutions, and the decoder with its settings.

The backbone of a U-Net is its encoder, a model with five outputs: the skips of four levels from fine (1) to coarse
(4), then the bridge at a sixteenth of the image's sides. The decoder goes back up from the bridge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from cvlab.config import ModelConfig
from cvlab.models.batchnorm import use_fused_kernel
from cvlab.models.blocks import Rate

if TYPE_CHECKING:
    import keras

DECODER = "decoder"
LEVELS = 4


class DecoderConfig(ModelConfig):
    """Settings that the U-Nets share.

    Attributes:
        batchnorm: Whether BatchNorm follows every convolution of 3x3 that is not of a pretrained encoder.
        batchnorm_momentum: Share of the moving averages that a step keeps. Keras' 0.99 lags for several hundred
            steps, longer than training on a small data set lasts.
        dropout: Rate of dropout behind each pair of convolutions of the decoder; with 0 there is none.
        upsampling: What doubles the sides: `transpose`, a transposed convolution of 2x2; or `resize`, bilinear, then
            a convolution of 3x3, which leaves no chequered pattern (Odena et al. 2016).
    """

    smallest_image: ClassVar[int] = 2**LEVELS
    size_multiple: ClassVar[int] = 2**LEVELS
    tasks: ClassVar[tuple[str, ...]] = ("segmentation",)

    batchnorm: bool = True
    batchnorm_momentum: Rate = 0.9
    dropout: Rate = 0.0
    upsampling: Literal["transpose", "resize"] = "transpose"

    @classmethod
    def smallest_side(cls, settings: Mapping[str, Any]) -> tuple[int, str]:
        """Returns the smallest side of an image that the encoder takes, and the name of the model."""
        return cls.smallest_image, str(cls.model_fields["name"].default)

    @property
    def has_batchnorm(self) -> bool:
        """Whether the network has BatchNorm that is new; VGG16 has none of its own."""
        return self.batchnorm


def two_convolutions(x: keras.KerasTensor, filters: int, config: DecoderConfig, *, name: str) -> keras.KerasTensor:
    """Two convolutions of 3x3, each with BatchNorm (if the settings have it) and ReLU.

    Args:
        x: Features (height, width, channels).
        filters: Of each convolution.
        config: The settings.
        name: What the names of the layers begin with.
    """
    import keras

    for i in (1, 2):
        # He et al. 2015, as in the paper: without BatchNorm, Keras' default makes the signal fade from layer to layer.
        x = keras.layers.Conv2D(filters, 3, padding="same", kernel_initializer="he_normal", name=f"{name}_conv{i}")(x)
        if config.batchnorm:
            norm = keras.layers.BatchNormalization(momentum=config.batchnorm_momentum, name=f"{name}_norm{i}")
            x = use_fused_kernel(norm)(x)
        x = keras.layers.ReLU(name=f"{name}_relu{i}")(x)
    return x


def decoder(config: DecoderConfig, *, channels: Sequence[int], filters: Sequence[int]) -> keras.Model:
    """Builds the decoder of a U-Net, for images of any size that halves four times.

    Each step doubles the sides, puts the skip of that level beside (Concatenate), and convolves twice.

    Args:
        config: The settings.
        channels: Of the five outputs of the encoder: skips 1 to 4, then the bridge.
        filters: Of the four steps, from coarse (4) to fine (1).

    Returns:
        A model from the list of the encoder's outputs to features of the image's size, with as many channels as the
        last step has filters.
    """
    import keras

    names = [*(f"skip{level}" for level in range(1, LEVELS + 1)), "bridge"]
    inputs = [keras.Input((None, None, count), name=name) for count, name in zip(channels, names, strict=True)]
    *skips, x = inputs
    for level, skip, count in zip(range(LEVELS, 0, -1), reversed(skips), filters, strict=True):
        name = f"up{level}"
        x = keras.layers.Concatenate(name=f"{name}_concat")([_doubled(x, count, config, name=name), skip])
        x = two_convolutions(x, count, config, name=name)
        if config.dropout:
            x = keras.layers.Dropout(config.dropout, name=f"{name}_dropout")(x)
    return keras.Model(inputs, x, name=DECODER)


def _doubled(x: keras.KerasTensor, filters: int, config: DecoderConfig, *, name: str) -> keras.KerasTensor:
    import keras

    if config.upsampling == "transpose":
        return keras.layers.Conv2DTranspose(filters, 2, strides=2, padding="same", name=f"{name}_transpose")(x)
    x = keras.layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_resize")(x)
    return keras.layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv0")(x)
