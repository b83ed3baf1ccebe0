"""Pretrained backbones: any network of keras.applications by its name, with a head that is a setting."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from cvlab.config import ComponentConfig, ModelConfig
from cvlab.config_values import Preprocessing
from cvlab.errors import ConfigError, did_you_mean
from cvlab.models import pretrained_weights
from cvlab.models.backbones import NETWORKS
from cvlab.models.blocks import Rate
from cvlab.models.head import HeadLayer, Pooling, head_layers
from cvlab.models.imagenet import imagenet_file, missing_file
from cvlab.models.preprocessing import IMAGENET_DEVIATION
from cvlab.models.pretrained_weights import IMAGENET, NO_WEIGHTS
from cvlab.models.weight_files import is_checkpoint_of_a_run

if TYPE_CHECKING:
    import keras

SUFFIXES = (".h5", ".keras", ".hdf5")
# Defaults that follow from other settings; the validators put in what they stand for.
_OF_THE_NETWORK: Any = None
_LEFT_OUT = ""


def _known(name: str) -> str:
    if name not in NETWORKS:
        near = did_you_mean(name, NETWORKS) or f"; expected one of {', '.join(sorted(NETWORKS))}"
        raise ValueError(f"expected the name of a network of keras.applications, received '{name}'{near}")
    return name


def _source(text: str) -> str:
    """Makes the path of a file absolute."""
    if text in (IMAGENET, NO_WEIGHTS):
        return text
    if not text.endswith(SUFFIXES):
        hint = did_you_mean(text, (IMAGENET, NO_WEIGHTS))
        raise ValueError(f"expected 'imagenet', 'none' or the path of an .h5 or .keras file, received '{text}'{hint}")
    return os.path.abspath(os.path.expanduser(text))


class PretrainedConfig(ModelConfig):
    """Settings of models whose backbone is a network of `keras.applications`.

    Attributes:
        only_network: The name of that network; None where it is a setting, `network`.
        preprocessing: Null or left out: what the network's ImageNet weights expect.
        weights: `imagenet`, `none` (new weights from the seed) or the path of a file that Keras saved. Left out:
            `none` with `init_from`, else `imagenet`.
    """

    only_network: ClassVar[str | None] = None

    preprocessing: Annotated[Preprocessing, WithJsonSchema({"enum": [*get_args(Preprocessing), None]})] = (
        _OF_THE_NETWORK
    )
    weights: Annotated[str, AfterValidator(_source)] = _LEFT_OUT

    @classmethod
    def network_in(cls, settings: Mapping[str, Any]) -> str | None:
        """Returns the name of the network that settings, which may be wrong, stand for; None if they name none."""
        network = cls.only_network or settings.get("network")
        return network if isinstance(network, str) and network in NETWORKS else None

    @property
    def network_name(self) -> str:
        """The name of the network in `keras.applications`."""
        network = self.network_in(dict(self))
        assert network is not None
        return network

    @field_validator("preprocessing", mode="before")
    @classmethod
    def _that_of_the_network(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None:
            return value
        network = cls.network_in(info.data)
        return NETWORKS[network].preprocessing if network else "unit"

    @field_validator("preprocessing")
    @classmethod
    def _rescaled_once(cls, value: Preprocessing, info: ValidationInfo) -> Preprocessing:
        network = cls.network_in(info.data)
        if network and NETWORKS[network].rescales and value != "none":
            raise ValueError(
                f"expected 'none' or null for {network}, which rescales 0..255 itself, received '{value}': the images "
                "would be rescaled twice"
            )
        return value

    @field_validator("weights", mode="before")
    @classmethod
    def _those_of_imagenet(cls, value: Any, info: ValidationInfo) -> Any:
        if value != _LEFT_OUT:
            return value
        return NO_WEIGHTS if info.data.get("init_from") else IMAGENET

    @field_validator("weights")
    @classmethod
    def _one_origin(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("init_from") and value != NO_WEIGHTS:
            raise ValueError(f"expected 'none' or nothing beside `init_from`, which brings weights, received '{value}'")
        return value


class _Network(ComponentConfig):
    """The field that others follow from; a base of its own puts it in front of those of `ModelConfig`."""

    network: Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": sorted(NETWORKS)})]


class Config(PretrainedConfig, _Network):
    """Settings of `pretrained`.

    Attributes:
        network: The name of the network in `keras.applications`.
        pooling: What makes a vector of the backbone's features.
        head: The dense layers between the pooling and the task's output.
        batchnorm_momentum: Share of the moving averages that a step keeps in the head.
    """

    name: Literal["pretrained"] = "pretrained"
    pooling: Pooling = "avg"
    head: tuple[HeadLayer, ...] = ()
    batchnorm_momentum: Rate = 0.9

    @classmethod
    def smallest_side(cls, settings: Mapping[str, Any]) -> tuple[int, str]:
        """Returns the smallest side of an image that the network takes, and its name."""
        network = cls.network_in(settings)
        return (NETWORKS[network].smallest, network) if network else (1, "")

    @property
    def title(self) -> str:
        """The name in `keras.applications`."""
        return self.network

    @property
    def has_batchnorm(self) -> bool:
        """Whether there is BatchNorm that is new; that of pretrained weights does not lag behind."""
        new_backbone = self.weights == NO_WEIGHTS and NETWORKS[self.network].batchnorm
        return new_backbone or any(layer.batchnorm for layer in self.head)


def backbone(x: keras.KerasTensor, config: Config) -> keras.KerasTensor:
    """The network without its top, as Keras builds it for its ImageNet weights, whatever the weights are."""
    import keras

    build = getattr(keras.applications, config.network)
    shape = tuple(x.shape[1:])
    if not NETWORKS[config.network].rescales:
        return build(include_top=False, weights=None, input_tensor=x, input_shape=shape).output
    plain = build(include_top=False, weights=None, input_shape=shape)
    efficientnet = config.network.startswith("EfficientNetB")
    return keras.models.clone_model(
        plain,
        input_tensors=x,
        clone_function=_copy_in_float32,
        call_function=_call_with_deviation if efficientnet else None,
    ).output


def _copy_in_float32(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Copies a layer; one that rescales the image computes in float32: bfloat16 cannot tell 256 grey levels apart."""
    import keras

    settings = layer.get_config()
    if isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization):
        settings["dtype"] = "float32"
    return type(layer).from_config(settings)


def _call_with_deviation(layer: keras.layers.Layer, *inputs: Any, **options: Any) -> keras.KerasTensor:
    """Calls a layer of EfficientNet, with the division behind its Normalization that the ImageNet weights need.

    Those weights were trained on (x - mean) / deviation, and Normalization with the variance that the file holds (the
    deviation) divides by its square root only. Keras adds the rest with `weights="imagenet"` alone: without it, the
    same weights from a file give other outputs.
    """
    import keras

    x = layer(*inputs, **options)
    if isinstance(layer, keras.layers.Normalization):
        scale = [1 / math.sqrt(deviation) for deviation in IMAGENET_DEVIATION]
        x = keras.layers.Rescaling(scale, dtype="float32", name="rescale_deviation")(x)
    return x


def head(config: Config) -> list[keras.layers.Layer]:
    """The pooling, then the dense layers of the settings."""
    return head_layers(config.pooling, config.head, batchnorm_momentum=config.batchnorm_momentum)


def find_weights(config: PretrainedConfig, image_size: tuple[int, int]) -> None:
    """Makes sure that the file of weights is there, before anything else is done; ImageNet's is downloaded.

    Raises:
        ConfigError: The file is missing, or cannot be downloaded.
    """
    if config.weights == IMAGENET:
        imagenet_file(config.network_name, image_size)
    elif config.weights != NO_WEIGHTS and not os.path.isfile(config.weights):
        raise ConfigError([f"model.weights: {config.weights}: there is no such file."])
    elif is_checkpoint_of_a_run(Path(config.weights)):
        raise ConfigError(
            [
                f"model.weights: {config.weights}: is the checkpoint of a run, which was trained on images that must "
                "not be judged by now. Name the run instead, so that they are known: model.init_from=RUN_DIR."
            ]
        )


def to_download(config: PretrainedConfig, image_size: tuple[int, int]) -> str:
    """Returns which file of weights is not here yet and would be downloaded; empty for none."""
    if config.weights != IMAGENET:
        return ""
    missing = missing_file(config.network_name, image_size)
    return f"the ImageNet weights of {config.network_name} ({missing})" if missing else ""


def load_pretrained(backbone: keras.Model, config: PretrainedConfig) -> str | None:
    """Gives the backbone the weights that the settings name; returns where they come from, None for new ones.

    Raises:
        ConfigError: The file is missing, is none of Keras' or does not fit.
    """
    if config.weights == NO_WEIGHTS:
        return None
    _, height, width, _ = backbone.input_shape
    return pretrained_weights.load_pretrained(
        backbone, network=config.network_name, weights=config.weights, image_size=(height, width)
    )
