"""Weights from files: every format of Keras gives the same network, and what does not fit is named."""

from __future__ import annotations

import contextlib
import io
import pickle
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvlab.errors import ConfigError
from tests.weights_fixture import toy_backbone, write_old

pytestmark = pytest.mark.tensorflow


def load(backbone: Any, path: Path) -> str:
    from cvlab.models.pretrained_weights import load_pretrained

    return load_pretrained(backbone, network="VGG16", weights=str(path), image_size=(8, 8))


def refused(path: Path, backbone: Any | None = None) -> str:
    """What is said of a file; a backbone that it does not fit keeps its weights."""
    backbone = backbone or toy_backbone(seed=1)
    before = backbone.get_weights()
    with pytest.raises(ConfigError) as caught:
        load(backbone, path)
    for left, right in zip(before, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    (problem,) = caught.value.problems
    assert problem.startswith(f"model.weights: {path}: ")
    return problem.removeprefix(f"model.weights: {path}: ")


def with_top(backbone: Any) -> Any:
    import keras

    x = keras.layers.GlobalAveragePooling2D()(backbone.output)
    return keras.Model(backbone.input, keras.layers.Dense(3, name="top")(x))


def around(backbone: Any) -> Any:
    """A whole classifier as one trains it: the backbone as a layer, and an optimizer."""
    import keras

    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(3, 3, padding="same")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(backbone(x))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    model.compile(optimizer="adam", loss="mse")
    model.fit(np.ones((2, 8, 8, 3)), np.ones((2, 2)), verbose=0)
    return model


@pytest.mark.parametrize("form", ["new", "old", "old_model", "whole", "with_top", "old_with_top", "inside"])
def test_every_format_gives_the_network_that_was_saved(form: str, tmp_path: Path) -> None:
    donor = toy_backbone()
    whole = {"with_top": with_top, "old_with_top": with_top, "inside": around}.get(form, lambda model: model)(donor)
    path = tmp_path / {"new": "w.weights.h5", "old": "w.h5", "old_with_top": "w.h5", "old_model": "w.h5"}.get(
        form, "w.keras"
    )
    if form.startswith("old"):
        write_old(path, whole, below="model_weights" if form == "old_model" else "")
    elif form == "new":
        whole.save_weights(path)
    else:
        whole.save(path)
    backbone = toy_backbone(seed=1)
    x = np.random.default_rng(2).uniform(0, 255, (2, 8, 8, 3))
    expected = donor.predict(x, verbose=0)
    assert not np.allclose(backbone.predict(x, verbose=0), expected)
    said = load(backbone, path)
    np.testing.assert_array_equal(np.asarray(backbone(x, training=False)), np.asarray(donor(x, training=False)))
    assert f"backbone VGG16 from {path} (SHA-256 " in said
    assert said.endswith(", less 1 layer that the backbone has not") == form.endswith("with_top")


def test_the_name_of_a_file_does_not_matter(tmp_path: Path) -> None:
    toy_backbone().save(tmp_path / "w.keras")
    (tmp_path / "w.keras").rename(tmp_path / "w.h5")
    backbone = toy_backbone(seed=1)
    load(backbone, tmp_path / "w.h5")
    for ours, theirs in zip(backbone.get_weights(), toy_backbone().get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_frozen_backbone_gets_its_weights_in_the_right_order(tmp_path: Path) -> None:
    """The older format stores trainable weights first, and a frozen layer has none."""
    write_old(tmp_path / "w.h5", toy_backbone())
    backbone = toy_backbone(seed=1)
    backbone.trainable = False
    load(backbone, tmp_path / "w.h5")
    for ours, theirs in zip(backbone.get_weights(), toy_backbone().get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
def test_a_misfit_names_the_first_layer_that_differs(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    donor = toy_backbone(filters=5)
    if suffix == ".h5":
        write_old(path, donor)
    else:
        (donor.save if suffix == ".keras" else donor.save_weights)(path)
    stored = "first" if suffix == ".h5" else "layers/conv2d"
    assert refused(path) == (
        f"does not fit VGG16: the layer 'first' has the shapes (3, 3, 3, 4), (4,); in the file '{stored}' has the "
        "shapes (3, 3, 3, 5), (5,)."
    )


@pytest.mark.parametrize("old", [True, False])
def test_a_file_with_fewer_layers_is_refused(old: bool, tmp_path: Path) -> None:
    import keras

    donor = toy_backbone()
    shorter = keras.Model(donor.input, donor.get_layer("stem").output)
    path = tmp_path / ("w.h5" if old else "w.weights.h5")
    write_old(path, shorter) if old else shorter.save_weights(path)
    fit = 4 if old else 5
    assert refused(path) == (
        f"does not fit VGG16: the layer 'second' is missing in the file; the {fit} layers before it fit."
    )


def pickled_archive() -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    return memory.getvalue()


def other_archive() -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("readme.txt", "hello")
    return memory.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: expected weights that Keras saved (.weights.h5, .h5 or .keras)."),
        (b"<html>404</html>", "is no HDF5 file and no .keras archive"),
        (pickle.dumps({"weights": [1]}), "is a pickle, which may run any code when it is opened"),
        (pickled_archive(), "holds pickled objects, as PyTorch writes them"),
        (other_archive(), "is an archive without model.weights.h5"),
        (b"PK\x03\x04 and nothing more", "is missing, damaged or cut short"),
        (b"\x89HDF\r\n\x1a\n and nothing more", "is missing, damaged or cut short"),
    ],
)
def test_what_keras_did_not_save_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    path.write_bytes(content)
    assert message in refused(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "w.h5")
    assert "Is a directory" in refused(tmp_path)


def test_hdf5_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        file["table"] = [1, 2, 3]
    assert "holds no layers with weights" in refused(path)
    with h5py.File(path, "w") as file:
        file["layers/conv2d/vars/0"] = "text"
    assert "something else than an array of numbers at /layers/conv2d/vars/0" in refused(path)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["gone"]
    assert "is damaged" in refused(path)


def test_a_link_to_another_file_is_refused(tmp_path: Path) -> None:
    import h5py

    toy_backbone().save_weights(tmp_path / "other.weights.h5")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["layers"] = h5py.ExternalLink(str(tmp_path / "other.weights.h5"), "/layers")
    assert "has a link to another file at //layers" in refused(tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset(
            "layers/conv2d/vars/0", (2,), dtype="f4", external=[(str(tmp_path / "other.weights.h5"), 0, 8)]
        )
    assert "something else than an array of numbers" in refused(tmp_path / "w.h5")


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    donor = toy_backbone()
    donor.get_layer("first").bias.assign([1, np.nan, 1, 1])
    donor.save_weights(tmp_path / "w.weights.h5")
    assert refused(tmp_path / "w.weights.h5") == "holds values that are no finite numbers, at /layers/conv2d/vars/1."


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("saved")
    donor = toy_backbone()
    donor.save_weights(folder / "w.weights.h5")
    donor.save(folder / "w.keras")
    write_old(folder / "w.h5", donor)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@settings(max_examples=60)
@given(st.data())
def test_a_damaged_file_is_refused_or_gives_a_network(saved: dict[str, bytes], data: st.DataObject) -> None:
    """Flipped bytes and cut ends never end in anything but a `ConfigError`."""
    name = data.draw(st.sampled_from(sorted(saved)))
    content = bytearray(saved[name])
    for _ in range(data.draw(st.integers(0, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content[:cut])
        with contextlib.suppress(ConfigError):
            load(toy_backbone(seed=1), path)


@pytest.mark.parametrize(
    ("network", "name", "mode"),
    [
        ("MobileNetV2", "mobilenet_v2_imagenet_notop.weights.h5", "tf"),
        ("VGG16", "vgg16_imagenet_notop.weights.h5", "torch"),
    ],
)
def test_real_weights_give_the_features_that_keras_gives(network: str, name: str, mode: Any, real_data: Path) -> None:
    import keras
    from PIL import Image

    from cvlab.models import pretrained
    from cvlab.models.preprocessing import preprocess

    config = pretrained.Config(network=network, weights=str(real_data / "weights" / name), preprocessing=mode)
    inputs = keras.Input((64, 64, 3))
    backbone = keras.Model(inputs, pretrained.backbone(inputs, config))
    said = pretrained.load_pretrained(backbone, config)
    assert said is not None
    assert name in said
    model = keras.Model(inputs, backbone(preprocess(inputs, mode)))
    faces = sorted((real_data / "faces" / "happy").glob("*.jpg"))[:4]
    x = np.stack([np.asarray(Image.open(path).convert("RGB").resize((64, 64)), dtype=np.float32) for path in faces])
    keras_own = getattr(keras.applications, network)(include_top=False, weights=config.weights, input_shape=(64, 64, 3))
    ready = keras.applications.imagenet_utils.preprocess_input(x.copy(), mode=mode)
    expected = keras_own.predict(ready, verbose=0)
    assert expected.max() > 1
    np.testing.assert_allclose(backbone.predict(ready, verbose=0), expected, atol=1e-6)
    # From 0..255 on, two ways of rounding the same scaling meet: some 1e-7 of the largest feature.
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-4)
