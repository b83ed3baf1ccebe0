"""Which layers of a backbone a stage trains. The head always trains."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any, Literal

from cvlab.config_values import TRAINABLE_FORMS
from cvlab.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    import keras


def freeze(backbone: keras.Model, trainable: Any, *, batchnorm_mode: Literal["train", "inference"]) -> None:
    """Sets `trainable` on every layer of the backbone; one that is frozen wholly runs as in prediction.

    Dropout and noise stay active in a frozen layer, and would change the features from step to step.

    Args:
        backbone: The network below the head; its layers are counted in Keras' order, the input layer first.
        trainable: `all`, `head`, `{first_frozen: N}`, `{last_layers: N}`, `{fraction: F}` (the first
            round((1 - F) L) of L layers are frozen) or `{from_layer: NAME}`.
        batchnorm_mode: `inference` freezes the BatchNorm layers of the unfrozen part too (statistics, gamma, beta).

    Raises:
        ConfigError: `trainable` does not fit this backbone.
    """
    import keras

    frozen = _frozen_layers(backbone, trainable)
    backbone.trainable = True
    for i, layer in enumerate(backbone.layers):
        fixed_norm = batchnorm_mode == "inference" and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = i >= frozen and not fixed_norm
    _run_as_in_prediction(backbone, always=not backbone.trainable_variables)


def _run_as_in_prediction(backbone: keras.Model, *, always: bool) -> None:
    """Has the backbone called with `training=False` whatever its surroundings do, or as they say.

    Calling it so when the network is connected does not suffice: a model hands its own `training` down to every layer,
    over what that was called with. Only the instance's `call` is replaced; the saved file stays what it was.
    """
    vars(backbone).pop("call", None)
    if always:
        backbone.call = MethodType(_call_as_in_prediction, backbone)


def _call_as_in_prediction(backbone: keras.Model, inputs: Any, training: bool | None = None, **options: Any) -> Any:
    return type(backbone).call(backbone, inputs, training=False, **options)


def _frozen_layers(backbone: keras.Model, trainable: Any) -> int:
    """Returns how many layers, from the first on, are frozen."""
    total = len(backbone.layers)
    if trainable == "all":
        return 0
    if trainable == "head":
        return total
    ((form, amount),) = trainable.items()
    if form == "from_layer":
        names: list[str] = [layer.name for layer in backbone.layers]
        if amount not in names:
            raise _misfit(f"expected the name of a layer of the backbone, received '{amount}'", amount, names)
        return names.index(amount)
    if form == "fraction":
        return round((1 - float(amount)) * total)
    if amount > total:
        raise _misfit(f"expected at most {total} for {form} (the layers of this backbone), received {amount}")
    return int(amount) if form == "first_frozen" else total - int(amount)


def _misfit(message: str, received: str = "", names: list[str] | None = None) -> ConfigError:
    return ConfigError(
        [f"stages: trainable: {message}{did_you_mean(received, names or []) or '.'} It may be {TRAINABLE_FORMS}."]
    )
