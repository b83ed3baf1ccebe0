"""Pictures of a run folder, which may come from anybody: PNG files of a bounded size."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

from PIL import Image, PngImagePlugin

from cvlab.bounded_file import read_bounded
from cvlab.errors import RunFolderError
from cvlab.text import printable

MAX_BYTES = 200_000_000
MAX_PIXELS = 100_000_000


def read_png(path: Path) -> Image.Image:
    """Reads a picture that cvlab wrote.

    Raises:
        RunFolderError: It is missing, damaged or too large, or of another format.
    """
    try:
        picture = PngImagePlugin.PngImageFile(BytesIO(read_bounded(path, MAX_BYTES)))
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError(f"is {picture.width} x {picture.height} pixels: expected at most {MAX_PIXELS:,}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture.load()
    except Exception as error:  # Damaged files make Pillow raise nearly anything.
        reason = getattr(error, "strerror", None) or error
        raise RunFolderError(f"{path}: cannot be read as a picture ({printable(str(reason))}).") from error
    return picture
