"""All images of a data set, decoded once to the wanted size, in one file that is mapped into memory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from cvlab.console import Console
from cvlab.data.cache_folder import building_in, check_space
from cvlab.data.decode import Box, DecodedImage, UnreadableImage, decode_bytes, quiet_decoding
from cvlab.data.fingerprint import worker_count
from cvlab.errors import DataError
from cvlab.run_folder import sync_folder

# Part of the key of every cache: raise it when the same file would come out with other pixels.
DECODER_VERSION = 1
HEADER_BYTES = 128
INDEX_BYTES_PER_IMAGE = 200
IMAGES = "the decoded images"
DECODED_AHEAD = 4  # images a worker may be ahead of the writer, which bounds the memory

Source = tuple[str, Path]  # what is to be decoded (`SampleTable.pixels`), one file with that content


@dataclass(frozen=True)
class ImageCache:
    """Decoded images, one row for each different content and box.

    Attributes:
        images: Read-only memory map, uint8 of shape (readable contents, height, width, 3), RGB.
        row_of: What is decoded (a content hash, with a box or without) to its row.
        unreadable: What cannot be decoded to the reason why.
        low_range: 16-bit images whose values cover under an eighth of the full scale.
    """

    images: npt.NDArray[np.uint8]
    row_of: Mapping[str, int]
    unreadable: Mapping[str, str]
    low_range: frozenset[str]

    def rows(self, pixels: Sequence[str]) -> npt.NDArray[np.int64]:
        """Returns the row of each entry of `SampleTable.pixels`, int64 of shape (len(pixels),).

        Raises:
            KeyError: An entry is unreadable or was not given to `open_or_build`.
        """
        return np.array([self.row_of[item] for item in pixels], dtype=np.int64)


def open_or_build(
    paths: Sequence[Path],
    pixels: Sequence[str],
    *,
    image_size: tuple[int, int],
    cache_dir: Path,
    console: Console,
) -> ImageCache:
    """Returns the decoded images of `paths`, from disk if they were decoded before.

    The cache depends on the set of contents and boxes and the image size only: neither on names nor on order.
    What cannot be decoded is recorded with the reason, not raised. Several processes may call this at once: one
    decodes, the others wait.

    Args:
        paths: The image files.
        pixels: The content hash of each, from `fingerprint.content_hashes`, with its box in brackets if there is one.
        image_size: Height and width in pixels.
        cache_dir: The folder that holds all caches.
        console: For the progress.

    Raises:
        DataError: A file vanished or changed meanwhile, or the cache cannot be written.
    """
    sources: list[Source] = sorted(dict(zip(pixels, paths, strict=True)).items())
    contents = [content for content, _ in sources]
    folder = cache_dir.absolute() / "images" / _key(contents, image_size)
    cache = _open(folder, contents, image_size)
    if cache is not None:
        return cache
    needed = _needed_bytes(len(sources), image_size)
    with building_in(folder, IMAGES, needed=needed, console=console):
        cache = _open(folder, contents, image_size)  # Another process may have built it meanwhile.
        if cache is None:
            _build(folder, sources, image_size, console)
            cache = _open(folder, contents, image_size)
    if cache is None:
        raise DataError(f"{folder}: the decoded images cannot be read back. Choose another `data.cache_dir=...`.")
    return cache


def _key(contents: Sequence[str], image_size: tuple[int, int]) -> str:
    return hashlib.sha256(json.dumps([DECODER_VERSION, *image_size, *contents]).encode()).hexdigest()


def _open(folder: Path, contents: Sequence[str], image_size: tuple[int, int]) -> ImageCache | None:
    """Opens a finished cache; None if there is none or if it does not hold what it should."""
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        rows, unreadable, low_range = index["rows"], index["unreadable"], frozenset(index["low_range"])
        images_path = folder / "images.npy"
        whole = images_path.stat().st_size == index["bytes"]
        images = np.load(images_path, mmap_mode="r", allow_pickle=False)
        fits = images.shape == (len(rows), *image_size, 3) and images.dtype == np.uint8 and images.flags.c_contiguous
        known = rows == sorted(rows) and sorted([*rows, *unreadable]) == list(contents)
        if not (whole and fits and known and low_range.issubset(rows)):
            return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, RecursionError):
        return None
    row_of = {content: row for row, content in enumerate(rows)}
    return ImageCache(images=images, row_of=row_of, unreadable=unreadable, low_range=low_range)


def _build(folder: Path, sources: Sequence[Source], image_size: tuple[int, int], console: Console) -> None:
    """Decodes into a temporary folder and renames it at the end: a cache is whole or not there at all."""
    for abandoned in folder.parent.glob(f"{folder.name}.*.tmp"):
        shutil.rmtree(abandoned)
    if folder.exists():
        shutil.rmtree(folder)
    check_space(folder, IMAGES, needed=_needed_bytes(len(sources), image_size))
    temporary = folder.with_name(f"{folder.name}.{token_hex(4)}.tmp")
    try:
        temporary.mkdir()
        # Ordinary writes: writing through a memory map on a full disk kills the process (SIGBUS).
        with (temporary / "images.npy").open("wb") as file:
            index = _write_images(file, sources, image_size, console)
            _sync(file)
        with (temporary / "index.json").open("wb") as file:
            file.write(json.dumps(index).encode())
            _sync(file)
        sync_folder(temporary)
        temporary.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_images(
    file: BinaryIO, sources: Sequence[Source], image_size: tuple[int, int], console: Console
) -> dict[str, object]:
    """Writes the readable images in the order of their hashes; returns the content of `index.json`."""
    rows: list[str] = []
    unreadable: dict[str, str] = {}
    low_range: list[str] = []
    file.write(_npy_header(len(sources), image_size))
    with console.track("Decoding images", total=len(sources)) as advance:
        for content, decoded in _decode_all(sources, image_size):
            if isinstance(decoded, DecodedImage):
                rows.append(content)
                file.write(decoded.pixels.tobytes())
                low_range += [content] if decoded.low_range else []
            else:
                unreadable[content] = decoded
            advance(1)
    size = file.tell()
    file.seek(0)
    file.write(_npy_header(len(rows), image_size))
    return {"rows": rows, "unreadable": unreadable, "low_range": low_range, "bytes": size}


def _decode_all(sources: Sequence[Source], image_size: tuple[int, int]) -> Iterator[tuple[str, DecodedImage | str]]:
    """Yields each content with its image, or with the reason why it is none; in order, decoded in threads."""
    workers = worker_count()
    with quiet_decoding(), ThreadPoolExecutor(workers) as pool:
        yield from _in_order(
            pool, lambda source: _decode_source(source, image_size), sources, ahead=workers * DECODED_AHEAD
        )


def _in_order(
    pool: ThreadPoolExecutor,
    function: Callable[[Source], tuple[str, DecodedImage | str]],
    items: Iterable[Source],
    *,
    ahead: int,
) -> Iterator[tuple[str, DecodedImage | str]]:
    """Like `pool.map`, but with at most `ahead` results in memory."""
    waiting: deque[Future[tuple[str, DecodedImage | str]]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _decode_source(source: Source, image_size: tuple[int, int]) -> tuple[str, DecodedImage | str]:
    pixels, path = source
    content, box = _content_and_box(pixels)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read any more ({error.strerror}).") from error
    if hashlib.sha256(data).hexdigest() != content:
        raise DataError(f"{path}: changed while it was being read. Start again when the data set is complete.")
    try:
        return pixels, decode_bytes(data, image_size=image_size, box=box)
    except UnreadableImage as error:
        return pixels, str(error)
    except MemoryError as error:  # Not recorded as unreadable: another time there may be enough.
        raise DataError(f"{path}: there is not enough memory to decode this image.") from error


def _content_and_box(pixels: str) -> tuple[str, Box | None]:
    content, bracket, box = pixels.rstrip("]").partition("[")
    if not bracket:
        return content, None
    left, top, width, height = map(int, box.split(","))
    return content, (left, top, width, height)


def _npy_header(count: int, image_size: tuple[int, int]) -> bytes:
    """The header of a `.npy` file, of the same length for every count, so that it can be written over."""
    header = BytesIO()
    shape = (count, *image_size, 3)
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()


def _needed_bytes(count: int, image_size: tuple[int, int]) -> int:
    height, width = image_size
    return HEADER_BYTES + count * (height * width * 3 + INDEX_BYTES_PER_IMAGE)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
