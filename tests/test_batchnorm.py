"""BatchNorm with the fused kernel is Keras' BatchNorm: same numbers, same layer, same saved file."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow

EPSILON = 1e-3
MOMENTUM = 0.9
# The largest relative error of rounding once to the type.
ROUNDING = {"mixed_bfloat16": 2**-8, "mixed_float16": 2**-11}


def norm(*, fused: bool, policy: str = "float32", **settings: Any) -> Any:
    import keras

    from cvlab.models.batchnorm import use_fused_kernel

    layer = keras.layers.BatchNormalization(momentum=MOMENTUM, dtype=policy, **settings)
    return use_fused_kernel(layer) if fused else layer


def train_step(layer: Any, x: np.ndarray, dy: np.ndarray, *, jit: bool = False, mask: Any = None) -> dict[str, Any]:
    """One training step with random gamma and beta; everything that comes out of it, as float64."""
    import tensorflow as tf

    layer.build(x.shape)
    rng = np.random.default_rng(1)
    for weight in layer.trainable_variables:
        weight.assign(rng.uniform(0.5, 2, weight.shape))
    weights = {weight.name: weight.value for weight in layer.trainable_variables}

    def step(x: Any, dy: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True, mask=mask)
        gradients = tape.gradient(y, {"inputs": x, **weights}, dy)
        return {"outputs": y, **{f"d_{name}": value for name, value in gradients.items()}}

    kind = layer.compute_dtype
    found = tf.function(step, jit_compile=jit)(tf.cast(x, kind), tf.cast(dy, kind))
    assert found["outputs"].dtype == kind
    numbers = {name: tf.cast(value, tf.float64).numpy() for name, value in found.items()}
    moving = {name: np.array(getattr(layer, name), np.float64) for name in ("moving_mean", "moving_variance")}
    return numbers | moving


def by_hand(x: np.ndarray, dy: np.ndarray, *, scale: bool = True, center: bool = True) -> dict[str, np.ndarray]:
    """The formulas of Ioffe & Szegedy 2015 in float64, for the weights that `train_step` sets."""
    x, dy = x.astype(np.float64), dy.astype(np.float64)
    rng, channels = np.random.default_rng(1), (x.shape[-1],)
    gamma = rng.uniform(0.5, 2, channels).astype(np.float32) if scale else np.ones(channels)
    beta = rng.uniform(0.5, 2, channels).astype(np.float32) if center else np.zeros(channels)
    axes, count = (0, 1, 2), x.size // x.shape[-1]
    mean, variance = x.mean(axes), x.var(axes)
    inverse = 1 / np.sqrt(variance + EPSILON)
    normed: np.ndarray = (x - mean) * inverse
    d_beta, d_gamma = dy.sum(axes), (dy * normed).sum(axes)
    return {
        "outputs": gamma * normed + beta,
        "d_inputs": gamma * inverse / count * (count * dy - d_beta - normed * d_gamma),
        **({"d_gamma": d_gamma} if scale else {}),
        **({"d_beta": d_beta} if center else {}),
        "moving_mean": (1 - MOMENTUM) * mean,
        "moving_variance": MOMENTUM + (1 - MOMENTUM) * variance,
    }


def batch(shape: tuple[int, ...], *, kind: str = "float32", seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and gradients of outputs, exact in the type `kind`."""
    import tensorflow as tf

    rng = np.random.default_rng(seed)
    arrays = rng.normal(1, 2, shape), rng.normal(0, 1, shape)
    x, dy = (tf.cast(tf.cast(array, kind), tf.float32).numpy() for array in arrays)
    return x, dy


def error(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, as a share of the largest number."""
    return float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))


def kernels(layer: Any, x: np.ndarray, **arguments: Any) -> list[str]:
    """The fused kernels in the graph of a call of the layer."""
    import tensorflow as tf

    layer(x, **arguments | {"training": False})  # builds it
    graph = tf.function(lambda x: layer(x, **arguments)).get_concrete_function(tf.constant(x)).graph
    return [operation.type for operation in graph.get_operations() if "FusedBatchNorm" in operation.type]


@pytest.mark.parametrize("jit", [False, True], ids=["plain", "jit"])
@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((8, 16, 16, 24), {}),
        ((1, 1, 1, 3), {}),
        ((1, 1, 2, 1), {}),
        ((2, 3, 4, 5), {"scale": False}),
        ((2, 3, 4, 5), {"center": False}),
    ],
    ids=str,
)
def test_a_float32_step_is_that_of_keras_and_of_the_formulas(
    shape: tuple[int, ...], settings: dict[str, Any], jit: bool
) -> None:
    x, dy = batch(shape)
    fused = train_step(norm(fused=True, **settings), x, dy, jit=jit)
    plain = train_step(norm(fused=False, **settings), x, dy, jit=jit)
    expected = by_hand(x, dy, **settings)
    assert fused.keys() == plain.keys() == expected.keys()
    for name in expected:
        assert error(fused[name], expected[name]) < 1e-5, name
        assert error(fused[name], plain[name]) < 1e-5, name


@pytest.mark.parametrize("policy", sorted(ROUNDING))
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 1, 3), (16, 32, 32, 16)])
def test_mixed_precision_only_rounds_what_goes_in_and_out(shape: tuple[int, ...], policy: str) -> None:
    x, dy = batch(shape, kind=policy.removeprefix("mixed_"))
    fused = train_step(norm(fused=True, policy=policy), x, dy)
    plain = train_step(norm(fused=False, policy=policy), x, dy)
    for name, expected in by_hand(x, dy).items():
        limit = ROUNDING[policy] if name in ("outputs", "d_inputs") else 1e-5
        assert error(fused[name], expected) < limit, name
        assert error(fused[name], expected) < 1.1 * error(plain[name], expected) + 1e-5, name


def test_the_moving_variance_is_that_of_the_population() -> None:
    """The kernel itself divides by n - 1."""
    layer = norm(fused=True)
    x, dy = batch((1, 1, 3, 2))
    moving = train_step(layer, x, dy)["moving_variance"]
    np.testing.assert_allclose(moving, MOMENTUM + (1 - MOMENTUM) * x.var((0, 1, 2)), rtol=1e-6)


def test_the_kernel_is_used_when_training_and_only_then() -> None:
    x, _ = batch((2, 3, 4, 5))
    assert kernels(norm(fused=True), x, training=True) == ["FusedBatchNormV3"]
    assert kernels(norm(fused=True, axis=3), x, training=True) == ["FusedBatchNormV3"]
    assert kernels(norm(fused=False), x, training=True) == []
    assert kernels(norm(fused=True), x, training=False) == []
    assert kernels(norm(fused=True), x) == []
    frozen = norm(fused=True)
    frozen.trainable = False
    assert kernels(frozen, x, training=True) == []


@pytest.mark.parametrize("frozen", [False, True])
def test_inference_and_frozen_layers_are_keras_to_the_bit(frozen: bool) -> None:
    x, _ = batch((4, 3, 4, 5))
    found = []
    for fused in (True, False):
        layer = norm(fused=fused)
        layer.build(x.shape)
        layer.moving_mean.assign(x.mean((0, 1, 2)))
        layer.moving_variance.assign(x.var((0, 1, 2)))
        layer.trainable = not frozen
        found.append([np.asarray(layer(x, training=frozen)), *map(np.asarray, layer.weights)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((6, 5), {}),
        ((6, 4, 5), {}),
        ((2, 2, 3, 4, 5), {}),
        ((2, 3, 4, 5), {"axis": 1}),
        ((2, 3, 4, 5), {"policy": "float64"}),
        ((2, 3, 4, 5), {"policy": "bfloat16"}),
        ((2, 3, 4, 5), {"renorm": True}),
    ],
    ids=str,
)
def test_what_the_kernel_cannot_do_is_left_to_keras(shape: tuple[int, ...], settings: dict[str, Any]) -> None:
    x, dy = batch(shape)
    assert kernels(norm(fused=True, **settings), x, training=True) == []
    ours, theirs = (train_step(norm(fused=fused, **settings), x, dy) for fused in (True, False))
    for name, values in theirs.items():
        np.testing.assert_array_equal(ours[name], values, err_msg=name)


def test_a_mask_is_left_to_keras() -> None:
    x, dy = batch((2, 3, 4, 5))
    mask = np.random.default_rng(0).random((2, 3, 4)) < 0.5
    ours, theirs = (train_step(norm(fused=fused), x, dy, mask=mask) for fused in (True, False))
    for name, values in theirs.items():
        np.testing.assert_array_equal(ours[name], values, err_msg=name)


def small_model(seed: int = 3) -> Any:
    import keras

    from cvlab.models.batchnorm import batch_normalization
    from cvlab.models.noise import gaussian_noise

    keras.utils.set_random_seed(seed)
    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False)(images)
    x = keras.layers.ReLU()(batch_normalization(MOMENTUM)(x))
    x = gaussian_noise(0.2)(x)
    x = keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(x))
    model = keras.Model(images, x)
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def train_small(model: Any, steps: int) -> list[float]:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 8, 8, 3)).astype(np.float32), rng.integers(0, 2, 16)
    return [float(model.train_on_batch(x, y)) for _ in range(steps)]


def test_it_is_a_plain_keras_layer() -> None:
    import keras

    from cvlab.models.batchnorm import batch_normalization

    ours, theirs = batch_normalization(MOMENTUM), keras.layers.BatchNormalization(momentum=MOMENTUM)
    assert type(ours) is keras.layers.BatchNormalization
    assert ours.get_config() | {"name": ""} == theirs.get_config() | {"name": ""}
    lines: list[str] = []
    small_model().summary(print_fn=lines.append)
    assert "BatchNormalization" in "".join(lines)


def test_a_saved_model_names_keras_alone_and_goes_on_with_plain_keras(tmp_path: Path) -> None:
    import keras

    model = small_model()
    train_small(model, 2)
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        layers = json.loads(archive.read("config.json"))["config"]["layers"]
    assert {(layer["module"], layer["registered_name"]) for layer in layers} == {("keras.layers", None)}
    again = keras.saving.load_model(tmp_path / "m.keras", safe_mode=True)
    x = np.random.default_rng(1).normal(size=(3, 8, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(model.predict(x, verbose=0), again.predict(x, verbose=0))
    assert np.isfinite(train_small(again, 2)).all()


def test_clones_and_copies_work() -> None:
    import keras

    model = small_model()
    train_small(model, 2)
    x = np.random.default_rng(1).normal(size=(3, 8, 8, 3)).astype(np.float32)
    expected = model.predict(x, verbose=0)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone.predict(x, verbose=0), expected)
    copied = copy.deepcopy(model)
    train_small(copied, 1)
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)


PROGRAM = """
import hashlib
import keras
import tensorflow as tf
from tests.test_batchnorm import small_model, train_small
tf.config.experimental.enable_op_determinism()
for policy in ("float32", "mixed_bfloat16"):
    keras.config.set_dtype_policy(policy)
    model = small_model(seed=7)
    train_small(model, 20)
    print(hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest())
"""


@pytest.mark.slow
def test_twenty_steps_with_one_seed_give_the_same_bits_in_two_processes() -> None:
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", PROGRAM]
    both = [subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (process.communicate()[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert first == second
    assert len(set(first.split())) == 2
