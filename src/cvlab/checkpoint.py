"""Exact checkpoints: weights, optimizer and everything else that a training needs to go on, in one file.

`last.keras` is an ordinary Keras file with one more member in its zip archive, `cvlab_state.json`, so that one
rename changes both. Keras restores weights and optimizer exactly; the member holds what Keras forgets: the states
of the seed generators (dropout), the running means of the epoch, patience counters, learning rate and history.
"""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cvlab.errors import RunFolderError
from cvlab.models.hdf5_file import UnreadableWeights, check_contents
from cvlab.models.keras_archive import RUN_STATE, WEIGHTS, check_members, check_written, read_member
from cvlab.models.pretrained_weights import finish_loading
from cvlab.run_folder import atomic_path
from cvlab.text import printable

if TYPE_CHECKING:
    import keras

MAX_REASON = 200


def save_training(path: Path, model: keras.Model, state: dict[str, Any]) -> None:
    """Saves the model with its optimizer and `state` (JSON), whole or not at all."""
    with atomic_path(path) as temporary:
        model.save(temporary)
        _add_state(temporary, state)


def save_inference(path: Path, model: keras.Model, state: dict[str, Any]) -> None:
    """Saves the model without optimizer and loss: smaller, and it opens without cvlab."""
    import keras

    with atomic_path(path) as temporary:
        keras.Model(model.inputs, model.outputs, name=model.name).save(temporary)
        _add_state(temporary, state)


def _add_state(path: Path, state: dict[str, Any]) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(RUN_STATE, json.dumps(state))


def read_state(path: Path) -> dict[str, Any]:
    """Reads the state that is saved inside a checkpoint.

    Raises:
        RunFolderError: There is no such checkpoint, or it is damaged.
    """
    if not path.is_file():
        raise RunFolderError(
            f"{path}: is missing: the run ended before it was saved, or it was removed. Put back a copy, or "
            "start the run anew."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(archive, own=True)
            broken = archive.testzip()
            if broken is not None:
                raise zipfile.BadZipFile(f"member {broken} is damaged")
            state = read_member(archive, RUN_STATE)
            if not isinstance(state, dict):
                raise UnreadableWeights(f"has a damaged {RUN_STATE} (expected an object)")
            return state
    except UnreadableWeights as error:
        raise RunFolderError(f"{path}: {error}. Start the run anew, or put back a copy.") from error
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, RuntimeError) as error:
        raise RunFolderError(
            f"{path}: is damaged or cut short and cannot be used ({_reason(error)}). Start the run anew, or put back "
            "a copy."
        ) from error


def load_weights(model: keras.Model, path: Path) -> None:
    """Loads weights (and the optimizer's state, if the model is compiled and built) from a checkpoint.

    Raises:
        RunFolderError: The checkpoint is missing or damaged, or does not fit the model.
    """
    read_state(path)
    _check_network(path)
    try:
        with warnings.catch_warnings():
            # Keras only warns of parts that it does not find in the file, and leaves them as they were.
            warnings.simplefilter("error", UserWarning)
            model.load_weights(path)
    except Exception as error:  # Keras and HDF5 raise nearly anything for what does not fit.
        raise RunFolderError(f"{path}: does not fit the network of this run ({_reason(error)}).") from error


def load_model(path: Path) -> keras.Model:
    """Opens a saved model for prediction, in Keras' safe mode, and if it is made of cvlab's own kinds of layers only.

    Raises:
        RunFolderError: The checkpoint is missing or damaged, or holds something else.
    """
    import keras

    read_state(path)
    _check_network(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras and HDF5 raise nearly anything for what is damaged.
        raise RunFolderError(f"{path}: cannot be opened: {_reason(error)}.") from error
    if not isinstance(model, keras.Model):
        raise RunFolderError(f"{path}: cannot be opened: holds no network.")
    return model


def _check_network(path: Path) -> None:
    """Checks that a checkpoint names layers of cvlab's own kinds only, and holds their arrays itself."""
    import h5py

    try:
        check_written(path)
        with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read(WEIGHTS))) as file:
            check_contents(file)
    except (UnreadableWeights, KeyError, OSError, RuntimeError, zipfile.BadZipFile) as error:
        raise RunFolderError(f"{path}: cannot be opened: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    """Returns the first line of what went wrong; Keras tells whole configurations."""
    text = printable(next(iter(str(error).strip().splitlines()), type(error).__name__)).rstrip(".")
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]}..."


def load_layer(model: keras.Model, path: Path, name: str) -> None:
    """Loads the weights of one layer (a backbone) from a checkpoint; the others stay as they are.

    Raises:
        RunFolderError: The checkpoint is missing or damaged, or its layer differs.
    """
    try:
        layer = model.get_layer(name)
        layer.set_weights(load_model(path).get_layer(name).get_weights())
        finish_loading(layer)
    except ValueError as error:
        raise RunFolderError(f"{path}: the layer '{name}' does not fit the network of this run ({error}).") from error


def seed_states(model: keras.Model) -> list[list[int]]:
    """The states of the seed generators of the model, which Keras does not save."""
    return [np.asarray(variable).tolist() for variable in _seed_variables(model)]


def set_seed_states(model: keras.Model, states: list[list[int]]) -> None:
    """Puts back what `seed_states` returned.

    Raises:
        RunFolderError: They are those of another network, or none.
    """
    variables = _seed_variables(model)
    if len(states) != len(variables):
        raise RunFolderError(f"expected {len(variables)} seed states for this network, found {len(states)}.")
    try:
        for variable, state in zip(variables, states, strict=True):
            variable.assign(np.asarray(state, dtype=variable.dtype))
    except (ValueError, OverflowError) as error:
        raise RunFolderError(f"expected seed states of two numbers each, found others ({_reason(error)}).") from error


def reseed(model: keras.Model, seed: tuple[int, ...]) -> None:
    """Sets every seed generator to a function of `seed` and its position in the model."""
    states = [
        np.random.SeedSequence([*seed, position]).generate_state(2).tolist()
        for position in range(len(_seed_variables(model)))
    ]
    set_seed_states(model, states)


def _seed_variables(model: keras.Model) -> list[keras.Variable]:
    saved = {id(variable) for variable in model.weights}
    return [v for v in model.variables if id(v) not in saved and "seed_generator_state" in v.path]
