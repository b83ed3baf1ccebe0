"""U-Net whose encoder is VGG16, with ImageNet weights or new ones (Pravitasari et al. 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from cvlab.config_values import Count
from cvlab.models.backbones import NETWORKS
from cvlab.models.decoder import DecoderConfig, decoder
from cvlab.models.pretrained import PretrainedConfig
from cvlab.models.pretrained import find_weights as find_weights
from cvlab.models.pretrained import load_pretrained as load_pretrained
from cvlab.models.pretrained import to_download as to_download

if TYPE_CHECKING:
    import keras

ENCODER = "VGG16"
# The last convolution of each of VGG16's blocks with its channels; that of the fifth is the bridge.
OUTPUTS = {"block1_conv2": 64, "block2_conv2": 128, "block3_conv3": 256, "block4_conv3": 512, "block5_conv3": 512}


class Config(PretrainedConfig, DecoderConfig):
    """Settings of `unet_vgg16`.

    Attributes:
        decoder_filters: Of the four steps of the decoder, from coarse to fine.
    """

    only_network: ClassVar[str | None] = ENCODER
    smallest_image: ClassVar[int] = NETWORKS[ENCODER].smallest

    name: Literal["unet_vgg16"] = "unet_vgg16"
    decoder_filters: tuple[Count, Count, Count, Count] = (512, 256, 128, 64)


def backbone(x: keras.KerasTensor, config: Config) -> list[keras.KerasTensor]:
    """The convolutions of VGG16, without the pooling behind the last.

    Returns:
        Features of 64, 128, 256 and 512 channels from the image's size down to an eighth, then the bridge: 512 at a
        sixteenth.
    """
    import keras

    vgg = keras.applications.VGG16(include_top=False, weights=None, input_tensor=x, input_shape=tuple(x.shape[1:]))
    return [vgg.get_layer(name).output for name in OUTPUTS]


def head(config: Config) -> list[keras.layers.Layer]:
    """The decoder."""
    return [decoder(config, channels=tuple(OUTPUTS.values()), filters=config.decoder_filters)]
