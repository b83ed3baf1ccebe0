from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvlab.errors import RunFolderError

pytestmark = pytest.mark.tensorflow


def small_model(precision: str = "float32") -> Any:
    import keras

    keras.config.set_dtype_policy(precision)
    try:
        inputs = keras.Input((6,))
        x = keras.layers.Dropout(0.5)(keras.layers.Dense(8)(inputs))
        model = keras.Model(inputs, keras.layers.Dense(2, dtype="float32")(keras.layers.GaussianDropout(0.3)(x)))
        model.compile(keras.optimizers.Adam(1e-2), "mse")
    finally:
        keras.config.set_dtype_policy("float32")
    model.optimizer.build(model.trainable_variables)
    return model


def fit(model: Any, steps: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8 * steps, 6)), rng.normal(size=(8 * steps, 2))
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0)


def variables(model: Any) -> list[np.ndarray]:
    return [np.array(variable) for variable in (*model.variables, *model.optimizer.variables)]


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_restored_training_goes_on_bit_for_bit(precision: str, tmp_path: Path) -> None:
    from cvlab import checkpoint

    model = small_model(precision)
    fit(model, 5)
    checkpoint.save_training(tmp_path / "last.keras", model, {"seeds": checkpoint.seed_states(model)})
    again = small_model(precision)
    checkpoint.load_weights(again, tmp_path / "last.keras")
    checkpoint.set_seed_states(again, checkpoint.read_state(tmp_path / "last.keras")["seeds"])
    for network in (model, again):
        fit(network, 3)
    for a, b in zip(variables(model), variables(again), strict=True):
        np.testing.assert_array_equal(a, b)


def test_without_the_seed_states_it_would_not(tmp_path: Path) -> None:
    from cvlab import checkpoint

    model = small_model()
    fit(model, 5)
    checkpoint.save_training(tmp_path / "last.keras", model, {})
    again = small_model()
    checkpoint.load_weights(again, tmp_path / "last.keras")
    for network in (model, again):
        fit(network, 3)
    assert any(not np.array_equal(a, b) for a, b in zip(variables(model), variables(again), strict=True))


def test_reseeding_depends_on_the_seed_alone() -> None:
    from cvlab import checkpoint

    first, second = small_model(), small_model()
    fit(first, 2)
    for model in (first, second):
        checkpoint.reseed(model, (1, 2))
    assert checkpoint.seed_states(first) == checkpoint.seed_states(second)
    checkpoint.reseed(first, (1, 3))
    assert checkpoint.seed_states(first) != checkpoint.seed_states(second)
    assert len(checkpoint.seed_states(first)) == 2


def test_an_inference_checkpoint_has_no_optimizer_and_predicts_the_same(tmp_path: Path) -> None:
    from cvlab import checkpoint

    model = small_model()
    fit(model, 2)
    path = tmp_path / "best.keras"
    checkpoint.save_inference(path, model, {"epoch": 3})
    assert checkpoint.read_state(path) == {"epoch": 3}
    x = np.ones((2, 6))
    np.testing.assert_array_equal(checkpoint.load_model(path).predict(x, verbose=0), model.predict(x, verbose=0))
    checkpoint.save_training(tmp_path / "last.keras", model, {})
    assert path.stat().st_size < (tmp_path / "last.keras").stat().st_size


@pytest.mark.parametrize("cut", [0, 10, 1000, -1])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, cut: int) -> None:
    from cvlab import checkpoint

    path = tmp_path / "last.keras"
    checkpoint.save_training(path, small_model(), {})
    path.write_bytes(path.read_bytes()[:cut])
    for opens in (checkpoint.read_state, checkpoint.load_model):
        with pytest.raises(RunFolderError, match=r"last\.keras: is damaged or cut short"):
            opens(path)


def test_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    from cvlab import checkpoint

    path = tmp_path / "last.keras"
    checkpoint.save_training(path, small_model(), {})
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo("model.weights.h5").header_offset + 500
    damaged = bytearray(path.read_bytes())
    damaged[offset] ^= 0xFF
    path.write_bytes(bytes(damaged))
    with pytest.raises(RunFolderError, match="damaged"):
        checkpoint.read_state(path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    import keras

    from cvlab import checkpoint

    checkpoint.save_training(tmp_path / "last.keras", small_model(), {})
    inputs = keras.Input((6,))
    other = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    with pytest.raises(RunFolderError, match="does not fit"):
        checkpoint.load_weights(other, tmp_path / "last.keras")


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    from cvlab import checkpoint

    with pytest.raises(RunFolderError, match="is missing: the run ended before it was saved"):
        checkpoint.load_model(tmp_path / "best.keras")
