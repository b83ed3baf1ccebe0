"""Dropout injection (Ledda, Fumera & Roli 2023, arXiv 2302.02924): uncertainty of a network trained without dropout.

A second network over the same weights has dropout, always active, in front of chosen layers. Its passes scatter; their
mean is the prediction, their variance the uncertainty. The trained network stays as it is. What lies below the first
dropout is the same in every pass and is computed once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvlab.errors import ConfigError, did_you_mean
from cvlab.metrics.uncertainty import Cell, Moments, Values, mean_cell, moments_of
from cvlab.models.network import BACKBONE

if TYPE_CHECKING:
    import keras

Array = NDArray[Any]
Batches = Iterable[tuple[Array, Array]]

# The grid of the paper.
RATES = (0.001, 0.002, 0.005, 0.008, 0.01, *(step / 20 for step in range(1, 11)))
WHERE = "evaluate.dropout_injection.layers"


@dataclass(frozen=True)
class Reading:
    """How the outputs of a network are read.

    Attributes:
        of_scores: Whether they are scores of classes; else they are numbers.
        decode: From outputs to what is averaged: (n, k) numbers, or scores (n, ..., k) that sum to 1.
        losses: From the moments and the truth of a batch to the negative log-likelihoods.
    """

    of_scores: bool
    decode: Callable[[Array], Array]
    losses: Callable[[Moments, Array], Values]


@dataclass(frozen=True)
class InjectedNetwork:
    """A trained network with dropout in front of some of its layers, in two parts over the same weights.

    Attributes:
        below: From images to everything that dropout acts on first; None where that is the images.
        above: From there to the outputs, with the dropout.
        rate: The rate of all dropout; a variable, so that nothing is built anew for another one.
        seeds: Where all dropout has its random numbers from.
        layers: In front of which layers it is, as `model.json` names them.
    """

    below: keras.Model | None
    above: keras.Model
    rate: keras.Variable
    seeds: keras.random.SeedGenerator
    layers: tuple[str, ...]

    @classmethod
    def of(cls, model: keras.Model, layers: str | Sequence[str]) -> InjectedNetwork:
        """Injects dropout into a network as `models.network` connects it; `model` itself is not changed.

        Args:
            model: The trained network.
            layers: `head`, `all`, or names of layers (see `chosen_layers`).

        Raises:
            ConfigError: There is no such layer.
        """
        import keras

        chosen = chosen_layers(model, layers)
        rate = keras.Variable(RATES[0], trainable=False, dtype="float32", name="rate")
        surgery = _Surgery({id(layer) for layer in chosen.values()}, rate, keras.random.SeedGenerator(0))
        whole, before = surgery.rebuild(model)
        if any(tensor is image for tensor in before for image in whole.inputs):
            return cls(None, whole, rate, surgery.seeds, (*chosen,))
        below, above = keras.Model(whole.inputs, before), keras.Model(before, whole.outputs[0])
        return cls(below, above, rate, surgery.seeds, (*chosen,))

    def features(self, images: Array) -> Any:
        """Returns what is the same in every pass over a batch of images (n, height, width, 3)."""
        return images if self.below is None else self.below.predict_on_batch(images)

    def passes(self, features: Any, *, rate: float, samples: int, seed: Sequence[int]) -> Iterator[Array]:
        """Yields the outputs of one pass after the other over a batch.

        Args:
            features: What `features` made of the batch.
            rate: The share of values that is dropped.
            samples: How many passes.
            seed: Non-negative numbers; with the number of the pass they decide what is dropped.
        """
        self.rate.assign(rate)
        for number in range(samples):
            state = np.random.SeedSequence([*seed, number]).generate_state(2)
            self.seeds.state.assign(np.asarray(state, dtype=self.seeds.state.dtype))
            yield np.asarray(self.above.predict_on_batch(features))


def chosen_layers(model: keras.Model, layers: str | Sequence[str]) -> dict[str, keras.layers.Layer]:
    """Returns the layers that a setting means, by their names in `model.json` (`output`, `backbone/conv2d_1`).

    Args:
        model: The trained network.
        layers: `head` for the dense and convolution layers outside of the backbone, the output too; `all` for every
            dense and convolution layer; or names. Where only one layer has it, the last part of a name is enough.

    Raises:
        ConfigError: There is no such layer.
    """
    found = dict(_inner_layers(model))
    if isinstance(layers, str):
        weighted = {name: layer for name, layer in found.items() if _is_dense_or_convolution(layer)}
        inside = f"{BACKBONE}/"
        return {name: layer for name, layer in weighted.items() if layers == "all" or not name.startswith(inside)}
    short = [name.rpartition("/")[2] for name in found]
    names = {end: name for end, name in zip(short, found, strict=True) if short.count(end) == 1}
    names |= {name: name for name in found}
    unknown = [name for name in layers if name not in names]
    if unknown:
        expected = f"{WHERE}: expected names of layers as in model.json"
        hints = [did_you_mean(name, names) or "." for name in unknown]
        raise ConfigError([f"{expected}, received '{name}'{hint}" for name, hint in zip(unknown, hints, strict=True)])
    wanted = {names[name] for name in layers}
    return {name: layer for name, layer in found.items() if name in wanted}


def _inner_layers(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.layers.Layer]]:
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _inner_layers(layer, f"{prefix}{layer.name}/")
        elif not isinstance(layer, keras.layers.InputLayer):
            yield f"{prefix}{layer.name}", layer


def _is_dense_or_convolution(layer: keras.layers.Layer) -> bool:
    from keras import layers

    return isinstance(
        layer,
        layers.Dense
        | layers.Conv1D
        | layers.Conv2D
        | layers.Conv3D
        | layers.Conv2DTranspose
        | layers.DepthwiseConv2D
        | layers.SeparableConv2D,
    )


@dataclass(frozen=True)
class _Surgery:
    """Connects layers anew, with dropout in front of those whose ids are in `chosen`."""

    chosen: set[int]
    rate: keras.Variable
    seeds: keras.random.SeedGenerator

    def rebuild(self, model: keras.Model) -> tuple[keras.Model, list[keras.KerasTensor]]:
        """Returns a model over the same layers, and those of its tensors that come before all that is random."""
        import keras

        before: dict[int, keras.KerasTensor] = {}
        random: set[int] = set()

        def same(layer: Any) -> Any:
            return self.rebuild(_functional(layer))[0] if self._holds(layer) else layer

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            read = [x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor)]
            is_random = id(layer) in self.chosen or self._holds(layer) or any(id(x) in random for x in read)
            if is_random:
                before.update({id(x): x for x in read if id(x) not in random})
            if id(layer) in self.chosen:
                args = (keras.tree.map_structure(self._dropout(), args[0]), *args[1:])
            outputs = layer(*args, **kwargs)
            if is_random:
                random.update(id(x) for x in keras.tree.flatten(outputs))
            return outputs

        rebuilt = keras.models.clone_model(_functional(model), clone_function=same, call_function=call)
        return rebuilt, [*before.values()]

    def _dropout(self) -> keras.layers.Layer:
        from cvlab.models.injected_dropout import InjectedDropout

        return InjectedDropout(self.rate, self.seeds)

    def _holds(self, layer: Any) -> bool:
        import keras

        return isinstance(layer, keras.Model) and any(id(inner) in self.chosen for _, inner in _inner_layers(layer))


def _functional(model: keras.Model) -> keras.Model:
    import keras

    return keras.Model(model.inputs, model.outputs, name=model.name) if isinstance(model, keras.Sequential) else model


def rate_losses(
    network: InjectedNetwork, batches: Batches, reading: Reading, *, samples: int, seed: Sequence[int]
) -> dict[float, Cell]:
    """Returns the mean negative log-likelihood of the truth for each rate of the grid; the same passes for all.

    Args:
        network: The injected network.
        batches: Images and truth, in order; read once.
        reading: How the outputs are read.
        samples: How many passes.
        seed: Non-negative numbers that decide, with batch and pass, what is dropped.
    """
    losses: dict[float, list[Values]] = {rate: [] for rate in RATES}
    for number, (images, truth) in enumerate(batches):
        features = network.features(images)
        for rate in RATES:
            moments = _moments(network, features, reading, rate=rate, samples=samples, seed=(*seed, number))
            losses[rate].append(reading.losses(moments, truth))
    return {rate: mean_cell(np.concatenate(found)) for rate, found in losses.items()}


def best_rate(losses: dict[float, Cell]) -> float | None:
    """Returns the rate with the lowest loss, the first of equals; None where it is undefined for all."""
    defined = {rate: cell["value"] for rate, cell in losses.items() if cell["value"] is not None}
    return min(defined, key=defined.__getitem__) if defined else None


def uncertain(
    network: InjectedNetwork, batches: Batches, reading: Reading, *, rate: float, samples: int, seed: Sequence[int]
) -> Iterator[tuple[Moments, Array]]:
    """Yields the moments of the passes over each batch, and its truth; as `rate_losses`, at one rate."""
    for number, (images, truth) in enumerate(batches):
        features = network.features(images)
        yield _moments(network, features, reading, rate=rate, samples=samples, seed=(*seed, number)), truth


def _moments(
    network: InjectedNetwork, features: Any, reading: Reading, *, rate: float, samples: int, seed: Sequence[int]
) -> Moments:
    passes = network.passes(features, rate=rate, samples=samples, seed=seed)
    return moments_of(map(reading.decode, passes), of_scores=reading.of_scores)
