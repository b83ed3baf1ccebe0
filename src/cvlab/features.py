"""The features of a frozen backbone, computed once: only the head is left to train on them.

Where no image is augmented, a frozen backbone gives an image the same features in every epoch. They are computed in
one pass and kept on disk, as images are. The result is that of the whole network, to the precision of float32.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cvlab.console import Console
from cvlab.data.array_file import npy_header, open_array
from cvlab.data.cache import IMAGES
from cvlab.data.cache_folder import building_in, check_space
from cvlab.data.decoded import DecodedSamples
from cvlab.errors import DataError
from cvlab.models.network import Network
from cvlab.run_folder import atomic_path

if TYPE_CHECKING:
    import keras

# Part of the key: raise it when the same settings and weights would give other features.
FEATURES_VERSION = 1
WHAT = "the features"
# The features depend on these neither by value nor by name.
_NOT_OF_THE_BACKBONE = {"head", "weights", "init_from", "dropout"}


@dataclass(frozen=True)
class Features:
    """What a frozen backbone makes of samples.

    Attributes:
        values: float32 (different images, ...), on disk and read-only.
        row_of: The row of each image, by its pixels and variant.
    """

    values: np.ndarray
    row_of: dict[tuple[str, str], int]

    def rows(self, samples: DecodedSamples) -> np.ndarray:
        """Returns the row of each sample in `values`."""
        return np.array([self.row_of[key] for key in _keys(samples)], dtype=np.int64)


def compute_features(
    network: Network,
    extractor: keras.Model,
    samples: DecodedSamples,
    *,
    batch_size: int,
    machine: Sequence[str],
    folder: Path,
    console: Console,
) -> Features:
    """Returns the features of samples, from disk if they were computed before.

    They are a function of the images and their turns, the backbone's weights and settings, the precision and the
    versions of what computes. Which split or stage a sample is of does not matter.

    Args:
        network: The network, whose backbone is frozen.
        extractor: The model from images to features.
        samples: The samples; one that stands there several times is computed once.
        batch_size: How many images are computed at once.
        machine: What it is computed on, in words: other devices give other last digits.
        folder: The folder that holds all caches.
        console: For the progress.

    Raises:
        DataError: The disk is too full, or cannot be written to.
    """
    keys = _keys(samples)
    known = sorted(set(keys))
    first = {key: row for row, key in reversed([*enumerate(keys)])}
    shape = (len(known), *extractor.output_shape[1:])
    path = folder.absolute() / "features" / f"{_name(network, known, [*machine, batch_size])}.npy"
    values = open_array(path, np.float32, shape)
    if values is None:
        needed = int(np.prod(shape)) * 4
        with building_in(path, WHAT, needed=needed, console=console):
            values = open_array(path, np.float32, shape)  # Another process may have computed them meanwhile.
            if values is None:
                for abandoned in path.parent.glob(f".{path.stem}-*.tmp.npy"):
                    abandoned.unlink()
                check_space(path, WHAT, needed=needed)
                different = samples.take(np.array([first[key] for key in known]))
                _write(path, shape, extractor, different, batch_size, console)
                values = open_array(path, np.float32, shape)
    if values is None:
        raise DataError(f"{path}: the features cannot be read back. Choose another `data.cache_dir=...`.")
    return Features(values, {key: row for row, key in enumerate(known)})


def _keys(samples: DecodedSamples) -> list[tuple[str, str]]:
    return [*zip(samples.table.pixels, samples.table.variant.tolist(), strict=True)]


def _name(network: Network, keys: Sequence[tuple[str, str]], made_with: Sequence[str | int]) -> str:
    """The key of a set of features: everything that they depend on."""
    import keras

    weights = hashlib.sha256()
    for value in network.backbone.get_weights():
        weights.update(str(value.shape).encode() + np.ascontiguousarray(value).tobytes())
    settings = network.config.model_dump(mode="json", exclude=_NOT_OF_THE_BACKBONE)
    backend = keras.backend.backend()
    made_by = [keras.version(), backend, version(backend), keras.config.dtype_policy().name, *made_with]
    versions = [FEATURES_VERSION, IMAGES.version]
    parts = [versions, settings, network.image_size, weights.hexdigest(), made_by, keys]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _write(
    path: Path,
    shape: tuple[int, ...],
    extractor: keras.Model,
    samples: DecodedSamples,
    batch_size: int,
    console: Console,
) -> None:
    # Ordinary writes: writing through a memory map on a full disk kills the process (SIGBUS).
    batches = samples.batches(batch_size, seed=())
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as file,
        console.track("Computing features", total=len(samples.table)) as advance,
    ):
        file.write(npy_header(np.float32, shape))
        for batch in range(batches.per_epoch):
            (images,) = batches.load(0, batch)
            file.write(np.asarray(extractor.predict_on_batch(images), dtype=np.float32).tobytes())
            advance(len(images))
