"""The U-Nets: exact counts, what goes where, freezing, weights from files, saving and the sizes that they take."""

from __future__ import annotations

import importlib.util
import io
import itertools
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvlab.config import DataConfig, Experiment
from cvlab.errors import ConfigError
from tests.config_fixture import changed, problems_of
from tests.test_models import images, stage

pytestmark = pytest.mark.tensorflow

MODEL = "model: {name: vggnet, dropout: 0.5}"
TOY: dict[str, dict[str, Any]] = {
    "unet": {"filters": (2, 3, 4, 5, 6)},
    "unet_vgg16": {"weights": "none", "decoder_filters": (5, 4, 3, 2)},
}
names = pytest.mark.parametrize("name", sorted(TOY))


def output_layer() -> Any:
    import keras

    return keras.layers.Conv2D(1, 1, activation="sigmoid", dtype="float32", name="output")


def network(name: str, *, size: tuple[int, int] = (32, 32), **settings: Any) -> Any:
    from cvlab import registry
    from cvlab.models.network import build_network

    config = registry.load(registry.MODELS, name).Config(**settings)
    return build_network(config, image_size=size, output=output_layer())


def toy(name: str, **settings: Any) -> Any:
    return network(name, **(TOY[name] | settings))


def test_the_counts_with_vgg16_are_those_of_the_calculation() -> None:
    from cvlab.models.network import parameter_counts

    net = network("unet_vgg16", size=(256, 256), weights="none")
    assert net.backbone.count_params() == 14_714_688
    assert parameter_counts(net.connect(stage(trainable="head"))) == (25_862_337, 11_143_809)
    # What is never trained are the moving averages of the decoder's BatchNorm.
    assert parameter_counts(net.connect(stage())) == (25_862_337, 25_862_337 - 2 * 2 * (512 + 256 + 128 + 64))


def test_the_plain_counts_are_those_of_the_paper() -> None:
    from cvlab.models.network import parameter_counts

    model = network("unet", size=(256, 256)).connect(stage())
    assert parameter_counts(model) == (31_031_745, 31_031_745)
    assert model.output_shape == (None, 256, 256, 1)


@names
def test_an_encoder_gives_four_skips_and_the_bridge_and_the_decoder_the_images_size(name: str) -> None:
    net = toy(name, size=(48, 80))
    channels = {"unet": (2, 3, 4, 5, 6), "unet_vgg16": (64, 128, 256, 512, 512)}[name]
    expected = [(None, 48 // 2**i, 80 // 2**i, count) for i, count in enumerate(channels)]
    assert [tuple(output.shape) for output in net.backbone.outputs] == expected
    masks = np.asarray(net.connect(stage())(images(2, 80)[:, :48], training=False))
    assert masks.shape == (2, 48, 80, 1)
    assert masks.dtype == np.float32
    assert ((masks >= 0) & (masks <= 1)).all()


@names
@pytest.mark.parametrize("upsampling", ["transpose", "resize"])
def test_every_place_of_every_skip_and_of_the_bridge_counts(name: str, upsampling: str) -> None:
    import tensorflow as tf

    net = toy(name, upsampling=upsampling, batchnorm=False)
    decoder = net.head[0]
    # Where everything is above 0, no ReLU hides anything.
    decoder.set_weights([np.full(weight.shape, 0.01) for weight in decoder.get_weights()])
    features = [tf.ones((1, *output.shape[1:])) for output in net.backbone.outputs]
    with tf.GradientTape() as tape:
        tape.watch(features)
        masks = decoder(features, training=False)
    assert masks.shape == (1, 32, 32, 2)
    for slopes, level in zip(tape.gradient(masks, features), features, strict=True):
        assert slopes.shape == level.shape
        assert (np.asarray(slopes) > 0).all()


def test_the_features_are_those_of_vgg16_in_keras() -> None:
    import keras

    from cvlab.models.unet_vgg16 import OUTPUTS

    net = toy("unet_vgg16")
    whole = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    whole.set_weights(net.backbone.get_weights())
    x = images(2).astype(np.float32)
    expected = keras.Model(whole.inputs, [whole.get_layer(name).output for name in OUTPUTS])([x])
    for ours, theirs in zip(net.backbone(x), expected, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    assert "block5_pool" not in [layer.name for layer in net.backbone.layers]


def counted(filters: tuple[int, ...], channels: tuple[int, ...], *, upsampling: str, batchnorm: bool) -> int:
    """The parameters of a decoder, by hand."""
    total, below = 0, channels[-1]
    for count, skip in zip(filters, channels[-2::-1], strict=True):
        total += (4 if upsampling == "transpose" else 9) * below * count + count
        total += 9 * (count + skip) * count + count + 9 * count * count + count + 8 * count * batchnorm
        below = count
    return total


@pytest.mark.parametrize(("upsampling", "batchnorm"), [*itertools.product(("transpose", "resize"), (True, False))])
def test_the_decoder_is_a_setting(upsampling: str, batchnorm: bool) -> None:
    import keras

    net = toy("unet", upsampling=upsampling, batchnorm=batchnorm, dropout=0.3, batchnorm_momentum=0.8)
    (decoder, _) = net.head
    expected = counted((5, 4, 3, 2), (2, 3, 4, 5, 6), upsampling=upsampling, batchnorm=batchnorm)
    assert decoder.count_params() == expected
    kinds = [type(layer).__name__ for layer in decoder.layers]
    assert kinds.count("Dropout") == 4
    norms = [layer for layer in decoder.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {layer.momentum for layer in norms} == ({0.8} if batchnorm else set())
    assert len(norms) == 8 * batchnorm
    assert ("Conv2DTranspose" in kinds, "UpSampling2D" in kinds) == (upsampling == "transpose", upsampling == "resize")
    assert net.config.has_batchnorm == batchnorm


def test_dropout_and_decoder_filters_have_their_defaults() -> None:
    from cvlab.models import unet, unet_vgg16

    assert unet.Config().model_dump() == {
        "name": "unet", "preprocessing": "unit", "init_from": None, "batchnorm": False, "batchnorm_momentum": 0.9,
        "dropout": 0.0, "upsampling": "transpose", "filters": (64, 128, 256, 512, 1024),
    }  # fmt: skip
    assert unet_vgg16.Config().model_dump() == {
        "name": "unet_vgg16", "preprocessing": "caffe", "init_from": None, "batchnorm": True, "batchnorm_momentum": 0.9,
        "dropout": 0.0, "upsampling": "transpose", "weights": "imagenet", "decoder_filters": (512, 256, 128, 64),
    }  # fmt: skip


def test_a_step_with_the_fused_batchnorm_is_that_of_keras() -> None:
    # Where an activation is zero but for rounding, either side of the kink of a ReLU is right: few draws have one.
    assert min(_difference_after_a_step(seed) for seed in (0, 1, 3)) < 1e-5


def _difference_after_a_step(seed: int) -> float:
    """Trains one step with the fused kernel and one with Keras' own; returns the largest difference of a weight."""
    import keras

    keras.utils.set_random_seed(seed)
    model = toy("unet", batchnorm=True).connect(stage())
    # A clone computes as Keras does.
    plain = keras.models.clone_model(model, clone_function=_clone, recursive=True)
    plain.set_weights(model.get_weights())
    truth = (images(4)[..., :1] > 128).astype(np.uint8)
    for one in (model, plain):
        one.compile(optimizer=keras.optimizers.SGD(0.1), loss="binary_crossentropy", run_eagerly=True)
        one.train_on_batch(images(4), truth)
    norms = [
        model.get_layer(part).get_layer(norm) for part, norm in (("backbone", "block1_norm1"), ("decoder", "up4_norm2"))
    ]
    assert all("call" in vars(norm) for norm in norms)
    assert not any("call" in vars(layer) for layer in plain.get_layer("decoder").layers)
    pairs = zip(model.get_weights(), plain.get_weights(), strict=True)
    return max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)


def _clone(layer: Any) -> Any:
    return type(layer).from_config(layer.get_config())


@pytest.mark.parametrize(("name", "upsampling"), [("unet", "resize"), ("unet_vgg16", "transpose")])
def test_a_saved_model_opens_without_cvlab(name: str, upsampling: str, tmp_path: Path) -> None:
    import keras

    from cvlab import checkpoint

    path = tmp_path / "model.keras"
    model = toy(name, batchnorm=True, dropout=0.2, upsampling=upsampling).connect(stage(trainable="head"))
    checkpoint.save_inference(path, model, {})
    with zipfile.ZipFile(path) as archive:
        assert b"cvlab" not in archive.read("config.json")
    opened, again = keras.saving.load_model(path, safe_mode=True), keras.Model(model.inputs, model.outputs)
    x = images(2)
    ours, theirs = (np.asarray(one([x], training=False)[0]) for one in (again, opened))
    np.testing.assert_array_equal(ours, theirs)
    checkpoint.load_weights(toy(name, batchnorm=True, dropout=0.2, upsampling=upsampling).connect(stage()), path)


def test_a_frozen_encoder_keeps_its_weights_while_the_decoder_trains() -> None:
    net = toy("unet", batchnorm=True)
    model = net.connect(stage(trainable="head"))
    assert net.backbone_is_frozen
    assert not net.has_vector_features
    model.compile(optimizer="adam", loss="binary_crossentropy", run_eagerly=True)
    before = {part: model.get_layer(part).get_weights() for part in ("backbone", "decoder")}
    model.train_on_batch(images(4), np.ones((4, 32, 32, 1), dtype=np.uint8))
    same = {
        part: [np.array_equal(old, new) for old, new in zip(then, model.get_layer(part).get_weights(), strict=True)]
        for part, then in before.items()
    }
    assert all(same["backbone"])
    assert not any(same["decoder"])


def test_other_forms_of_freezing_count_the_layers_of_the_encoder() -> None:
    net = toy("unet_vgg16")
    assert len(net.backbone.layers) == 18
    for trainable, frozen in (
        (({"from_layer": "block5_conv1"}), 15),
        ({"last_layers": 3}, 15),
        ({"first_frozen": 4}, 4),
    ):
        model = net.connect(stage(trainable=trainable))
        assert [layer.trainable for layer in net.backbone.layers] == [i >= frozen for i in range(18)]
        assert len(model.get_layer("decoder").trainable_variables) == len(net.head[0].trainable_variables) > 0
    with pytest.raises(ConfigError, match="did you mean 'block5_conv3'"):
        net.connect(stage(trainable={"from_layer": "block5_conv4"}))


def test_features_of_several_levels_are_never_computed_once() -> None:
    from cvlab.console import Console
    from cvlab.models.network import build_network
    from cvlab.models.vggnet import Config
    from cvlab.training_run import TrainingRun

    head = stage(trainable="head")
    for net, cached in (
        (toy("unet"), False),
        (
            build_network(Config(width=0.1, dense_units=(2,)), image_size=(32, 32), output=output_layer_of_classes()),
            True,
        ),
    ):
        said = io.StringIO()
        only = Experiment(name="x", task=head.task, data=head.data, model=net.config, stages=[head])
        nothing: Any = None
        run = TrainingRun(nothing, only, nothing, [], nothing, Console(said))
        net.connect(head)
        assert run._caches_features(net, head) is cached
        assert ("computed once" in said.getvalue()) is cached
        assert "random weights" in said.getvalue()


def output_layer_of_classes() -> Any:
    import keras

    return keras.layers.Dense(2, activation="softmax")


@names
def test_the_table_of_layers_lists_those_of_encoder_and_decoder(name: str) -> None:
    from cvlab.models.network import describe_model

    table = describe_model(toy(name).connect(stage(trainable="head")))
    assert sum(layer["parameters"] for layer in table["layers"]) == table["total"]
    assert table["total"] == table["trainable"] + table["frozen"]
    own = {layer["name"]: layer for layer in table["layers"]}
    assert len(own) == len(table["layers"])
    assert own["backbone/block1_conv2"]["output_shape"][:3] == [None, 32, 32]
    assert not own["backbone/block1_conv2"]["trainable"]
    assert own["decoder/up1_conv2"]["trainable"]
    assert own["decoder/up1_conv2"]["output_shape"] == [None, None, None, 2]
    assert {key.split("/")[0] for key in own} == {
        "image",
        "rescale",
        "standardise",
        "backbone",
        "decoder",
        "output",
    } - ({"standardise"} if name == "unet" else {"rescale"})


def test_a_new_head_is_a_new_decoder_on_the_same_encoder(tmp_path: Path) -> None:
    from cvlab import checkpoint
    from cvlab.models.network import BACKBONE

    net = toy("unet")
    first = net.connect(stage())
    other = net.with_new_head(output_layer())
    second = other.connect(stage())
    assert other.backbone is net.backbone
    assert other.head[0] is not net.head[0]
    checkpoint.save_inference(tmp_path / "a.keras", first, {})
    encoder = net.backbone.get_weights()
    decoder = other.head[0].get_weights()
    net.backbone.set_weights([np.zeros_like(weight) for weight in encoder])
    checkpoint.load_layer(second, tmp_path / "a.keras", BACKBONE)
    for before, after in zip(encoder, net.backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    for before, after in zip(decoder, other.head[0].get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("same_outputs", [True, False])
def test_a_run_starts_from_another_one(same_outputs: bool, tmp_path: Path) -> None:
    from cvlab import checkpoint
    from cvlab.data.source import Labels
    from cvlab.initial import starting_networks
    from cvlab.models.unet import Config
    from cvlab.run_folder import RunFolder, write_json, write_text
    from cvlab.tasks import classification

    task = classification.Config()
    built = [classification.build(task, Labels(class_names=("a", "b")))]
    data = DataConfig(name="none", image_size=(32, 32))
    only = stage().model_copy(update={"data": data})

    def experiment(**settings: Any) -> Experiment:
        model = Config(**TOY["unet"], **settings)
        return Experiment(name="x", task=task, data=data, model=model, stages=[only], seed=7)

    run = RunFolder(tmp_path / "run")
    donor = starting_networks(experiment(), built)[0][0].connect(only)
    checkpoint.save_inference(run.best, donor, {})
    write_text(run.config, "model: {preprocessing: unit}\n")
    outputs = [*built[0].outputs] if same_outputs else ["classification", "c"]
    write_json(run.data, {"stages": [{"stage": "train", "counts": {}, "images": 4, "outputs": outputs}]})
    later = experiment(init_from=run.path).model_copy(update={"seed": 8})
    (net,), said = starting_networks(later, built)
    assert said.startswith("all weights" if same_outputs else "backbone from")
    model = net.connect(only)
    for part, same in (("backbone", True), ("decoder", same_outputs)):
        pairs = zip(model.get_layer(part).get_weights(), donor.get_layer(part).get_weights(), strict=True)
        assert all(np.array_equal(ours, theirs) for ours, theirs in pairs if ours.ndim == 4) is same


def test_weights_from_a_path_fill_the_encoder_and_only_that(tmp_path: Path) -> None:
    import keras

    from cvlab.models.network import find_weights, load_pretrained

    donor = keras.applications.VGG16(include_top=False, weights=None, input_shape=(48, 48, 3))
    path = tmp_path / "w.weights.h5"
    with pytest.raises(ConfigError, match="there is no such file"):
        find_weights(toy("unet_vgg16", weights=str(path)).config, image_size=(32, 32))
    donor.save_weights(path)
    net = toy("unet_vgg16", weights=str(path))
    find_weights(net.config, image_size=(32, 32))
    decoder = net.head[0].get_weights()
    assert load_pretrained(net) is not None
    for ours, theirs in zip(net.backbone.get_weights(), donor.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for before, after in zip(decoder, net.head[0].get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert load_pretrained(toy("unet_vgg16")) is None


def test_real_weights_give_the_features_that_keras_gives(real_data: Path) -> None:
    import keras
    from PIL import Image

    from cvlab.models.network import load_pretrained
    from cvlab.models.preprocessing import preprocess
    from cvlab.models.unet_vgg16 import OUTPUTS

    path = real_data / "weights" / "vgg16_imagenet_notop.weights.h5"
    net = network("unet_vgg16", size=(64, 64), weights=str(path), preprocessing="torch", decoder_filters=(2, 2, 2, 2))
    assert path.name in str(load_pretrained(net))
    brains = sorted((real_data / "lgg" / "kaggle_3m").glob("*/*_1[0-9].tif"))[:3]
    x = np.stack([np.asarray(Image.open(brain).convert("RGB").resize((64, 64)), dtype=np.float32) for brain in brains])
    whole = keras.applications.VGG16(include_top=False, weights=path, input_shape=(64, 64, 3))
    ready = keras.applications.imagenet_utils.preprocess_input(x.copy(), mode="torch")
    expected = keras.Model(whole.inputs, [whole.get_layer(name).output for name in OUTPUTS]).predict(ready, verbose=0)
    inputs = keras.Input((64, 64, 3))
    ours = keras.Model(inputs, net.backbone(preprocess(inputs, "torch"))).predict(x, verbose=0)
    for one, other in zip(ours, expected, strict=True):
        assert other.max() > 1
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        ("unet", "[100, 130]", "7: data.image_size: expected sides divisible by 16 for unet (the nearest: [96, 128] "
         "and [112, 144]), received [100, 130]."),
        ("unet", "[64, 65]", "7: data.image_size: expected sides divisible by 16 for unet (the nearest: [64, 64] and "
         "[64, 80]), received [64, 65]."),
        ("unet", "[4095, 16]", "7: data.image_size: expected sides divisible by 16 for unet (the nearest: [4080, 16] "
         "and [4096, 16]), received [4095, 16]."),
        ("unet", "[8, 64]", "7: data.image_size: expected at least 16 pixels a side for unet, received [8, 64]."),
        ("unet_vgg16", "[40, 40]", "7: data.image_size: expected sides divisible by 16 for unet_vgg16 (the nearest: "
         "[32, 32] and [48, 48]), received [40, 40]."),
        ("unet_vgg16", "[16, 16]", "7: data.image_size: expected at least 32 pixels a side for unet_vgg16, received "
         "[16, 16]."),
    ],
)  # fmt: skip
def test_an_image_that_does_not_halve_four_times_is_an_error(
    model: str, size: str, message: str, tmp_path: Path
) -> None:
    text = changed((MODEL, f"model: {{name: {model}}}"), ("[64, 64]", size))
    sizes = [problem for problem in problems_of(tmp_path / "c.yaml", text) if "image_size" in problem]
    assert sizes == [f"c.yaml:{message}"]


@names
def test_a_size_that_halves_four_times_is_none(name: str, tmp_path: Path) -> None:
    text = changed((MODEL, f"model: {{name: {name}}}"), ("[64, 64]", "[48, 256]"))
    assert not any("image_size" in problem for problem in problems_of(tmp_path / "c.yaml", text))


def test_a_model_for_another_task_is_refused(tmp_path: Path) -> None:
    assert problems_of(tmp_path / "c.yaml", changed((MODEL, "model: {name: unet}"))) == [
        "c.yaml:12: model.name: expected a model for classification (alexnet, covid_cnn, mobilenet, pretrained, "
        "vggnet), received 'unet'."
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("weights: imagnet", "12: model.weights: expected 'imagenet', 'none' or the path of an .h5 or .keras file, "
         "received 'imagnet'; did you mean 'imagenet'?"),
        ("weights: imagenet, init_from: runs/a/b", "12: model.weights: expected 'none' or nothing beside `init_from`, "
         "which brings weights, received 'imagenet'."),
        ("preprocessing: torc", "12: model.preprocessing: expected 'none', 'unit', 'tf', 'torch' or 'caffe', received "
         "'torc'; did you mean 'torch'?"),
        ("network: VGG19", "12: model.network: unknown key"),
        ("upsampling: bilinear", "12: model.upsampling: expected 'transpose' or 'resize', received 'bilinear'."),
        ("decoder_filters: [8, 8, 8, 0]", "12: model.decoder_filters.3: expected at least 1, received 0."),
        ("decoder_filters: [8, 8, 8]", "12: model.decoder_filters: "),
        ("decoder_filters: [8, 8, 8, 8, 8]", "12: model.decoder_filters: "),
        ("dropout: 1", "12: model.dropout: expected below 1, received 1."),
    ],
)  # fmt: skip
def test_wrong_settings_are_named(settings: str, message: str, tmp_path: Path) -> None:
    text = changed((MODEL, f"model: {{name: unet_vgg16, {settings}}}"))
    found = problems_of(tmp_path / "c.yaml", text)
    assert any(problem.startswith(f"c.yaml:{message}") for problem in found), found


def test_preprocessing_and_weights_follow_as_for_pretrained() -> None:
    from cvlab.models.unet_vgg16 import Config

    def resolved(text: str) -> tuple[str, str]:
        config = Config.model_validate_json(text)
        return config.preprocessing, config.weights

    assert resolved("{}") == ("caffe", "imagenet")
    assert resolved('{"preprocessing": null, "weights": "none"}') == ("caffe", "none")
    assert resolved('{"preprocessing": "torch", "weights": "/tmp/a.h5"}') == ("torch", "/tmp/a.h5")
    assert resolved('{"init_from": "/tmp/run"}') == ("caffe", "none")


UNDER_JAX = """
import json
import sys
import keras
import numpy as np
from cvlab import checkpoint
from tests.test_models import stage
from tests.test_unet import toy
assert keras.backend.backend() == "jax"
images, outputs, *checkpoints = sys.argv[1:]
found = []
for path in checkpoints:
    name, upsampling = path.rsplit("/")[-1].removesuffix(".keras").rsplit("-", 1)
    built = toy(name, upsampling=upsampling, batchnorm=True).connect(stage())
    checkpoint.load_weights(built, checkpoint.Path(path))
    opened = keras.saving.load_model(path, compile=False, safe_mode=True)
    found += [model.predict(np.load(images), verbose=0) for model in (built, opened)[: 1 + (upsampling == "resize")]]
np.save(outputs, found)
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
def test_the_same_weights_give_the_same_masks_under_jax(tmp_path: Path) -> None:
    from cvlab import checkpoint

    x = images(3)
    np.save(tmp_path / "images.npy", x)
    expected, checkpoints = [], []
    for name, upsampling in (("unet", "resize"), ("unet_vgg16", "transpose")):
        model = toy(name, upsampling=upsampling, batchnorm=True).connect(stage())
        checkpoints.append(tmp_path / f"{name}-{upsampling}.keras")
        checkpoint.save_inference(checkpoints[-1], model, {})
        expected += [model.predict(x, verbose=0)] * (1 + (upsampling == "resize"))
    outputs = tmp_path / "outputs.npy"
    command = [sys.executable, "-c", UNDER_JAX, *map(str, (tmp_path / "images.npy", outputs, *checkpoints))]
    chosen = {"KERAS_BACKEND": "jax", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    subprocess.run(command, env={**os.environ, **chosen}, check=True, capture_output=True)
    assert all(np.ptp(masks) > 0.001 for masks in expected)
    np.testing.assert_allclose(np.load(outputs), expected, rtol=0, atol=1e-5)
