"""Built-in Keras layers that compute their training step in another way.

Only the instance's `call` is replaced. Class, name, settings, variables and saved file stay those of the built-in
layer: a saved model opens with plain Keras, and a clone or a reopened model computes as Keras does.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import keras

    LayerT = TypeVar("LayerT", bound=keras.layers.Layer)


def replace_call(layer: LayerT, call: Callable[..., Any]) -> LayerT:
    """Gives a layer another `call` where it runs in TensorFlow on the CPU; returns the layer.

    On a GPU, XLA fuses these steps by itself; the other backends compile too.

    Args:
        layer: A built-in layer.
        call: Takes the layer, then what the `call` of its class takes, which it may use as `type(layer).call`.
    """
    if _on_tensorflow_cpu():
        layer.call = MethodType(call, layer)
    return layer


def _on_tensorflow_cpu() -> bool:
    import keras

    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.config.get_visible_devices("GPU")
