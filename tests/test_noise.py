"""The noise is GaussianDropout's: its distribution, its layer, its seed generator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

pytestmark = pytest.mark.tensorflow


def layer_of(rate: float, policy: str = "float32") -> Any:
    import keras

    from cvlab.models.noise import gaussian_noise

    keras.utils.set_random_seed(5)
    keras.config.set_dtype_policy(policy)
    try:
        return gaussian_noise(rate)
    finally:
        keras.config.set_dtype_policy("float32")


def drawn(layer: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The noise that a training step multiplies with."""
    import tensorflow as tf

    ones = tf.ones(shape, layer.compute_dtype)
    return np.asarray(tf.cast(tf.function(lambda x: layer(x, training=True))(ones), tf.float64))


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5])
def test_the_noise_is_normal_with_mean_1_and_the_variance_of_dropout(rate: float) -> None:
    noise = drawn(layer_of(rate), (40, 32, 32, 8)).ravel()
    deviation = np.sqrt(rate / (1 - rate))
    assert stats.kstest(noise, "norm", args=(1, deviation)).pvalue > 1e-3
    count = noise.size
    assert abs(noise.mean() - 1) < 4 * deviation / np.sqrt(count)
    assert abs(noise.var() / deviation**2 - 1) < 4 * np.sqrt(2 / count)
    standard = (noise - 1) / deviation
    # Normal tails: beyond 4 deviations lie 6.3e-5 of all numbers, and pairs reach 5.6.
    assert stats.binomtest(int((np.abs(standard) > 4).sum()), count, 2 * stats.norm.sf(4)).pvalue > 1e-3
    assert np.abs(standard).max() < 5.7


def test_neighbours_pairs_and_calls_are_independent() -> None:
    layer = layer_of(0.2)
    first, second = drawn(layer, (16, 16, 16, 8)), drawn(layer, (16, 16, 16, 8))
    limit = 4 / np.sqrt(first.size / 2)
    pairs = {
        "the two of a pair": (first[..., :4], first[..., 4:]),
        "their squares": ((first[..., :4] - 1) ** 2, (first[..., 4:] - 1) ** 2),
        "neighbours": (first[:, :, :-1], first[:, :, 1:]),
        "images": (first[:-1], first[1:]),
        "calls": (first, second),
    }
    for name, (one, other) in pairs.items():
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < limit, name


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_its_type_and_the_moments(policy: str) -> None:
    import tensorflow as tf

    layer = layer_of(0.2, policy)
    assert layer(tf.ones((1, 2, 2, 2)), training=True).dtype == policy.removeprefix("mixed_")
    noise = drawn(layer, (40, 32, 32, 8))
    assert abs(noise.mean() - 1) < 2e-3
    assert abs(noise.std() - 0.5) < 2e-3


def test_the_seed_generator_goes_on_as_in_keras_and_gives_the_noise_again() -> None:
    import keras

    ours, theirs = layer_of(0.2), keras.layers.GaussianDropout(0.2, seed=1)
    theirs.seed_generator.state.assign(ours.seed_generator.state)
    start = np.asarray(ours.seed_generator.state)
    first, second = drawn(ours, (2, 3, 3, 4)), drawn(ours, (2, 3, 3, 4))
    for _ in range(2):
        drawn(theirs, (2, 3, 3, 4))
    np.testing.assert_array_equal(ours.seed_generator.state, theirs.seed_generator.state)
    assert (first != second).any()
    ours.seed_generator.state.assign(start)
    np.testing.assert_array_equal(drawn(ours, (2, 3, 3, 4)), first)


def test_odd_channels_inference_and_rate_0_are_left_to_keras() -> None:
    import keras
    import tensorflow as tf

    ours, theirs = layer_of(0.2), keras.layers.GaussianDropout(0.2)
    theirs.seed_generator.state.assign(ours.seed_generator.state)
    np.testing.assert_array_equal(drawn(ours, (2, 3, 3, 5)), drawn(theirs, (2, 3, 3, 5)))
    x = tf.random.normal((2, 3, 3, 4))
    np.testing.assert_array_equal(ours(x), x)
    np.testing.assert_array_equal(ours(x, training=False), x)
    np.testing.assert_array_equal(layer_of(0.0)(x, training=True), x)


def test_it_is_a_plain_keras_layer() -> None:
    import keras

    layer = layer_of(0.2)
    assert type(layer) is keras.layers.GaussianDropout
    assert layer.get_config() | {"name": ""} == keras.layers.GaussianDropout(0.2).get_config() | {"name": ""}
