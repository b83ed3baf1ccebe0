"""Networks of keras.applications by name: what they expect, their counts, their settings, and where runs start."""

from __future__ import annotations

import inspect
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvlab.config import ModelConfig
from cvlab.config_file import load_experiment
from cvlab.errors import ConfigError
from cvlab.models.backbones import NETWORKS
from tests.config_fixture import changed, problems_of
from tests.test_models import images, network, stage
from tests.weights_fixture import in_cache, write_old

CONFIGS = Path(__file__).parents[1] / "configs"
MODEL = "model: {name: vggnet, dropout: 0.5}"


def model_of(path: Path, settings: str) -> ModelConfig:
    path.write_text(changed((MODEL, f"model: {{name: pretrained, {settings}}}")), encoding="utf-8")
    return load_experiment(path).model


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("network: MobileNetV2", {"preprocessing": "tf", "weights": "imagenet", "head": (), "pooling": "avg"}),
        ("network: VGG16", {"preprocessing": "caffe"}),
        ("network: VGG16, preprocessing: null", {"preprocessing": "caffe"}),
        ("network: VGG16, preprocessing: torch", {"preprocessing": "torch"}),
        ("network: DenseNet121", {"preprocessing": "torch"}),
        ("network: EfficientNetB2", {"preprocessing": "none"}),
        ("network: ConvNeXtTiny, preprocessing: none", {"preprocessing": "none"}),
        ("network: VGG16, weights: /tmp/x.weights.h5", {"weights": "/tmp/x.weights.h5"}),
        ("network: VGG16, init_from: /tmp/run", {"weights": "none"}),
        ("network: VGG16, init_from: /tmp/run, weights: none", {"weights": "none"}),
    ],
)
def test_the_resolved_settings_hold_what_follows_from_the_network(
    settings: str, expected: dict[str, Any], tmp_path: Path
) -> None:
    model = model_of(tmp_path / "c.yaml", settings)
    assert {key: getattr(model, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("network: EfficientnetB2", "12: model.network: expected the name of a network of keras.applications, "
         "received 'EfficientnetB2'; did you mean 'EfficientNetB2'?"),
        ("network: 50", "12: model.network: expected text, received 50; put it in quotes."),
        ("weights: none", "12: model.network: is missing; add `network: ...`."),
        ("network: EfficientNetB2, preprocessing: unit", "12: model.preprocessing: expected 'none' or null for "
         "EfficientNetB2, which rescales 0..255 itself, received 'unit': the images would be rescaled twice."),
        ("network: MobileNetV3Small, preprocessing: tf", "12: model.preprocessing: expected 'none' or null for "
         "MobileNetV3Small, which rescales 0..255 itself, received 'tf': the images would be rescaled twice."),
        ("network: VGG16, weights: imagnet", "12: model.weights: expected 'imagenet', 'none' or the path of an .h5 or "
         ".keras file, received 'imagnet'; did you mean 'imagenet'?"),
        ("network: VGG16, weights: null", "12: model.weights: expected text, received null."),
        ("network: VGG16, weights: imagenet, init_from: runs/a/b", "12: model.weights: expected 'none' or nothing "
         "beside `init_from`, which brings weights, received 'imagenet'."),
        ("network: VGG16, head: [{units: 8, dropout: 1}]", "12: model.head.0.dropout: expected below 1, received 1."),
        ("network: VGG16, head: [{unit: 8}]", "12: model.head.0.unit: unknown key; did you mean 'units'?"),
        ("network: InceptionV3", "7: data.image_size: expected at least 75 pixels a side for InceptionV3, received "
         "[64, 64]."),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused_by_name(settings: str, message: str, tmp_path: Path) -> None:
    text = changed((MODEL, f"model: {{name: pretrained, {settings}}}"))
    assert f"c.yaml:{message}" in problems_of(tmp_path / "c.yaml", text)


def test_new_batchnorm_is_that_of_new_backbones_and_of_heads(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    assert model_of(path, "network: MobileNetV2, weights: none").has_batchnorm
    assert not model_of(path, "network: VGG16, weights: none").has_batchnorm
    assert not model_of(path, "network: MobileNetV2").has_batchnorm
    assert model_of(path, "network: MobileNetV2, head: [{units: 8, batchnorm: true}]").has_batchnorm


@pytest.mark.tensorflow
def test_the_table_holds_every_network_of_keras() -> None:
    import keras

    functions = {name for name, item in inspect.getmembers(keras.applications) if inspect.isfunction(item)}
    assert functions == set(NETWORKS)
    for name, row in NETWORKS.items():
        source = inspect.getsource(sys.modules[getattr(keras.applications, name).__module__])
        published = row.imagenet((64, 64))
        assert published.url.startswith("https://storage.googleapis.com/")
        if row.digest is None:
            assert "file_hash" not in source, name
        elif "ResNet" in name and "V2" in name and name != "InceptionResNetV2":
            assert row.digest in inspect.getsource(sys.modules["keras.src.applications.resnet"])
        else:
            assert row.digest in source, name
        assert (f"min_size={row.smallest}" in source) or "ResNet" in name or "MobileNetV3" in name, name


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("VGG16", (40, 32)),
        ("ConvNeXtTiny", (32, 32)),
        ("MobileNet", (128, 128)),
        ("MobileNet", (128, 160)),
        ("MobileNetV2", (96, 96)),
        ("MobileNetV2", (97, 97)),
    ],
)
def test_keras_asks_for_the_file_of_the_table(
    name: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras
    from keras.src.utils import file_utils

    class Asked(Exception):
        """Ends the building at the question for the file."""

    def ask(fname: str, origin: str, cache_subdir: str, file_hash: str | None = None) -> None:
        raise Asked(fname, origin, file_hash, cache_subdir)

    monkeypatch.setattr(file_utils, "get_file", ask)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras tells when it takes the weights for 224x224.
        with pytest.raises(Asked) as caught:
            getattr(keras.applications, name)(include_top=False, input_shape=(*size, 3))
    found = NETWORKS[name].imagenet(size)
    assert caught.value.args == (found.name, found.url, found.digest, "models")


@pytest.mark.tensorflow
def test_the_counts_of_efficientnetb2_are_those_of_the_experiments() -> None:
    import keras

    from cvlab.models.network import build_network, parameter_counts

    experiment = load_experiment(CONFIGS / "pneumonia_efficientnetb2_a.yaml")
    net = build_network(experiment.model, image_size=(32, 32), output=keras.layers.Dense(1, activation="sigmoid"))
    assert len(net.backbone.layers) == 340
    trainable = {"a": 7_888_387, "b": 6_383_963, "paper": 7_889_667}
    for name, count in trainable.items():
        (only,) = load_experiment(CONFIGS / f"pneumonia_efficientnetb2_{name}.yaml").stages
        assert parameter_counts(net.connect(only)) == (7_957_242, count)
    head, tune = load_experiment(CONFIGS / "pneumonia_efficientnetb2_two_stage.yaml").stages
    assert parameter_counts(net.connect(head)) == (7_957_242, 188_673)
    norms = [layer for layer in net.backbone.layers[238:] if isinstance(layer, keras.layers.BatchNormalization)]
    own = sum(2 * layer.gamma.shape[0] for layer in norms)
    assert own > 0
    assert parameter_counts(net.connect(tune)) == (7_957_242, 6_383_963 - own)
    assert parameter_counts(net.connect(stage(trainable={"first_frozen": 237})))[1] == 6_383_963


@pytest.mark.tensorflow
def test_the_counts_of_resnet101() -> None:
    import keras

    from cvlab.models.network import build_network, parameter_counts

    experiment = load_experiment(CONFIGS / "covid_resnet101.yaml")
    net = build_network(experiment.model, image_size=(32, 32), output=keras.layers.Dense(1, activation="sigmoid"))
    head = 2048 * 256 + 256 + 256 * 128 + 128 + 128 + 1
    assert net.backbone.count_params() == 42_658_176
    assert parameter_counts(net.connect(experiment.stages[0])) == (42_658_176 + head, head)


@pytest.mark.tensorflow
@pytest.mark.parametrize(("pooling", "features"), [("avg", 512), ("max", 512), ("flatten", 2 * 512)])
def test_pooling_and_head_are_settings(pooling: str, features: int) -> None:
    import keras

    from cvlab.models.pretrained import Config, head

    layers = head(
        Config(
            network="VGG16",
            pooling=pooling,  # type: ignore[arg-type]
            head=({"units": 8, "batchnorm": True, "activation": "elu", "dropout": 0.25}, {"units": 4}),  # type: ignore
        )
    )
    kinds = [type(layer).__name__ for layer in layers[1:]]
    assert kinds == ["Dense", "BatchNormalization", "Activation", "Dropout", "Dense", "Activation"]
    assert (layers[3].get_config()["activation"], layers[4].rate) == ("elu", 0.25)
    assert layers[0](keras.Input((1, 2, 512))).shape == (None, features)


@pytest.mark.tensorflow
def test_what_rescales_inside_of_a_network_is_in_float32_under_mixed_precision() -> None:
    import keras

    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        net = network("pretrained", network="MobileNetV3Small", weights="none")
    finally:
        keras.config.set_dtype_policy("float32")
    rescaling, convolution = net.backbone.layers[1:3]
    assert isinstance(rescaling, keras.layers.Rescaling)
    assert (rescaling.compute_dtype, convolution.compute_dtype) == ("float32", "bfloat16")
    levels = np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1).repeat(3, axis=3)
    assert len(np.unique(np.asarray(rescaling(levels)))) == 256


@pytest.mark.tensorflow
def test_efficientnet_from_a_path_gives_what_keras_gives_with_imagenet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras builds it with one more layer for `imagenet` than for a path; without that the outputs are others."""
    import keras
    from keras.src.utils import file_utils

    from cvlab.models import pretrained
    from cvlab.models.pretrained_weights import finish_loading

    keras.utils.clear_session()
    with monkeypatch.context() as patch:
        patch.setattr(file_utils, "get_file", lambda *_, **__: "")
        patch.setattr(keras.Model, "load_weights", lambda *_: None)
        keras_own = keras.applications.EfficientNetB0(include_top=False, weights="imagenet", input_shape=(32, 32, 3))
    keras_own.get_layer("normalization").set_weights(
        [*np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]), np.array(0)]
    )
    finish_loading(keras_own)
    for layer in keras_own.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # Statistics of these images, without which features hardly depend on an image.
    keras_own(images(8).astype(np.float32), training=True)
    file = write_old(tmp_path / "models" / NETWORKS["EfficientNetB0"].imagenet((32, 32)).name, keras_own)
    in_cache("EfficientNetB0", file, monkeypatch)
    config = pretrained.Config(network="EfficientNetB0", weights=str(file))
    x = keras.Input((32, 32, 3))
    backbone = keras.Model(x, pretrained.backbone(x, config))
    photographs = images(2).astype(np.float32)
    expected = np.asarray(keras_own(photographs, training=False))
    start = backbone.get_weights()
    for weights in (str(file), "imagenet"):
        backbone.set_weights(start)
        said = pretrained.load_pretrained(backbone, config.model_copy(update={"weights": weights}))
        assert said is not None
        assert str(file) in said
        np.testing.assert_array_equal(np.asarray(backbone(photographs, training=False)), expected)
    assert len(backbone.layers) == len(keras_own.layers)
    deviation = backbone.get_layer("rescale_deviation")
    np.testing.assert_allclose(deviation.scale, 1 / np.sqrt([0.229, 0.224, 0.225]), rtol=1e-12)
    deviation.scale = 1.0
    assert np.isfinite(expected).all()
    assert np.abs(np.asarray(backbone(photographs, training=False)) - expected).max() > 0.01 * np.abs(expected).max()


@pytest.mark.tensorflow
def test_an_efficientnet_that_was_not_built_for_imagenet_is_refused(tmp_path: Path) -> None:
    import keras

    from cvlab.models import pretrained

    keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3)).save_weights(
        tmp_path / "w.weights.h5"
    )
    config = pretrained.Config(network="EfficientNetB0", weights=str(tmp_path / "w.weights.h5"))
    x = keras.Input((32, 32, 3))
    backbone = keras.Model(x, pretrained.backbone(x, config))
    with pytest.raises(ConfigError, match="not built for ImageNet weights"):
        pretrained.load_pretrained(backbone, config)


def test_a_checkpoint_of_a_run_is_no_file_of_weights(tmp_path: Path) -> None:
    """The gate would not know what it was trained on."""
    from cvlab.models.network import find_weights
    from cvlab.models.pretrained import Config

    with zipfile.ZipFile(tmp_path / "best.keras", "w") as archive:
        archive.writestr("cvlab_state.json", "{}")
    with pytest.raises(ConfigError, match=r"model\.init_from=RUN_DIR"):
        find_weights(Config(network="MobileNet", weights=str(tmp_path / "best.keras")), image_size=(32, 32))
    with pytest.raises(ConfigError, match="there is no such file"):
        find_weights(Config(network="MobileNet", weights=str(tmp_path / "none.keras")), image_size=(32, 32))


@pytest.mark.tensorflow
def test_a_resumed_run_needs_no_file(tmp_path: Path) -> None:
    import keras

    from cvlab import checkpoint
    from cvlab.config import DataConfig, Experiment
    from cvlab.data.source import Labels
    from cvlab.initial import starting_networks
    from cvlab.models.pretrained import Config
    from cvlab.tasks import classification

    donor = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(32, 32, 3))
    donor.save_weights(tmp_path / "w.weights.h5")
    task = classification.Config()
    config = Config(network="MobileNet", weights=str(tmp_path / "w.weights.h5"))
    data = DataConfig(name="none", image_size=(32, 32))
    only = stage(trainable="head").model_copy(update={"data": data})
    experiment = Experiment(name="x", task=task, data=data, model=config, stages=[only])
    built = [classification.build(task, Labels(class_names=("a", "b")))]
    networks, said = starting_networks(experiment, built)
    assert str(tmp_path / "w.weights.h5") in said
    assert "the head is new, from seed 42" in said
    for ours, theirs in zip(networks[0].backbone.get_weights(), donor.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    (tmp_path / "w.weights.h5").unlink()
    initial = tmp_path / "initial.keras"
    checkpoint.save_inference(initial, networks[0].connect(only), {"weights": said})
    again, said_again = starting_networks(experiment, built, initial=initial)
    assert said_again == said
    for ours, theirs in zip(again[0].backbone.get_weights(), donor.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
