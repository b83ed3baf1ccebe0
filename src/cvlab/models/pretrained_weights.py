"""Weights of a backbone from a file: every layer of it, or an error that names the first layer that differs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvlab.errors import ConfigError, counted
from cvlab.models.imagenet import file_digest, imagenet_file
from cvlab.models.weight_files import (
    StoredLayer,
    StoredNetwork,
    UnreadableWeights,
    open_weights,
    read_array,
    stored_networks,
)

if TYPE_CHECKING:
    import keras

NO_WEIGHTS = "none"
IMAGENET = "imagenet"
# The layer of EfficientNet that has the statistics of its images.
NORMALIZATION = "normalization"
SHOWN_SHAPES = 4


@dataclass(frozen=True)
class Slot:
    """A layer of a backbone that is to get weights.

    Attributes:
        key: What a file stores it under.
        name: Its name.
        variables: Its variables, in the order in which files store them.
    """

    key: str | int
    name: str
    variables: Sequence[keras.Variable]


def load_pretrained(backbone: keras.Model, *, network: str, weights: str, image_size: tuple[int, int]) -> str:
    """Gives a backbone the weights of a file, all of them or none.

    Args:
        backbone: The network without its top; all its layers become trainable.
        network: Its name in `keras.applications`.
        weights: `imagenet`, or the path of a file.
        image_size: Height and width of the images.

    Returns:
        Where the weights come from, in words.

    Raises:
        ConfigError: The file is missing, is none of Keras' or does not fit.
    """
    path = imagenet_file(network, image_size) if weights == IMAGENET else Path(weights)
    try:
        with open_weights(path) as file:
            left = _fill(backbone, network, stored_networks(file))
        digest = file_digest(path, "sha256")
    except (UnreadableWeights, OSError) as error:
        raise ConfigError([f"model.weights: {path}: {error}."]) from error
    what = f"ImageNet weights of {network}" if weights == IMAGENET else f"backbone {network}"
    unused = f", less {counted(left, 'layer')} that the backbone has not" if left else ""
    return f"{what} from {path} (SHA-256 {digest[:12]}){unused}"


def _fill(backbone: keras.Model, network: str, stored: Sequence[StoredNetwork]) -> int:
    """Fills the backbone from the network that fits; returns how many layers of that are left over."""
    backbone.trainable = True  # The order of a layer's variables depends on it.
    slots = {True: list(_slots_in_order(backbone)), False: list(_slots_by_path(backbone))}
    misfits: list[tuple[int, str]] = []
    for candidate in stored:
        wanted = slots[candidate.ordered]
        misfit = _first_misfit(wanted, candidate.layers)
        if misfit is None:
            values = [[read_array(array) for array in candidate.layers[slot.key].arrays] for slot in wanted]
            _check_statistics(wanted, values, network)
            for slot, arrays in zip(wanted, values, strict=True):
                for variable, array in zip(slot.variables, arrays, strict=True):
                    variable.assign(array)
            finish_loading(backbone)
            return len(candidate.keys_of_layers() - {slot.key for slot in wanted})
        misfits.append(misfit)
    _, message = max(misfits, key=lambda misfit: misfit[0])
    raise UnreadableWeights(f"does not fit {network}: {message}")


def _check_statistics(wanted: Sequence[Slot], values: Sequence[Sequence[NDArray[Any]]], network: str) -> None:
    """Refuses EfficientNets that were built with `weights=None`: they scale their images in another way."""
    for slot, arrays in zip(wanted, values, strict=True):
        normalizes = slot.name.startswith(NORMALIZATION) and arrays[0].shape == (3,)
        if normalizes and np.all(arrays[0] == 0) and np.all(arrays[1] == 1):
            raise UnreadableWeights(
                f"holds a {network} that was not built for ImageNet weights (its layer '{slot.name}' has mean 0 and "
                "variance 1), and would get images of another scale here"
            )


def _first_misfit(wanted: Sequence[Slot], stored: Mapping[str | int, StoredLayer]) -> tuple[int, str] | None:
    """Returns how many layers fit, and what is wrong with the next one; None if all of them fit."""
    for i, slot in enumerate(wanted):
        here = [tuple(variable.shape) for variable in slot.variables]
        found = stored.get(slot.key)
        if found is None:
            return i, f"the layer '{slot.name}' is missing in the file; the {i} layers before it fit"
        there = [tuple(array.shape) for array in found.arrays]
        if here != there:
            return i, f"the layer '{slot.name}' has {_shapes(here)}; in the file '{found.name}' has {_shapes(there)}"
    return None


def _shapes(shapes: Sequence[tuple[int, ...]]) -> str:
    if len(shapes) == 1:
        return f"the shape {shapes[0]}"
    more = f" and {len(shapes) - SHOWN_SHAPES} more" if len(shapes) > SHOWN_SHAPES else ""
    return f"the shapes {', '.join(map(str, shapes[:SHOWN_SHAPES]))}{more}"


def _slots_in_order(backbone: keras.Model) -> Iterator[Slot]:
    """What the older format stores: the outermost layers with weights, in their order."""
    layers = [layer for layer in backbone.layers if layer.weights]
    for i, layer in enumerate(layers):
        yield Slot(i, layer.name, [*layer.trainable_weights, *layer.non_trainable_weights])


def _slots_by_path(model: keras.Model, above: str = "") -> Iterator[Slot]:
    """What Keras 3 stores: the innermost layers with weights, by a path that counts the layers of each class."""
    import keras

    counts: dict[str, int] = {}
    for layer in model.layers:
        kind = _snake_case(type(layer).__name__)
        count = counts[kind] = counts.get(kind, -1) + 1
        path = f"{above}layers/{kind}_{count}" if count else f"{above}layers/{kind}"
        if isinstance(layer, keras.Model):
            yield from _slots_by_path(layer, f"{path}/")
        elif layer.weights:
            yield Slot(path, layer.name, [*layer.trainable_weights, *layer.non_trainable_weights])


def _snake_case(name: str) -> str:
    """`BatchNormalization` to `batch_normalization`, `Conv2D` to `conv2d`, as Keras does it."""
    apart = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", apart).lower()


def finish_loading(model: keras.Model) -> None:
    """Makes the layers that compute with copies of their weights take them over.

    `Normalization` keeps its mean and variance as constants besides; assigning to the variables leaves those as they
    were, and what the layer computes is silently wrong.
    """
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.Model):
            finish_loading(layer)
        elif isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
