"""Weight files as Keras writes them, and Keras' cache with such a file in it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvlab.models.backbones import NETWORKS


def write_old(path: Path, model: Any, *, below: str = "") -> Path:
    """Writes the weights of a model in the format of `.h5` files before Keras 3."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        group = file.create_group(below) if below else file
        group.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            own = group.create_group(layer.name)
            weights = [*layer.trainable_weights, *layer.non_trainable_weights]
            names = [f"{layer.name}/{weight.name}_{i}:0" for i, weight in enumerate(weights)]
            own.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, weights, strict=True):
                own[name] = np.asarray(weight)
    return path


def in_cache(network: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `file`, in a folder `models`, the published ImageNet weights of a network, in Keras' cache."""
    assert file.parent.name == "models"
    digest = hashlib.md5(file.read_bytes()).hexdigest()
    monkeypatch.setitem(NETWORKS, network, replace(NETWORKS[network], digest=digest))
    monkeypatch.setenv("KERAS_HOME", str(file.parent.parent))


def toy_backbone(*, filters: int = 4, seed: int = 0) -> Any:
    """A small network with what the large ones have: BatchNorm, a network inside, fixed statistics, two of a kind."""
    import keras

    x = inputs = keras.Input((8, 8, 3))
    x = keras.layers.Normalization(name="statistics")(x)
    x = keras.layers.Conv2D(filters, 3, name="first")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    stem = [keras.layers.BatchNormalization(name="inner_norm"), keras.layers.Conv2D(filters, 1, name="inner")]
    x = keras.Sequential(stem, name="stem")(x)
    x = keras.layers.Dropout(0.2)(x)
    x = keras.layers.SeparableConv2D(6, 3, name="second")(x)
    model = keras.Model(inputs, x, name="backbone")
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    model.get_layer("statistics").finalize_state()
    return model
