"""The names that the older format of Keras' `.h5` files keeps as text, read by a process of its own.

HDF5 1.14 keeps text of variable length in a heap. One damaged byte there makes it search for ever, or crash, and no
Python code could stop it. Arrays and groups have no such weakness. What the process prints is its answer; where it dies
or takes too long, the file is damaged.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cvlab.bounded_file import BadJson, parse_json
from cvlab.models.hdf5_file import UnreadableWeights, member

if TYPE_CHECKING:
    import h5py

SECONDS = 60
MOST_TEXTS = 100_000


@dataclass(frozen=True)
class OlderNames:
    """What the older format says of its layers.

    Attributes:
        layers: The names of all layers, in order.
        weights: The paths of the arrays of each of them, in order.
        config: The configuration of the network (JSON), if it is there.
    """

    layers: list[str]
    weights: list[list[str]]
    config: Any


def read_older_names(file: h5py.File) -> OlderNames:
    """Reads the names of an open file of the older format.

    Raises:
        UnreadableWeights: They cannot be read.
    """
    command = [sys.executable, "-P", "-m", __name__, str(file.filename)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=True)
        found = parse_json(done.stdout)
        layers, weights, config = found["layers"], found["weights"], found["config"]
        return OlderNames(layers, weights, None if config is None else parse_json(config, finite=False))
    except subprocess.TimeoutExpired as error:
        raise UnreadableWeights(f"is damaged (its names could not be read in {SECONDS} seconds)") from error
    except (OSError, subprocess.CalledProcessError, BadJson) as error:
        raise UnreadableWeights("is damaged (the names of its layers cannot be read)") from error


def has_older_names(group: h5py.Group) -> bool:
    """Whether a group is that of a network in the older format."""
    # A long list is stored in parts: layer_names0, layer_names1, ...
    return "layer_names" in group.attrs or "layer_names0" in group.attrs


def _main(path: str) -> None:
    import h5py

    with h5py.File(path) as file:
        group = file if has_older_names(file) else file["model_weights"]
        layers = _texts(group, "layer_names")
        weights = [_texts(member(group, name), "weight_names") for name in layers]
        config = next(iter(_texts(file, "model_config")), None)
    json.dump({"layers": layers, "weights": weights, "config": config}, sys.stdout)


def _texts(group: h5py.Group, name: str) -> list[str]:
    """Returns the texts of an attribute, or of those that it is divided into."""
    parts = [name] if name in group.attrs else [f"{name}{i}" for i in range(len(group.attrs))]
    found: list[str] = []
    for part in parts:
        if part in group.attrs:
            if group.attrs.get_id(part).get_space().get_simple_extent_npoints() > MOST_TEXTS:
                raise ValueError(f"expected at most {MOST_TEXTS:,} texts")
            values = group.attrs[part]
            listed = [values] if isinstance(values, str | bytes) else values
            found += [value.decode() if isinstance(value, bytes) else str(value) for value in listed]
    return found


if __name__ == "__main__":
    _main(sys.argv[1])
