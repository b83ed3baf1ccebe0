"""The images that the benchmarks read: a folder of class folders, given or drawn."""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from cvlab.data.image_file import EXTENSIONS
from cvlab.data.synthetic import emotion

# Rotation, shift and flip, as the emotion experiments have them.
AUGMENT = (
    {"name": "Affine", "p": 1.0, "rotate": [-20, 20], "translate_percent": [-0.1, 0.1], "border_mode": "replicate"},
    {"name": "HorizontalFlip", "p": 0.5},
)


def add_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, help="a folder of class folders; left out: drawn faces of 128x128")


def image_folder(data: Path | None, scratch: Path, *, identities: int = 100) -> Path:
    """Returns `data`, or draws 16 faces of each of `identities` persons."""
    if data is not None:
        return data.absolute()
    folder = scratch / "drawn"
    emotion.write(folder, identities=identities, images_per_identity=16)
    return folder


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*") if path.suffix.lower() in EXTENSIONS)


def describe(folder: Path) -> str:
    """How many images of what size, in words."""
    files = files_of(folder)
    kilobytes = sum(path.stat().st_size for path in files) / len(files) / 1000
    with Image.open(files[0]) as image:
        return f"{len(files):,} JPEGs, {image.width}x{image.height} {image.mode}, {kilobytes:.0f} kB each"
