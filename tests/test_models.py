"""Every model, on toy shapes: it builds, counts, saves, reloads and runs in mixed precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvlab import registry
from cvlab.config import DataConfig, StageConfig, TaskConfig
from cvlab.errors import ConfigError

pytestmark = pytest.mark.tensorflow

AFFECT = ("alexnet", "vggnet", "mobilenet")
TOTALS = {"alexnet": (3_464_952, 3_460_120), "vggnet": (3_753_016, 3_747_448), "mobilenet": (3_237_064, 3_215_176)}
TWO_OUTPUTS = {"alexnet": 3_458_802, "vggnet": 3_746_866, "mobilenet": 3_230_914}
# Settings that make each model small; what is not here has a width.
TOY: dict[str, dict[str, Any]] = {
    "covid_cnn": {"depth": 3, "head": [{"units": 8, "batchnorm": True}]},
    "unet": {"filters": [2, 3, 4, 5, 6]},
    "unet_vgg16": {"weights": "none", "decoder_filters": [4, 4, 4, 4]},
    "pretrained": {"network": "MobileNet", "weights": "none", "head": [{"units": 8, "dropout": 0.2}]},
}
WITHOUT_BATCHNORM = {"alexnet": 3_457_704, "vggnet": 3_744_664}


def stage(**settings: Any) -> StageConfig:
    return StageConfig(
        name="s", epochs=1, learning_rate=1e-3, task=TaskConfig(name="none"), data=DataConfig(name="none"), **settings
    )


def network(name: str, *, size: int = 32, outputs: int = 4, **settings: Any) -> Any:
    import keras

    from cvlab.models.network import build_network

    config = registry.load(registry.MODELS, name).Config.model_validate_json(json.dumps({"name": name, **settings}))
    output = keras.layers.Dense(outputs, activation="softmax", dtype="float32")
    return build_network(config, image_size=(size, size), output=output)


def images(count: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", AFFECT)
def test_parameters_are_those_of_the_paper(name: str) -> None:
    from cvlab.models.network import parameter_counts

    assert parameter_counts(network(name, size=128, outputs=8).connect(stage())) == TOTALS[name]
    assert parameter_counts(network(name, size=128, outputs=2).connect(stage()))[0] == TWO_OUTPUTS[name]


@pytest.mark.parametrize("name", sorted(WITHOUT_BATCHNORM))
def test_parameters_without_batchnorm_are_those_of_the_plain_tables(name: str) -> None:
    from cvlab.models.network import parameter_counts

    model = network(name, size=128, outputs=8, batchnorm=False).connect(stage())
    assert parameter_counts(model) == (WITHOUT_BATCHNORM[name],) * 2


@pytest.mark.parametrize("name", AFFECT)
def test_the_head_is_a_setting(name: str) -> None:
    import keras

    net = network(name, width=0.25, dense_units=(24, 12))
    assert [layer.units for layer in net.head if isinstance(layer, keras.layers.Dense)] == [24, 12, 4]
    assert not any(
        isinstance(layer, keras.layers.Dense) for layer in network(name, width=0.25, dense_units=()).head[:-1]
    )


@pytest.mark.parametrize("name", sorted(registry.MODELS))
def test_a_saved_model_opens_without_cvlab_and_predicts_the_same(name: str, tmp_path: Path) -> None:
    import keras

    model = network(name, **TOY.get(name, {"width": 0.25})).connect(stage())
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    x = images(3)
    scores = model.predict(x, verbose=0)
    np.testing.assert_array_equal(scores, again.predict(x, verbose=0))
    np.testing.assert_allclose(scores.sum(axis=-1), 1, atol=1e-6)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", sorted(registry.MODELS))
def test_mixed_precision_keeps_weights_and_scores_in_float32(name: str, precision: str) -> None:
    import keras

    keras.config.set_dtype_policy(precision)
    try:
        model = network(name, **TOY.get(name, {"width": 0.25})).connect(stage())
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("backbone").layers[1].compute_dtype == precision.removeprefix("mixed_")
    assert {str(weight.dtype) for weight in model.weights} == {"float32"}
    scores = model.predict(images(2), verbose=0)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores.sum(axis=-1), 1, atol=1e-6)


@pytest.mark.parametrize("mode", ["tf", "torch", "caffe"])
def test_preprocessing_equals_that_of_keras_applications(mode: str) -> None:
    import keras

    from cvlab.models.preprocessing import preprocess

    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, preprocess(inputs, mode))  # type: ignore[arg-type]
    x = images(2, 8).astype(np.float32)
    expected = keras.applications.imagenet_utils.preprocess_input(x.copy(), data_format="channels_last", mode=mode)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-5)


def test_preprocessing_is_in_float32_under_mixed_precision() -> None:
    import keras

    from cvlab.models.preprocessing import preprocess

    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        inputs = keras.Input((16, 16, 3))
        model = keras.Model(inputs, preprocess(inputs, "unit"))
    finally:
        keras.config.set_dtype_policy("float32")
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    assert len(np.unique(model.predict(levels, verbose=0))) == 256


@pytest.mark.parametrize(
    ("trainable", "frozen"),
    [
        ("all", 0),
        ("head", 41),
        ({"first_frozen": 10}, 10),
        ({"first_frozen": 41}, 41),
        ({"last_layers": 5}, 36),
        ({"fraction": 0.3}, 29),
        ({"fraction": 1.0}, 0),
        ({"from_layer": "here"}, 7),
    ],
)
def test_freezing_freezes_the_first_layers_of_the_backbone(trainable: Any, frozen: int) -> None:
    net = network("vggnet", width=0.25)
    assert len(net.backbone.layers) == 41
    net.backbone.layers[7].name = "here"
    net.connect(stage(trainable=trainable))
    expected = [i >= frozen for i in range(41)]
    assert [layer.trainable for layer in net.backbone.layers] == expected


def test_batchnorm_in_inference_mode_is_frozen_with_gamma_and_beta() -> None:
    import keras

    net = network("vggnet", width=0.25)
    net.connect(stage(batchnorm_mode="inference"))
    norms = [layer for layer in net.backbone.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms
    assert all(not layer.trainable_variables for layer in norms)


def test_a_frozen_backbone_is_free_of_noise_in_training() -> None:
    """Noise stays active in a frozen layer, and a model hands its `training` down over what a layer was called with."""
    net = network("vggnet", width=0.25, batchnorm=False, dropout=0.0)
    x = images(4)
    frozen = net.connect(stage(trainable="head"))
    plain = np.asarray(frozen(x, training=False))
    np.testing.assert_array_equal(np.asarray(frozen(x, training=True)), plain)
    frozen.compile("sgd", "mse")
    truth = np.zeros_like(plain)
    assert frozen.train_on_batch(x, truth) == pytest.approx(float((plain**2).mean()), rel=1e-5)
    noisy = np.asarray(net.connect(stage())(x, training=True))
    assert np.abs(noisy - plain).max() > 1e-5
    again = np.asarray(net.connect(stage(trainable="head"))(x, training=True))
    np.testing.assert_array_equal(again, np.asarray(frozen(x, training=False)))


@pytest.mark.parametrize(
    ("trainable", "message"),
    [
        ({"first_frozen": 42}, "at most 41"),
        ({"last_layers": 50}, "at most 41"),
        ({"from_layer": "conv2d_x"}, "name of a layer"),
    ],
)
def test_freezing_that_does_not_fit_is_named(trainable: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        network("vggnet", width=0.25).connect(stage(trainable=trainable))


def test_the_table_of_layers_adds_up() -> None:
    from cvlab.models.network import describe_model

    table = describe_model(network("vggnet", width=0.25).connect(stage(trainable="head")))
    assert sum(layer["parameters"] for layer in table["layers"]) == table["total"]
    assert table["total"] == table["trainable"] + table["frozen"]
    assert not any(layer["trainable"] for layer in table["layers"] if layer["name"].startswith("backbone/"))
    assert table["layers"][0]["output_shape"] == [None, 32, 32, 3]
