"""What folders of images hold: entries in a fixed order, with clear words where they cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

from cvlab.data.image_file import EXTENSIONS
from cvlab.errors import DataError
from cvlab.text import printable


def check_folder(key: str, folder: Path, expected: str) -> None:
    """Raises DataError where the folder that the setting `key` names is not there; `expected` says what it holds."""
    if not os.path.isdir(folder):
        raise DataError(
            f"{key}: {printable(str(folder))}: there is no such folder (paths are relative to the working directory). "
            f"Check the path, or try drawn data with --sample; expected {expected}."
        )


def entries(folder: Path) -> list[tuple[str, bool]]:
    """Returns `(name, whether it is a folder)` of everything that is not hidden, sorted."""
    try:
        with os.scandir(folder) as found:
            return sorted((entry.name, entry.is_dir()) for entry in found if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{printable(str(folder))}: this folder cannot be read ({error.strerror}).") from error


def subfolders(folder: Path) -> list[str]:
    """Returns the names of the folders in a folder, sorted; a link to nothing is refused."""
    found = entries(folder)
    for name, is_folder in found:
        if not is_folder and not os.path.exists(folder / name):
            raise DataError(f"{printable(str(folder / name))}: is a link to something that is not there.")
    return [name for name, is_folder in found if is_folder]


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image."""
    return Path(name).suffix.lower() in EXTENSIONS


def files_below(folder: Path) -> list[str]:
    """Returns the paths of all files below a folder, relative to it, with `/`; hidden ones are left out."""
    return _below(folder, "", frozenset())


def _below(folder: Path, prefix: str, above: frozenset[str]) -> list[str]:
    place = os.path.realpath(folder)
    if place in above:
        raise DataError(f"{printable(str(folder))}: is a link to a folder that it lies in.")
    found = []
    for name, is_folder in entries(folder):
        inner = f"{prefix}{name}"
        found += _below(folder / name, f"{inner}/", above | {place}) if is_folder else [inner]
    return found
