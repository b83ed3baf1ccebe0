"""How image files are stored: format, pixel mode and size, read from their headers and remembered by content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path

from PIL import Image

from cvlab.bounded_file import parse_json, read_bounded
from cvlab.console import Console
from cvlab.data.decode import quiet_decoding
from cvlab.data.fingerprint import MAX_INDEX_BYTES, worker_count
from cvlab.run_folder import write_json

VERSION = 1
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")
_FORMAT_OF = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}


@dataclass(frozen=True)
class ImageFacts:
    """What the header of an image file says.

    Attributes:
        format: `JPEG`, `PNG`, `BMP`, `GIF`, `WEBP` or `TIFF`, judged by the content.
        mode: How a pixel is stored, in Pillow's words: `L` (grey), `RGB`, `RGBA`, `P` (palette), `I;16`, ...
        width: In pixels, as stored.
        height: In pixels, as stored.
        file_size: In bytes.
    """

    format: str
    mode: str
    width: int
    height: int
    file_size: int

    def belies(self, path: Path) -> bool:
        """Whether the ending of the file's name promises another format."""
        return _FORMAT_OF.get(path.suffix.lower(), self.format) != self.format


def read_facts(
    paths: Sequence[Path], contents: Sequence[str], *, cache_dir: Path, console: Console
) -> list[ImageFacts | None]:
    """Returns what the header of each file says; None where it cannot be read.

    What was read before is taken from `cache_dir/facts`, by content.

    Args:
        paths: The files.
        contents: The SHA-256 of each.
        cache_dir: The folder that holds all caches.
        console: For the progress.
    """
    index = _index_path(paths, cache_dir)
    known = _load(index)
    unknown = {content: path for content, path in zip(contents, paths, strict=True) if content not in known}
    if unknown:
        fresh = dict(zip(unknown, _read_all([*unknown.values()], console), strict=True))
        known |= {content: facts for content, facts in fresh.items() if facts is not None}
        # Only a memory: where it cannot be written, the headers are read again next time.
        with suppress(OSError, ValueError):
            write_json(index, {content: astuple(facts) for content, facts in known.items()})
    return [known.get(content) for content in contents]


def _read_all(paths: Sequence[Path], console: Console) -> list[ImageFacts | None]:
    found = []
    with (
        quiet_decoding(),
        ThreadPoolExecutor(worker_count()) as pool,
        console.track("Reading headers", total=len(paths)) as advance,
    ):
        for facts in pool.map(_read, paths):
            found.append(facts)
            advance(1)
    return found


def _read(path: Path) -> ImageFacts | None:
    try:
        with Image.open(path, formats=_FORMATS) as image:
            # Pillow calls a JPEG file with more pictures behind the first one MPO.
            form = "JPEG" if image.format == "MPO" else str(image.format)
            return ImageFacts(form, image.mode, *image.size, path.stat().st_size)
    except Exception:  # Damaged files make Pillow raise nearly anything; whether they decode is said elsewhere.
        return None


def _index_path(paths: Sequence[Path], cache_dir: Path) -> Path:
    """One index for each common folder, so that it stays as small as its data set."""
    folder = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths]) if paths else ""
    return cache_dir / "facts" / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]}-{VERSION}.json"


def _load(index: Path) -> dict[str, ImageFacts]:
    try:
        content = parse_json(read_bounded(index, MAX_INDEX_BYTES))
        return {key: _checked(value) for key, value in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _checked(value: object) -> ImageFacts:
    if not isinstance(value, list) or [*map(type, value)] != [str, str, int, int, int]:
        raise ValueError("expected format, mode, width, height and file size")
    return ImageFacts(*value)
