"""Archives of Keras (`.keras`), looked at before Keras sees them: their members, and the classes that they name.

Keras builds a network from the classes that `config.json` names. Its safe mode keeps it from running pickled code, but
a class may also read a file, fetch one, or import a module. So cvlab opens only networks of the classes that it writes
itself, and takes arrays from no archive that brings code.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cvlab.bounded_file import BadJson, parse_json
from cvlab.models.hdf5_file import UnreadableWeights
from cvlab.text import printable

CONFIG, WEIGHTS, RUN_STATE = "config.json", "model.weights.h5", "cvlab_state.json"
_OWN_MEMBERS = frozenset({"metadata.json", CONFIG, WEIGHTS, RUN_STATE})
MAX_MEMBERS = 10_000
MAX_JSON_BYTES = 200_000_000
MAX_SHOWN = 60

_LAYERS = (
    "Activation Add AveragePooling2D BatchNormalization Concatenate Conv2D Conv2DTranspose Cropping2D Dense "
    "DepthwiseConv2D Dropout Flatten GaussianDropout GlobalAveragePooling2D GlobalMaxPooling2D InputLayer "
    "LayerNormalization MaxPooling2D Multiply Normalization ReLU Rescaling Reshape SeparableConv2D UpSampling2D "
    "ZeroPadding2D"
)
# By module, what the networks of cvlab are made of, those of keras.applications included.
WRITTEN = {
    None: {"__keras_tensor__"},
    "keras": {"DTypePolicy", "Sequential"},
    "keras.initializers": {"GlorotUniform", "HeNormal", "Ones", "VarianceScaling", "Zeros"},
    "keras.layers": {*_LAYERS.split()},
    "keras.src.applications.convnext": {"LayerScale"},
    "keras.src.applications.inception_resnet_v2": {"CustomScaleLayer"},
    "keras.src.models.functional": {"Functional"},
    "keras.src.ops.numpy": {"Add", "Flip", "Multiply"},
}
_CODE = frozenset({"Lambda", "__lambda__", "FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"})


def check_members(archive: zipfile.ZipFile, *, own: bool) -> None:
    """Checks that members are stored as Keras stores them: each once, in full, not compressed.

    Args:
        archive: The open archive.
        own: Whether it is to be a checkpoint of cvlab, which has no other members than these.

    Raises:
        UnreadableWeights: They are not.
    """
    found = archive.infolist()
    names = [item.filename for item in found]
    if len(found) > MAX_MEMBERS or len({*names}) < len(names):
        raise UnreadableWeights("has members twice, or too many: expected an archive that Keras saved")
    for item in found:
        if own and item.filename not in _OWN_MEMBERS:
            raise UnreadableWeights(f"holds '{_shown(item.filename)}', which is no part of a checkpoint of cvlab")
        if item.compress_type != zipfile.ZIP_STORED or item.flag_bits & 1 or item.file_size != item.compress_size:
            raise UnreadableWeights(f"holds '{_shown(item.filename)}' compressed, which Keras never does")
    if archive.fp is not None and sum(item.file_size for item in found) > archive.fp.seek(0, os.SEEK_END):
        raise UnreadableWeights("has members that overlap: expected an archive that Keras saved")


def read_member(archive: zipfile.ZipFile, name: str) -> Any:
    """Reads a member that holds JSON; training states may hold NaN.

    Raises:
        UnreadableWeights: It is missing, too large or no JSON.
        zipfile.BadZipFile: It is damaged.
    """
    if name not in archive.namelist():
        raise UnreadableWeights(f"lacks {name}: expected an archive that Keras saved")
    if archive.getinfo(name).file_size > MAX_JSON_BYTES:
        raise UnreadableWeights(f"has a {name} of more than {MAX_JSON_BYTES:,} bytes")
    try:
        return parse_json(archive.read(name), finite=False)
    except BadJson as error:
        raise UnreadableWeights(f"has a damaged {name} ({error})") from error


def check_written(path: Path) -> None:
    """Checks that a network is made of nothing but what cvlab writes, and that its arrays lie in the archive.

    Raises:
        UnreadableWeights: It is not.
        OSError: The file cannot be read.
        zipfile.BadZipFile: It is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        check_members(archive, own=True)
        config = read_member(archive, CONFIG)
    if not isinstance(config, dict):
        raise UnreadableWeights(f"has a damaged {CONFIG} (expected an object)")
    # Optimizer and loss are not opened.
    for part in _objects({key: value for key, value in config.items() if key != "compile_config"}):
        module, name, registered = part.get("module"), part["class_name"], part.get("registered_name")
        known = WRITTEN.get(module, ()) if module is None or isinstance(module, str) else ()
        if not isinstance(name, str) or name not in known or registered not in (None, name):
            raise UnreadableWeights(
                f"holds {_named(name, module)}, which is no part of a network of cvlab and may run code"
            )


def check_no_code(config: Any) -> None:
    """Checks that the network whose arrays are to be taken computes with nothing but Keras' own layers.

    None of its classes is made. But what a function of its own does to an image would be missing here, and the arrays
    mean nothing without.

    Raises:
        UnreadableWeights: It brings code, or classes that are not of Keras.
    """
    for part in _objects(config):
        module, name = part.get("module"), part["class_name"]
        of_keras = module is None or (isinstance(module, str) and module.split(".")[0] == "keras")
        if name in _CODE or not of_keras:
            raise UnreadableWeights(
                f"holds {_named(name, module)}, which brings code of its own: expected layers of Keras alone; or save "
                "the weights without it (model.save_weights('NAME.weights.h5'))"
            )


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """All mappings that Keras would make an object of, wherever they stand."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += item.values()
            if "class_name" in item:
                yield item
        elif isinstance(item, list):
            waiting += item


def _named(name: object, module: object) -> str:
    return f"{_shown(name)} (module {_shown(module)})" if module else _shown(name)


def _shown(value: object) -> str:
    text = printable(str(value))
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
