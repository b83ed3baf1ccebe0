"""Files of ImageNet weights: found in Keras' cache and verified, or downloaded into it, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from cvlab.errors import ConfigError
from cvlab.models.backbones import NETWORKS, WeightsFile
from cvlab.models.weight_files import open_weights
from cvlab.run_folder import sync_folder

INSTEAD = "or name a file (model.weights=PATH), or start with new weights (model.weights=none)"


def imagenet_file(network: str, image_size: tuple[int, int]) -> Path:
    """Returns the file of a network's ImageNet weights in Keras' cache, which it is downloaded into if need be.

    A file that is there is only read, whatever it holds: `keras.utils.get_file` would replace or delete one whose
    hash is wrong.

    Args:
        network: The name of the network in `keras.applications`.
        image_size: Height and width of the images; the MobileNets have weights for several sizes.

    Raises:
        ConfigError: The file in the cache is not the published one, or it is not there and cannot be downloaded.
    """
    wanted = NETWORKS[network].imagenet(image_size)
    path = cache_folder() / wanted.name
    if path.exists():
        _verify(path, wanted)
    else:
        _download(network, path, wanted)
    return path


def missing_file(network: str, image_size: tuple[int, int]) -> str:
    """Returns the address that `imagenet_file` would download from; empty if the file is there."""
    wanted = NETWORKS[network].imagenet(image_size)
    return "" if (cache_folder() / wanted.name).exists() else wanted.url


def cache_folder() -> Path:
    """Returns the folder where Keras keeps weights: below `$KERAS_HOME`, else below `~/.keras`."""
    return Path(os.path.expanduser(os.environ.get("KERAS_HOME") or "~/.keras")) / "models"


def file_digest(path: Path, algorithm: str) -> str:
    """Returns the hash of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _verify(path: Path, wanted: WeightsFile) -> None:
    if wanted.digest is None:
        return
    algorithm = "sha256" if len(wanted.digest) == 64 else "md5"
    try:
        digest = file_digest(path, algorithm)
    except OSError as error:
        raise ConfigError([f"model.weights: {path}: cannot be read ({error.strerror})."]) from error
    if digest != wanted.digest:
        raise ConfigError(
            [
                f"model.weights: {path}: is not the file that Keras publishes (expected the {algorithm} hash "
                f"{wanted.digest}, received {digest}); perhaps it is cut short. It was left as it is. Remove or "
                f"replace it ({wanted.url}), {INSTEAD}."
            ]
        )


def _download(network: str, path: Path, wanted: WeightsFile) -> None:
    """Downloads beside `path`, verifies, then renames, so that an interrupted download leaves nothing behind."""
    import keras

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".download-") as folder:
            keras.utils.get_file(
                wanted.name, wanted.url, cache_dir=folder, cache_subdir="", file_hash=wanted.digest, extract=False
            )
            downloaded = Path(folder) / wanted.name
            with open_weights(downloaded), downloaded.open("rb") as file:
                os.fsync(file.fileno())
            downloaded.replace(path)
        sync_folder(path.parent)
    except Exception as error:  # Keras raises bare `Exception` for what the network refuses.
        raise ConfigError(
            [
                f"model.weights: the ImageNet weights of {network} are not in Keras' cache and cannot be downloaded "
                f"({error}). Get {wanted.url} elsewhere and put it there as {path}, {INSTEAD}."
            ]
        ) from error
