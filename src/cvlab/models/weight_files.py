"""Weight files of Keras, read as arrays by layer: `.weights.h5`, `.keras` and the older `.h5`. No code in them runs.

The format is judged by the content. Keras 3 stores a layer below a path that counts the layers of its class
(`layers/conv2d_1/vars/0`), and a network in a network below that of the inner one; the older format has a list of
layers in their order.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvlab.models.hdf5_file import UnreadableWeights as UnreadableWeights
from cvlab.models.hdf5_file import check_array, check_contents, member
from cvlab.models.keras_archive import CONFIG, RUN_STATE, WEIGHTS, check_members, check_no_code, read_member
from cvlab.models.older_names import has_older_names, read_older_names

if TYPE_CHECKING:
    import h5py

HDF5, ZIP, PICKLE = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", re.compile(rb"\x80[\x02-\x05]")
EXPECTED = "expected weights that Keras saved (.weights.h5, .h5 or .keras)"


@dataclass(frozen=True)
class StoredLayer:
    """The arrays of one layer, still in the file."""

    name: str
    arrays: Sequence[h5py.Dataset]


@dataclass(frozen=True)
class StoredNetwork:
    """The layers of one network in a file.

    Attributes:
        layers: Layers that have arrays, by their path, or by their number in the order of layers.
        ordered: Whether it is by their number (the older format).
    """

    layers: Mapping[str | int, StoredLayer]
    ordered: bool

    def keys_of_layers(self) -> set[str | int]:
        """Returns the keys of its layers, without the state of an optimizer or of metrics."""
        return {key for key in self.layers if isinstance(key, int) or key.startswith("layers/")}


@contextmanager
def open_weights(path: Path) -> Iterator[h5py.File]:
    """Opens the HDF5 file that `path` is, or that the `.keras` archive `path` holds.

    Raises:
        UnreadableWeights: It is neither.
    """
    import h5py

    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise UnreadableWeights("is no ordinary file")
        with path.open("rb") as file:
            start = file.read(len(HDF5))
        if start == HDF5:
            opened = h5py.File(path)
        elif start.startswith(ZIP):
            opened = h5py.File(io.BytesIO(_member(path)))
        else:
            raise UnreadableWeights(_foreign(start))
    except (OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile, EOFError) as error:
        raise UnreadableWeights(f"is missing, damaged or cut short ({error})") from error
    with opened:
        yield opened


def is_checkpoint_of_a_run(path: Path) -> bool:
    """Whether a file is a checkpoint of a run, whose training samples the gate must know of."""
    try:
        with zipfile.ZipFile(path) as archive:
            return RUN_STATE in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _member(path: Path) -> bytes:
    """Returns the weights in a `.keras` archive, whose checksum is checked."""
    with zipfile.ZipFile(path) as archive:
        if WEIGHTS not in archive.namelist():
            pickled = any(name.endswith((".pkl", ".pickle")) for name in archive.namelist())
            what = "holds pickled objects, as PyTorch writes them" if pickled else f"is an archive without {WEIGHTS}"
            raise UnreadableWeights(f"{what}: {EXPECTED}")
        check_members(archive, own=False)
        if CONFIG in archive.namelist():
            check_no_code(_without_training(read_member(archive, CONFIG)))
        return archive.read(WEIGHTS)


def _without_training(config: Any) -> Any:
    """Returns the network in a configuration: optimizer, loss and metrics have no say in what it computes."""
    if not isinstance(config, dict):
        return config
    return {key: value for key, value in config.items() if key not in ("compile_config", "training_config")}


def _foreign(start: bytes) -> str:
    if not start:
        return f"is empty: {EXPECTED}"
    if PICKLE.match(start):
        return f"is a pickle, which may run any code when it is opened: {EXPECTED}"
    return f"is no HDF5 file and no .keras archive: {EXPECTED}"


def stored_networks(file: h5py.File) -> list[StoredNetwork]:
    """Returns the networks in a file: the whole, then those inside of it.

    Raises:
        UnreadableWeights: There are no layers in it, or it is damaged.
    """
    check_contents(file)
    try:
        networks = _networks(file)
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError, OSError) as error:
        raise UnreadableWeights(f"is damaged ({error})") from error
    if not any(network.layers for network in networks):
        raise UnreadableWeights(f"holds no layers with weights: {EXPECTED}")
    return networks


def _networks(file: h5py.File) -> list[StoredNetwork]:
    group = file if has_older_names(file) else file.get("model_weights", file)
    if has_older_names(group):
        return [StoredNetwork(dict(enumerate(_listed(file, group))), ordered=True)]
    layers = dict(_found(file))
    inner = {path[: match.start()] for path in layers for match in re.finditer(r"(?:^|(?<=/))layers/", path)}
    return [
        StoredNetwork({path[len(at) :]: layer for path, layer in layers.items() if path.startswith(at)}, ordered=False)
        for at in sorted(inner, key=len)
    ]


def _listed(file: h5py.File, group: h5py.Group) -> Iterator[StoredLayer]:
    """The layers of the older format, in their order, without those that have no weights."""
    names = read_older_names(file)
    check_no_code(_without_training(names.config))
    for name, weights in zip(names.layers, names.weights, strict=True):
        layer = member(group, name)
        if arrays := [_dataset(layer, weight) for weight in weights]:
            yield StoredLayer(name, arrays)


def _found(group: h5py.Group, above: str = "") -> Iterator[tuple[str, StoredLayer]]:
    """The layers of the newer format by their path."""
    for name in group:
        item = member(group, name)
        if not hasattr(item, "keys"):
            continue
        if name == "vars" and len(item):
            path = above.rstrip("/")
            yield path, StoredLayer(path, [_dataset(item, key) for key in sorted(item, key=_number)])
        elif name not in ("vars", "seed_generator"):
            # As TensorFlow's own Keras called it.
            path = f"{above}{name.replace('_layer_checkpoint_dependencies', 'layers')}/"
            yield from _found(item, path)


def _number(key: str) -> tuple[int, str]:
    return (int(key), key) if key.isdecimal() else (-1, key)


def _dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    item = member(group, name)
    check_array(item)
    return item


def read_array(array: h5py.Dataset) -> NDArray[Any]:
    """Reads an array from the file.

    Raises:
        UnreadableWeights: It cannot be read, or holds values that are no numbers.
    """
    try:
        values = np.asarray(array)
    except OSError as error:
        raise UnreadableWeights(f"is damaged or cut short ({error})") from error
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UnreadableWeights(f"holds values that are no finite numbers, at {array.name}")
    return values
