"""Weights and networks from anybody: arrays of numbers, or one line that says no. No code in a file is ever run."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cvlab import checkpoint
from cvlab.data.array_file import npy_header, open_array
from cvlab.errors import RunFolderError
from cvlab.models.hdf5_file import UnreadableWeights
from cvlab.models.keras_archive import check_written
from cvlab.models.weight_files import open_weights, read_array, stored_networks
from tests.cli_fixture import refusal


class Touch:
    """Makes a file when it is taken out of a pickle."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mknod, (self.path,)


def arrays(**more: Any) -> bytes:
    """The weights of one layer as Keras stores them, with further members."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["layers/dense/vars/0"] = np.ones((3, 2), np.float32)
        for name, value in more.items():
            file[name] = value
    return stream.getvalue()


def network(*layers: tuple[str | None, str], **more: object) -> str:
    """What `config.json` says of a network of some classes, by module and name."""
    written = [{"module": module, "class_name": name, "config": {}, **more} for module, name in layers]
    return json.dumps({"module": "keras", "class_name": "Sequential", "config": {"layers": written}})


def archive(path: Path, members: dict[str, str | bytes], *, compressed: bool = False) -> Path:
    whole: dict[str, str | bytes] = {"metadata.json": "{}", "cvlab_state.json": "{}", "model.weights.h5": arrays()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as file:
        for name, content in {**whole, "config.json": network(("keras.layers", "Dense")), **members}.items():
            file.writestr(name, content)
    return path


def refused(path: Path) -> str:
    with pytest.raises(UnreadableWeights) as caught:
        check_written(path)
    return str(caught.value)


def test_what_cvlab_writes_is_opened(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.keras", {})
    check_written(path)
    with open_weights(path) as file:
        (found,) = stored_networks(file)
        assert read_array(found.layers["layers/dense"].arrays[0]).shape == (3, 2)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("keras.layers", "Lambda"),
        ("keras.layers", "TFSMLayer"),
        ("keras.layers", "StringLookup"),
        ("keras.utils", "get_file"),
        ("keras.models", "load_model"),
        ("os", "system"),
        ("builtins", "eval"),
        (None, "Dense"),
        ("keras.layers", "__lambda__"),
    ],
)
def test_networks_of_other_classes_are_refused_before_keras_sees_them(
    module: str | None, name: str, tmp_path: Path
) -> None:
    path = archive(tmp_path / "m.keras", {"config.json": network((module, name))})
    assert f"holds {name}" in refused(path)
    with pytest.raises(RunFolderError, match=f"holds {name}.*is no part of a network of cvlab and may run code"):
        checkpoint._check_network(path)


def test_a_class_registered_under_another_name_is_refused(tmp_path: Path) -> None:
    config = network(("keras.layers", "Dense"), registered_name="Custom>Dense")
    assert "may run code" in refused(archive(tmp_path / "m.keras", {"config.json": config}))


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"../../evil": b"x"}, r"holds '../../evil', which is no part"),
        ({"/etc/evil": b"x"}, r"holds '/etc/evil', which is no part"),
        ({"data.pkl": pickle.dumps({})}, r"holds 'data.pkl', which is no part"),
        ({"assets/x": b"x"}, r"holds 'assets/x', which is no part"),
        ({"config.json": "[" * 5000}, r"damaged config.json"),
        ({"config.json": "[]"}, r"damaged config.json"),
    ],
)
def test_archives_with_something_else_in_them_are_refused(
    members: dict[str, str | bytes], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UnreadableWeights, match=reason):
        check_written(archive(tmp_path / "m.keras", members))
    assert {path.name for path in tmp_path.iterdir()} == {"m.keras"}


def test_a_zip_bomb_is_refused_unread(tmp_path: Path) -> None:
    bomb = archive(tmp_path / "m.keras", {"config.json": b" " * 50_000_000}, compressed=True)
    assert bomb.stat().st_size < 100_000
    assert refused(bomb).endswith("compressed, which Keras never does")
    with pytest.raises(UnreadableWeights, match="compressed"), open_weights(bomb):
        pass


def test_overlapping_and_repeated_members_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.keras", {})
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("config.json", network(("keras.layers", "Lambda")))
    assert "twice" in refused(path)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.array(["text"], dtype=object), "something else than an array of numbers"),
        (h5py.ExternalLink("/etc/passwd", "/"), "a link to another file"),
        (h5py.SoftLink("/layers"), "a link in the place of an array"),
        (np.void(b"bytes"), "something else than an array of numbers"),
        (h5py.Empty("f"), "something else than an array of numbers"),
    ],
)
def test_hdf5_files_hold_arrays_of_numbers_alone(value: Any, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    path.write_bytes(arrays(other=value))
    with open_weights(path) as file, pytest.raises(UnreadableWeights, match=reason):
        stored_networks(file)


def test_arrays_that_promise_more_than_is_stored_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/dense/vars/0", shape=(10**6, 10**6), dtype="f4", chunks=(100, 100))
    assert path.stat().st_size < 100_000
    with open_weights(path) as file, pytest.raises(UnreadableWeights, match="promises 4,000,000,000,000 bytes"):
        stored_networks(file)


def test_a_group_that_holds_itself_ends(tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    with h5py.File(path, "w") as file:
        file["a/b"] = file["/"]
    with open_weights(path) as file, pytest.raises(UnreadableWeights, match="holds itself, or too much"):
        stored_networks(file)


def test_arrays_of_a_cache_are_used_only_as_they_were_written(tmp_path: Path) -> None:
    path, done = tmp_path / "a.npy", tmp_path / "done"
    np.save(path, np.array([Touch(done)], dtype=object), allow_pickle=True)
    assert open_array(path, np.float32, (1,)) is None
    assert not done.exists()
    path.write_bytes(npy_header(np.float32, (10**6,)) + bytes(8))
    assert open_array(path, np.float32, (10**6,)) is None
    np.save(path, np.arange(4, dtype=np.float32))
    np.testing.assert_array_equal(open_array(path, np.float32, (4,)), [0, 1, 2, 3])


CONFIG = """
name: weights
task: {name: classification}
data: {name: image_folder, root: ROOT, image_size: [32, 32], split: {train: 0.6, val: 0.2, test: 0.2}}
model: {name: pretrained, network: MobileNetV2, weights: FILE}
stages: [{name: only, epochs: 1, learning_rate: 1e-3}]
"""


@pytest.mark.tensorflow
def test_the_command_refuses_a_lambda_layer_and_pickled_code_in_one_line(tmp_path: Path) -> None:
    import keras

    from cvlab.data.synthetic import chest

    chest.write(tmp_path / "data", identities=8, images_per_identity=2, image_size=32)
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2)(keras.layers.Conv2D(2, 3)(inputs)))
    model.save(tmp_path / "lambda.keras")
    done = tmp_path / "done"
    (tmp_path / "pickled.keras").write_bytes(pickle.dumps(Touch(done)))
    for name, reason in (("lambda", "which brings code of its own"), ("pickled", "which may run any code")):
        text = CONFIG.replace("ROOT", str(tmp_path / "data")).replace("FILE", str(tmp_path / f"{name}.keras"))
        (tmp_path / "c.yaml").write_text(text)
        line = refusal("train", tmp_path / "c.yaml", "--run-dir", tmp_path / "runs")
        assert f"{name}.keras" in line
        assert reason in line
    assert not done.exists()
    with pytest.raises(RunFolderError, match=r"lambda\.keras: .*cvlab_state"):
        checkpoint.load_model(tmp_path / "lambda.keras")
    checkpoint.save_inference(tmp_path / "best.keras", model, {})
    with pytest.raises(RunFolderError, match=r"holds Lambda.*may run code"):
        checkpoint.load_model(tmp_path / "best.keras")
