"""A network: preprocessing, backbone, head and the task's output, in one Keras model that takes 0..255 RGB."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cvlab import registry
from cvlab.config import ModelConfig, StageConfig
from cvlab.models.freezing import freeze
from cvlab.models.preprocessing import preprocess

if TYPE_CHECKING:
    import keras

BACKBONE = "backbone"


@dataclass(frozen=True)
class Network:
    """The layers of a network, from which the model of each stage is connected.

    A stage gets a model of its own over the same layers, and one with other outputs than the stage before has a network
    of its own over the same backbone.

    A backbone with several outputs (the encoder of a U-Net) gives them as a list to the first layer of the head.
    """

    config: ModelConfig
    image_size: tuple[int, int]
    backbone: keras.Model
    head: list[keras.layers.Layer]

    def connect(self, stage: StageConfig) -> keras.Model:
        """Freezes what `stage` freezes and returns the model to train."""
        import keras

        freeze(self.backbone, stage.trainable, batchnorm_mode=stage.batchnorm_mode)
        images = keras.Input((*self.image_size, 3), name="image")
        x = self.backbone(preprocess(images, self.config.preprocessing))
        for layer in self.head:
            x = layer(x)
        return keras.Model(images, x, name=self.config.name)

    @property
    def backbone_is_frozen(self) -> bool:
        """Whether nothing of the backbone is trained, as the last `connect` left it."""
        return not self.backbone.trainable_variables

    @property
    def has_vector_features(self) -> bool:
        """Whether the backbone has one output; those of several levels together are too big to cache."""
        return len(self.backbone.outputs) == 1

    def split_at_features(self) -> tuple[keras.Model, keras.Model]:
        """Cuts the network behind its frozen backbone and what pools that, where nothing is random or trained.

        The backbone has one output (`has_vector_features`).

        Returns:
            A model from images to features (float32), and one from features to the outputs, over the same layers.
        """
        import keras

        pools = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D, keras.layers.Flatten)
        images = keras.Input((*self.image_size, 3), name="image")
        x = self.backbone(preprocess(images, self.config.preprocessing))
        head = list(self.head)
        while isinstance(head[0], pools):
            x = head.pop(0)(x)
        x = keras.ops.cast(x, "float32")
        features = y = keras.Input(x.shape[1:], dtype="float32", name="features")
        for layer in head:
            y = layer(y)
        return keras.Model(images, x, name="features"), keras.Model(features, y, name=f"{self.config.name}_head")

    def with_new_head(self, output: keras.layers.Layer) -> Network:
        """Returns a network over the same backbone whose head is new and ends in `output`."""
        module = registry.load(registry.MODELS, self.config.name)
        return replace(self, head=[*module.head(self.config), output])


def build_network(config: ModelConfig, *, image_size: tuple[int, int], output: keras.layers.Layer) -> Network:
    """Builds the layers of the network that `config` names, ending in the task's output layer."""
    import keras

    module = registry.load(registry.MODELS, config.name)
    images = keras.Input((*image_size, 3))
    backbone = keras.Model(images, module.backbone(images, config), name=BACKBONE)
    return Network(config, image_size, backbone, []).with_new_head(output)


def find_weights(config: ModelConfig, *, image_size: tuple[int, int]) -> None:
    """Makes sure that the file of weights that the settings name is there, if they name one.

    Raises:
        ConfigError: It is missing, or cannot be downloaded.
    """
    find = getattr(registry.load(registry.MODELS, config.name), "find_weights", None)
    if find:
        find(config, image_size)


def to_download(config: ModelConfig, *, image_size: tuple[int, int]) -> str:
    """Returns which file of weights `find_weights` would download, in words; empty for none."""
    missing = getattr(registry.load(registry.MODELS, config.name), "to_download", None)
    return str(missing(config, image_size)) if missing else ""


def load_pretrained(network: Network) -> str | None:
    """Gives the backbone the weights of the file that the settings name, if they name one.

    Returns:
        Where the weights come from, in words; None if the settings name no file.

    Raises:
        ConfigError: The file cannot be used.
    """
    load = getattr(registry.load(registry.MODELS, network.config.name), "load_pretrained", None)
    return load(network.backbone, network.config) if load else None


def describe_model(model: keras.Model) -> dict[str, Any]:
    """Returns the table of layers (nested ones too) and the parameter counts, as `model.json` holds them."""
    layers = list(_described_layers(model))
    total, trainable = parameter_counts(model)
    return {"name": model.name, "layers": layers, "total": total, "trainable": trainable, "frozen": total - trainable}


def _described_layers(model: keras.Model, prefix: str = "") -> Iterator[dict[str, Any]]:
    """The innermost layers; in front of their names stand those of the models that they are in."""
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _described_layers(layer, f"{prefix}{layer.name}/")
        else:
            yield _describe_layer(layer, prefix)


def _describe_layer(layer: keras.layers.Layer, prefix: str) -> dict[str, Any]:
    return {
        "name": prefix + layer.name,
        "type": type(layer).__name__,
        "output_shape": list(getattr(layer, "output", layer).shape) if hasattr(layer, "output") else None,
        "parameters": layer.count_params(),
        "trainable": bool(layer.trainable_variables),
    }


def parameter_counts(model: keras.Model) -> tuple[int, int]:
    """Returns the total and the trainable number of parameters."""
    sizes = [sum(math.prod(variable.shape) for variable in group) for group in (model.weights, model.trainable_weights)]
    return sizes[0], sizes[1]
