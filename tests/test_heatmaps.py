"""Heat maps: on a planted network they peak where they must, and they equal formulas that do not use gradients."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cvlab import registry
from cvlab.errors import CvlabError
from cvlab.heatmaps import HeatMapper, overlay
from cvlab.models.network import BACKBONE

if TYPE_CHECKING:
    import keras

pytestmark = pytest.mark.tensorflow

SIDE = 32
# Top left corners of the bright squares, of 8 x 8 pixels.
PLACES = ((0, 0), (4, 20), (20, 8), (24, 24))


def squares() -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 40, (len(PLACES), SIDE, SIDE, 3)).astype(np.uint8)
    for image, (top, left) in zip(images, PLACES, strict=True):
        image[top : top + 8, left : left + 8] = 250
    return images


def planted(*, output: str = "softmax", units: int = 2) -> keras.Model:
    """The first filter responds to brightness, the second to darkness; each class is one of them."""
    import keras

    image = keras.Input((SIDE, SIDE, 3))
    convolution = keras.layers.Conv2D(2, 4, strides=4, activation="relu", name="convolution")
    x = keras.layers.MaxPooling2D(2)(convolution(image))
    backbone = keras.Model(image, x, name=BACKBONE)
    kernel = np.stack([np.ones((4, 4, 3)), -np.ones((4, 4, 3))], axis=-1) / 48
    convolution.set_weights([kernel, np.array([-0.4, 0.4])])
    images = keras.Input((SIDE, SIDE, 3))
    x = backbone(keras.layers.Rescaling(1 / 255)(images))
    last = keras.layers.Dense(units, activation=output, name="output")
    x = last(keras.layers.GlobalAveragePooling2D()(x))
    weights = np.array([[40.0, 0.0], [0.0, 40.0]]) if units == 2 else np.array([[40.0], [-40.0]])
    last.set_weights([weights, np.zeros(units)])
    return keras.Model(images, x)


def peak(heat: np.ndarray, height: int) -> tuple[int, int]:
    """The pixel in the middle of the hottest place."""
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    size = height // len(heat)
    return int(row) * size + size // 2, int(column) * size + size // 2


def inside(pixel: tuple[int, int], place: tuple[int, int]) -> bool:
    return all(start <= at < start + 8 for at, start in zip(pixel, place, strict=True))


def test_the_heat_map_peaks_at_the_planted_square() -> None:
    images = squares()
    mapper = HeatMapper.of(planted())
    assert (mapper.layer, mapper.size, mapper.of_logits) == ("convolution", (8, 8), True)
    bright = mapper.maps(images, np.tile([1.0, 0.0], (4, 1)).astype(np.float32))
    assert bright.shape == (4, 8, 8)
    assert bright.dtype == np.float32
    np.testing.assert_array_equal(bright.max(axis=(1, 2)), 1)
    assert bright.min() == 0
    dark = mapper.maps(images, np.tile([0.0, 1.0], (4, 1)).astype(np.float32))
    for heat, other, place in zip(bright, dark, PLACES, strict=True):
        assert inside(peak(heat, SIDE), place)
        assert not inside(peak(other, SIDE), place)


def test_one_output_explains_both_classes() -> None:
    """A network this sure has no gradient behind its sigmoid: the logit does."""
    images = squares()
    model = planted(output="sigmoid", units=1)
    mapper = HeatMapper.of(model)
    second = mapper.maps(images, np.ones((4, 1), dtype=np.float32))
    first = mapper.maps(images, -np.ones((4, 1), dtype=np.float32))
    for heat, other, place in zip(second, first, PLACES, strict=True):
        assert inside(peak(heat, SIDE), place)
        assert not inside(peak(other, SIDE), place)


def test_nothing_that_raises_the_score_is_no_heat() -> None:
    heat = HeatMapper.of(planted()).maps(np.zeros((2, SIDE, SIDE, 3), np.uint8), np.eye(2, dtype=np.float32)[[0, 0]])
    np.testing.assert_array_equal(heat, 0)
    assert HeatMapper.of(planted()).maps(squares()[:0], np.zeros((0, 2), np.float32)).shape == (0, 8, 8)


def small_network(name: str, **settings: Any) -> keras.Model:
    """A network with random weights, as `models.network` connects it, saved and opened again by its caller."""
    import keras

    from cvlab.config import StageConfig
    from cvlab.models.network import build_network

    keras.utils.set_random_seed(3)
    output = keras.layers.Dense(3, activation="softmax", dtype="float32", name="output")
    config = registry.load(registry.MODELS, name).Config(**settings)
    network = build_network(config, image_size=(64, 64), output=output)
    stage: dict[str, Any] = {"trainable": "all", "batchnorm_mode": "train"}
    return network.connect(StageConfig.model_construct(**stage))


NETWORKS: list[tuple[str, dict[str, Any], tuple[int, int]]] = [
    ("alexnet", {"width": 0.25, "dense_units": (16,)}, (4, 4)),
    ("vggnet", {"width": 0.25, "dense_units": (16,), "batchnorm": False}, (4, 4)),
    ("mobilenet", {"width": 0.25, "preprocessing": "caffe"}, (2, 2)),
    ("covid_cnn", {"depth": 3, "preprocessing": "torch"}, (16, 16)),
    ("pretrained", {"network": "VGG16", "weights": "none", "pooling": "max"}, (4, 4)),
]


@pytest.mark.parametrize(("name", "settings", "size"), NETWORKS)
def test_every_network_is_cut_without_a_change(
    tmp_path: Path, name: str, settings: dict[str, Any], size: tuple[int, int]
) -> None:
    import keras

    small_network(name, **settings).save(tmp_path / "a.keras")
    model = keras.saving.load_model(tmp_path / "a.keras")
    mapper = HeatMapper.of(model)
    images = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    logits = np.array(mapper.above(mapper.below(images.astype(np.float32))))
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores, model.predict(images, verbose=0), atol=1e-5)
    assert mapper.size == size
    explained = np.eye(3, dtype=np.float32)
    heat = mapper.maps(images, explained)
    assert heat.shape == (3, *size)
    np.testing.assert_array_equal(heat, mapper.maps(images, explained))
    np.testing.assert_array_equal(heat, HeatMapper.of(model).maps(images, explained))


def test_heat_equals_class_activation_mapping_where_the_two_are_one() -> None:
    """Behind global average pooling and one dense layer, a_k is the class's weight of map k (Zhou et al. 2016)."""
    model = small_network("mobilenet", width=0.25)
    mapper = HeatMapper.of(model)
    images = np.random.default_rng(2).integers(0, 256, (20, 64, 64, 3)).astype(np.uint8)
    classes = np.arange(20) % 3
    maps = np.array(mapper.below(images.astype(np.float32)), dtype=np.float64)
    kernel = np.array(model.layers[-1].get_weights()[0], dtype=np.float64)
    expected = np.maximum(np.einsum("nhwk,kn->nhw", maps, kernel[:, classes]), 0)
    highest = expected.max(axis=(1, 2), keepdims=True)
    assert highest.max() > 0
    expected = np.divide(expected, highest, out=np.zeros_like(expected), where=highest > 0)
    np.testing.assert_allclose(mapper.maps(images, np.eye(3, dtype=np.float32)[classes]), expected, atol=1e-4)


def test_heat_equals_finite_differences_through_a_curved_head() -> None:
    import keras

    keras.utils.set_random_seed(1)
    image = keras.Input((16, 16, 3))
    backbone = keras.Model(image, keras.layers.Conv2D(3, 4, strides=4, activation="relu")(image), name=BACKBONE)
    x = keras.layers.Flatten()(backbone(keras.layers.Rescaling(1 / 255)(image)))
    scores = keras.layers.Dense(3, activation="softmax")(keras.layers.Dense(8, activation="tanh")(x))
    mapper = HeatMapper.of(keras.Model(image, scores))
    images = np.random.default_rng(4).integers(0, 256, (6, 16, 16, 3)).astype(np.uint8)
    explained = np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32)
    found = mapper.maps(images, explained)
    maps = np.array(mapper.below(images.astype(np.float32)))
    for one, weights, heat in zip(maps, explained, found, strict=True):
        steps = np.eye(one.size, dtype=np.float32).reshape(-1, *one.shape) * 1e-2
        up, down = (np.array(mapper.above(one + sign * steps), dtype=np.float64) @ weights for sign in (1, -1))
        slopes = ((up - down) / 2e-2).reshape(one.shape)
        expected = np.maximum((one * slopes.mean(axis=(0, 1))).sum(axis=-1), 0)
        np.testing.assert_allclose(heat * expected.max(), expected, atol=1e-4)
    assert (found.max(axis=(1, 2)) == 1).sum() >= 3


def test_a_network_without_a_convolution_is_refused() -> None:
    import keras

    image = keras.Input((8, 8, 3))
    flat = keras.Model(image, keras.layers.Flatten()(image), name=BACKBONE)
    with pytest.raises(CvlabError, match="no convolution"):
        HeatMapper.of(keras.Model(image, keras.layers.Dense(2)(flat(image))))
    with pytest.raises(CvlabError, match="no part called 'backbone'"):
        HeatMapper.of(keras.Model(image, keras.layers.Conv2D(2, 3)(image)))


def test_heat_maps_in_mixed_precision() -> None:
    import keras

    exact = HeatMapper.of(small_network("vggnet", width=0.25, dense_units=(16,)))
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        mapper = HeatMapper.of(small_network("vggnet", width=0.25, dense_units=(16,)))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    images = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    heat, expected = (one.maps(images, np.eye(3, dtype=np.float32)) for one in (mapper, exact))
    np.testing.assert_allclose(heat, expected, atol=0.2)


def test_the_overlay_is_grey_and_brightest_at_the_peak() -> None:
    images = np.full((2, 24, 40, 3), 90, dtype=np.uint8)
    images[..., 0] = 120
    heat = np.zeros((2, 3, 5), dtype=np.float32)
    heat[0, 2, 4] = 1
    drawn = overlay(images, heat)
    assert drawn.shape == images.shape
    assert drawn.dtype == np.uint8
    light = drawn.astype(int).sum(axis=-1)
    assert light[0, 20, 36] == light.max()
    assert len(np.unique(light[1])) == 1
    assert np.ptp(drawn[1, 0, 0].astype(int)) < 5


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
def test_heat_maps_on_jax_peak_at_the_square_too() -> None:
    program = (
        "from tests import test_heatmaps as t; import keras; assert keras.backend.backend() == 'jax';"
        "t.test_the_heat_map_peaks_at_the_planted_square(); t.test_one_output_explains_both_classes()"
    )
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
