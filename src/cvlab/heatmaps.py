"""Grad-CAM (Selvaraju et al. 2017): where in an image the last convolution saw what speaks for a prediction.

With A_k the maps of the last convolution (with what stands behind it at the same size, such as BatchNorm and ReLU)
and y the sum of outputs that is explained: heat = ReLU(sum_k a_k A_k) with a_k the mean over all places of dy / dA_k,
divided by its maximum.

y is taken before the activation of the last layer (the logit): behind a softmax or sigmoid that is sure of itself every
gradient vanishes. The network is cut in two at A, and only the upper part is differentiated: a gradient into the
nested backbone from outside does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from cvlab.errors import CvlabError
from cvlab.models.network import BACKBONE

if TYPE_CHECKING:
    import keras

Images = NDArray[np.uint8]
Maps = NDArray[np.float32]

# As many as a gallery has: on JAX every other number is compiled anew.
CHUNK = 12
COLOURS = "inferno"
# How much of the picture the strongest and no heat cover; the rest shows the image in grey.
MOST_COVER, LEAST_COVER = 0.75, 0.25
BACKENDS = ("tensorflow", "jax")


@dataclass(frozen=True)
class HeatMapper:
    """A network cut at its last convolution.

    Attributes:
        below: From images to the maps of the last convolution.
        above: From these maps to the outputs, before the activation of the last layer where it has one.
        layer: The name of the layer whose output the maps are.
        of_logits: Whether `above` ends before the activation of the last layer.
    """

    below: keras.Model
    above: keras.Model
    layer: str
    of_logits: bool

    @classmethod
    def of(cls, model: keras.Model) -> HeatMapper:
        """Cuts a network as `models.network` connects it: preprocessing, backbone, head, one after the other.

        Raises:
            CvlabError: There is nothing to cut, or no gradient on this backend.
        """
        import keras

        if keras.backend.backend() not in BACKENDS:
            raise CvlabError(f"there are no gradients for the {keras.backend.backend()} backend")
        parts = model.operations
        names = [part.name for part in parts]
        if BACKBONE not in names:
            raise CvlabError(f"the network has no part called '{BACKBONE}'")
        place = names.index(BACKBONE)
        backbone, head = parts[place], parts[place + 1 :]
        layer, maps = _last_maps(backbone)
        logits = _without_activation(head[-1]) if head else None
        images = keras.Input(model.input_shape[1:])
        below = _chain(images, [*parts[1:place], keras.Model(backbone.inputs, maps)])
        rest = [] if maps is backbone.output else [keras.Model(maps, backbone.output)]
        above = _chain(keras.Input(maps.shape[1:]), [*rest, *head[:-1], *(head[-1:] if logits is None else [logits])])
        return cls(below, above, layer, logits is not None)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the maps."""
        height, width = self.below.output_shape[1:3]
        return int(height), int(width)

    def maps(self, images: Images, explained: Maps) -> Maps:
        """Returns the heat of each image, (n, height, width) in 0..1, as coarse as the last convolution.

        A map is 0 everywhere where nothing speaks for the prediction.

        Args:
            images: (n, height, width, 3) uint8.
            explained: (n, outputs) weights of the outputs; their weighted sum is what is explained.
        """
        chunks = [slice(start, start + CHUNK) for start in range(0, len(images), CHUNK)]
        found = [self._maps(images[chunk], explained[chunk]) for chunk in chunks]
        return np.concatenate(found) if found else np.zeros((0, *self.size), dtype=np.float32)

    def _maps(self, images: Images, explained: Maps) -> Maps:
        from keras import ops

        activations = ops.cast(self.below(ops.convert_to_tensor(images, "float32"), training=False), "float32")
        slopes = _gradient(self.above, activations, ops.convert_to_tensor(explained, "float32"))
        importance = ops.mean(slopes, axis=(1, 2), keepdims=True)
        heat = np.array(ops.relu(ops.sum(importance * activations, axis=-1)), dtype=np.float32)
        highest = heat.max(axis=(1, 2), keepdims=True)
        shares: Maps = np.divide(heat, highest, out=np.zeros_like(heat), where=highest > 0)
        return shares


def _last_maps(backbone: keras.Model) -> tuple[str, Any]:
    """Returns the last maps as large as those of the last convolution, with the name of their layer."""
    import keras

    layers = [layer for layer in backbone.layers if len(layer.output.shape) == 4]
    convolutions = [place for place, layer in enumerate(layers) if _has_convolution(layer)]
    if not convolutions:
        raise CvlabError("the backbone has no convolution")
    last = convolutions[-1]
    size = layers[last].output.shape[1:3]
    for layer in reversed([layer for layer in layers[last:] if layer.output.shape[1:3] == size]):
        if layer.output is backbone.output:
            return layer.name, layer.output
        try:
            keras.Model(layer.output, backbone.output)
        except ValueError:  # Something goes past this layer: it does not cut the network in two.
            continue
        return layer.name, layer.output
    raise CvlabError("the last convolution of the backbone does not stand between all that is below and above it")


def _has_convolution(layer: Any) -> bool:
    import keras

    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
    return isinstance(layer, kinds) or any(map(_has_convolution, getattr(layer, "layers", ())))


def _without_activation(layer: Any) -> keras.layers.Layer | None:
    """Returns a copy of a dense layer without its activation; None for another layer."""
    import keras

    if not isinstance(layer, keras.layers.Dense):
        return None
    copy = keras.layers.Dense.from_config({**layer.get_config(), "activation": "linear"})
    copy.build(layer.input.shape)
    copy.set_weights(layer.get_weights())
    return copy


def _chain(start: Any, parts: list[Any]) -> keras.Model:
    import keras

    x = start
    for part in parts:
        x = part(x)
    return keras.Model(start, x)


def _gradient(model: keras.Model, x: Any, weights: Any) -> Any:
    """Returns d sum(weights * model(x)) / dx; samples do not mix, since nothing is in training mode."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        def score(values: Any) -> Any:
            state = (model.trainable_variables, model.non_trainable_variables)
            outputs, _ = model.stateless_call(*state, values, training=False)
            return (outputs * weights).sum()

        return jax.grad(score)(x)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(model(x, training=False) * weights)
    return tape.gradient(total, x)


def overlay(images: Images, heat: Maps) -> Images:
    """Returns the images in grey with the heat over them, from dark (none) to bright yellow (most).

    Args:
        images: (n, height, width, 3) uint8.
        heat: (n, rows, columns) in 0..1, stretched to the images bilinearly.
    """
    height, width = images.shape[1:3]
    covers = [Image.fromarray(one).resize((width, height), Image.Resampling.BILINEAR) for one in heat]
    large = np.stack([np.asarray(cover) for cover in covers])[..., None]
    colours = colormaps[COLOURS](large[..., 0])[..., :3] * 255
    grey = images @ np.array([0.299, 0.587, 0.114])
    share = LEAST_COVER + (MOST_COVER - LEAST_COVER) * large
    mixed: Images = np.rint((1 - share) * grey[..., None] + share * colours).clip(0, 255).astype(np.uint8)
    return mixed
