"""All images or masks of a data set, decoded once to the wanted size, in one file that is mapped into memory."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from threading import Lock
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from cvlab.bounded_file import parse_json, read_bounded
from cvlab.console import Console
from cvlab.data.array_file import npy_header, open_array
from cvlab.data.cache_folder import building_in, check_space
from cvlab.data.decode import Box, DecodedImage, decode_bytes, quiet_decoding
from cvlab.data.decode_mask import decode_mask
from cvlab.data.fingerprint import worker_count
from cvlab.data.image_file import UnreadableImage, read_image
from cvlab.data.image_structure import is_large
from cvlab.errors import DataError
from cvlab.run_folder import sync_folder
from cvlab.text import printable

HEADER_BYTES = 128
INDEX_BYTES_PER_IMAGE = 200
MAX_INDEX_BYTES = 5_000_000_000
DECODED_AHEAD = 4  # images a worker may be ahead of the writer, which bounds the memory

Source = tuple[str, Path]  # what is to be decoded (`SampleTable.pixels`), one file with that content


class Decode(Protocol):
    """Decodes the bytes of a file, or the part of it that `box` names; raises UnreadableImage."""

    def __call__(self, data: bytes, *, image_size: tuple[int, int], box: Box | None = None) -> DecodedImage:
        """Returns what the file holds at `image_size` (height, width)."""


@dataclass(frozen=True)
class Kind:
    """What a cache holds.

    Attributes:
        name: In words, in the plural; also the name of the folder of such caches.
        decode: How a file becomes a row.
        depth: The shape of a pixel.
        version: Part of the key of every cache: raise it when the same file would come out with other pixels.
    """

    name: str
    decode: Decode
    depth: tuple[int, ...]
    version: int


IMAGES = Kind("images", decode_bytes, (3,), version=2)
MASKS = Kind("masks", decode_mask, (), version=1)


@dataclass(frozen=True)
class ImageCache:
    """Decoded images (or masks), one row for each different content and box.

    Attributes:
        images: Read-only memory map, uint8 of shape (readable contents, height, width, 3), RGB; masks are 0 or 1, of
            shape (readable contents, height, width).
        row_of: What is decoded (a content hash, with a box or without) to its row.
        unreadable: What cannot be decoded to the reason why.
        size_of: What is decoded to height and width of the whole upright image as it is in its file.
        flagged: What is odd (`DecodedImage.flagged`).
        masks: The masks that belong to images; None where there are none.
    """

    images: npt.NDArray[np.uint8]
    row_of: Mapping[str, int]
    unreadable: Mapping[str, str]
    size_of: Mapping[str, tuple[int, int]]
    flagged: frozenset[str]
    masks: ImageCache | None = None

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
    kind: Kind = IMAGES,
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
        kind: What the files are.

    Raises:
        DataError: A file vanished or changed meanwhile, or the cache cannot be written.
    """
    sources: list[Source] = sorted(dict(zip(pixels, paths, strict=True)).items())
    contents = [content for content, _ in sources]
    shape = (*image_size, *kind.depth)
    folder = cache_dir.absolute() / kind.name / _key(contents, image_size, kind)
    cache = _open(folder, contents, shape)
    if cache is not None:
        return cache
    what, needed = f"the decoded {kind.name}", needed_bytes(len(sources), image_size, kind)
    with building_in(folder, what, needed=needed, console=console):
        cache = _open(folder, contents, shape)  # Another process may have built it meanwhile.
        if cache is None:
            check_space(folder, what, needed=needed)
            _build(folder, sources, shape, kind, console)
            cache = _open(folder, contents, shape)
    if cache is None:
        raise DataError(f"{folder}: {what} cannot be read back. Choose another `data.cache_dir=...`.")
    return cache


def is_built(pixels: Sequence[str], *, image_size: tuple[int, int], cache_dir: Path, kind: Kind = IMAGES) -> bool:
    """Whether `open_or_build` would find what it returns on the disk."""
    contents = sorted(set(pixels))
    folder = cache_dir.absolute() / kind.name / _key(contents, image_size, kind)
    return _open(folder, contents, (*image_size, *kind.depth)) is not None


def _key(contents: Sequence[str], image_size: tuple[int, int], kind: Kind) -> str:
    return hashlib.sha256(json.dumps([kind.version, *image_size, *contents]).encode()).hexdigest()


def _open(folder: Path, contents: Sequence[str], shape: tuple[int, ...]) -> ImageCache | None:
    """Opens a finished cache; None if there is none or if it does not hold what it should."""
    try:
        index = parse_json(read_bounded(folder / "index.json", MAX_INDEX_BYTES))
        rows, unreadable, flagged = index["rows"], dict(index["unreadable"]), frozenset(index["flagged"])
        size_of = {content: (int(height), int(width)) for content, (height, width) in index["sizes"].items()}
        known = rows == sorted(rows) == [*size_of] and sorted([*rows, *unreadable]) == list(contents)
        images = open_array(folder / "images.npy", np.uint8, (len(rows), *shape))
        if images is None or not known or not flagged.issubset(rows):
            return None
        unreadable = {content: printable(str(reason)) for content, reason in unreadable.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    row_of = {content: row for row, content in enumerate(rows)}
    return ImageCache(images=images, row_of=row_of, unreadable=unreadable, size_of=size_of, flagged=flagged)


def _build(folder: Path, sources: Sequence[Source], shape: tuple[int, ...], kind: Kind, console: Console) -> None:
    """Decodes into a temporary folder and renames it at the end: a cache is whole or not there at all."""
    for abandoned in folder.parent.glob(f"{folder.name}.*.tmp"):
        shutil.rmtree(abandoned)
    if folder.exists():
        shutil.rmtree(folder)
    temporary = folder.with_name(f"{folder.name}.{token_hex(4)}.tmp")
    try:
        temporary.mkdir()
        # Ordinary writes: writing through a memory map on a full disk kills the process (SIGBUS).
        with (temporary / "images.npy").open("wb") as file:
            index = _write_images(file, sources, shape, kind, console)
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
    file: BinaryIO, sources: Sequence[Source], shape: tuple[int, ...], kind: Kind, console: Console
) -> dict[str, object]:
    """Writes the readable images in the order of their hashes; returns the content of `index.json`."""
    rows: list[str] = []
    unreadable: dict[str, str] = {}
    sizes: dict[str, tuple[int, int]] = {}
    flagged: list[str] = []
    file.write(npy_header(np.uint8, (len(sources), *shape)))
    with console.track(f"Decoding {kind.name}", total=len(sources)) as advance:
        for content, decoded in _decode_all(sources, (shape[0], shape[1]), kind):
            if isinstance(decoded, DecodedImage):
                rows.append(content)
                file.write(decoded.pixels.tobytes())
                sizes[content] = decoded.size
                flagged += [content] if decoded.flagged else []
            else:
                unreadable[content] = decoded
            advance(1)
    file.seek(0)
    file.write(npy_header(np.uint8, (len(rows), *shape)))
    return {"rows": rows, "unreadable": unreadable, "sizes": sizes, "flagged": flagged}


def _decode_all(
    sources: Sequence[Source], image_size: tuple[int, int], kind: Kind
) -> Iterator[tuple[str, DecodedImage | str]]:
    """Yields each content with its image, or with the reason why it is none; in order, decoded in threads."""
    workers, large = worker_count(), Lock()
    with quiet_decoding(), ThreadPoolExecutor(workers) as pool:
        yield from _in_order(
            pool,
            lambda source: _decode_source(source, image_size, kind.decode, large),
            sources,
            ahead=workers * DECODED_AHEAD,
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


def _decode_source(
    source: Source, image_size: tuple[int, int], decode: Decode, large: Lock
) -> tuple[str, DecodedImage | str]:
    """Decodes one file; of large images, which take gigabytes each, one at a time (`large`)."""
    pixels, path = source
    content, box = _content_and_box(pixels)
    try:
        data = read_image(path)
    except UnreadableImage as error:
        return pixels, str(error)
    except OSError as error:
        raise DataError(f"{printable(str(path))}: cannot be read any more ({error.strerror}).") from error
    if hashlib.sha256(data).hexdigest() != content:
        raise DataError(
            f"{printable(str(path))}: changed while it was being read. Start again when the data set is complete."
        )
    try:
        with large if is_large(data) else nullcontext():
            return pixels, decode(data, image_size=image_size, box=box)
    except UnreadableImage as error:
        return pixels, str(error)
    except MemoryError as error:  # Not recorded as unreadable: another time there may be enough.
        raise DataError(f"{printable(str(path))}: there is not enough memory to decode this image.") from error


def _content_and_box(pixels: str) -> tuple[str, Box | None]:
    content, bracket, box = pixels.rstrip("]").partition("[")
    if not bracket:
        return content, None
    left, top, width, height = map(int, box.split(","))
    return content, (left, top, width, height)


def needed_bytes(count: int, image_size: tuple[int, int], kind: Kind = IMAGES) -> int:
    """Returns how much room `count` different images (or masks) take."""
    return HEADER_BYTES + count * (math.prod((*image_size, *kind.depth)) + INDEX_BYTES_PER_IMAGE)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
