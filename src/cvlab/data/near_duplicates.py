"""Near-duplicates: one picture stored twice in different files, recompressed, resized or a little brightened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cvlab.data.array_file import open_array
from cvlab.data.cache import ImageCache
from cvlab.errors import DataError
from cvlab.run_folder import atomic_path

FREQUENCIES = 16
BITS = FREQUENCIES**2 - 1  # The lowest frequency is the mean brightness, which says nothing of the picture.
# In grey levels. Fainter waves are rounding: their sign would differ from copy to copy.
FAINT = 0.02
# An image that shows fewer of its waves is nearly of one colour, and would look like any other such image.
LEAST_VISIBLE = 0.5
MOST_PAIRS = 2_000_000
# With more parts than bits may differ, two near images agree in one part at least; longer parts fit no int64.
FEWEST_PARTS = 6
ROWS_AT_ONCE = 256
VERSION = 1

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow's conversion to grey

Near = Mapping[str, Mapping[str, int]]
Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Looks:
    """Perceptual hashes of images.

    Attributes:
        keys: What was hashed, entries of `SampleTable.pixels`.
        words: uint64 of shape (len(keys), 4): 256 bits each, all zero for images that are nearly of one colour.
    """

    keys: tuple[str, ...]
    words: Words

    @property
    def of_one_colour(self) -> frozenset[str]:
        """The images that show too little to be compared."""
        return frozenset(self.keys[row] for row in np.flatnonzero(~self.words.any(axis=1)))

    def with_others(self, others: Sequence[Looks]) -> Looks:
        """Returns these hashes and those of other images."""
        keys, words = [*self.keys], [self.words]
        for other in others:
            known = {*keys}
            fresh = [row for row, key in enumerate(other.keys) if key not in known]
            keys += [other.keys[row] for row in fresh]
            words.append(other.words[fresh])
        return Looks(tuple(keys), np.concatenate(words))


def looks_of(cache: ImageCache) -> Looks:
    """Returns the perceptual hash of every decoded image; kept beside the images, to be computed only once.

    The hash is the sign of the 16 x 16 lowest frequencies of the grey image's two-dimensional cosine transform
    (DCT-II), the lowest one left out (after Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash
    Functions", who takes 8 x 8, which is too few to tell X-ray films from each other). Recompression, another size
    and another brightness change few of the signs. Images need at least 16 pixels a side.
    """
    kept = None
    if isinstance(cache.images, np.memmap) and cache.images.filename is not None:
        kept = Path(cache.images.filename).with_name(f"looks-{VERSION}.npy")
    words = _read(kept, len(cache.images))
    if words is None:
        words = _hashes(cache.images)
        _write(kept, words)
    keys = tuple(cache.row_of)
    return Looks(keys, words[cache.rows(keys)])


def _read(path: Path | None, count: int) -> Words | None:
    # Only a memory: one that is missing or damaged means hashing again, nothing worse.
    words = None if path is None else open_array(path, np.uint64, (count, 4))
    return None if words is None else np.array(words)


def _write(path: Path | None, words: Words) -> None:
    if path is not None:
        with suppress(OSError), atomic_path(path) as temporary:
            np.save(temporary, words)


def _hashes(images: npt.NDArray[np.uint8]) -> Words:
    height, width = images.shape[1:3]
    down, across = _cosines(height), np.kron(_cosines(width), _LUMA)
    bits = np.zeros((len(images), FREQUENCIES, FREQUENCIES), dtype=bool)
    for start in range(0, len(images), ROWS_AT_ONCE):
        rows = images[start : start + ROWS_AT_ONCE].reshape(-1, width * 3).astype(np.float32)
        waves = np.einsum("kh,nhj->nkj", down, (rows @ across.T).reshape(-1, height, FREQUENCIES), optimize=True)
        waves[:, 0, 0] = 0
        visible = (np.abs(waves) > FAINT).sum(axis=(1, 2)) >= LEAST_VISIBLE * BITS
        bits[start : start + ROWS_AT_ONCE] = (waves > FAINT) & visible[:, None, None]
    return np.packbits(bits.reshape(len(images), -1), axis=1).view(np.uint64)


def _cosines(size: int) -> Floats:
    """The slowest cosine waves over `size` pixels, each scaled so that its product is a mean."""
    phase = np.pi * np.arange(FREQUENCIES)[:, None] * (np.arange(size) + 0.5) / size
    return (np.cos(phase) / size).astype(np.float32)


def find_near(looks: Looks, distance: int) -> dict[str, dict[str, int]]:
    """Returns for each image those that look like it: `{key: {key: bits that differ}}`.

    Exact: every pair within the distance is found. Nothing is said of images that are nearly of one colour.

    Args:
        looks: The hashes.
        distance: How many of 255 bits may differ.

    Raises:
        DataError: So many images are alike that there is no sense in it.
    """
    shown = np.flatnonzero(looks.words.any(axis=1))
    near: dict[str, dict[str, int]] = defaultdict(dict)
    for one, two, differing in _pairs(looks.words[shown], distance):
        first, second = looks.keys[shown[one]], looks.keys[shown[two]]
        near[first][second] = near[second][first] = differing
    return dict(near)


def _pairs(words: Words, most: int) -> Iterator[tuple[int, int, int]]:
    """Yields `(one, two, differing bits)` of all pairs of rows that differ in at most `most` bits."""
    count = len(words)
    found = np.empty(0, dtype=np.int64)
    for codes in _parts(words, most):
        of_part, held = [found], 0
        for one, two in _equal(codes):
            near = _differing(words, one, two) <= most
            low, high = np.minimum(one[near], two[near]), np.maximum(one[near], two[near])
            of_part.append(low * count + high)
            held += len(low)
            if held > MOST_PAIRS:  # Most of them may be known from other parts.
                of_part, held = [_counted(of_part, count, most)], 0
        found = _counted(of_part, count, most)
    one, two = np.divmod(found, max(count, 1))
    yield from zip(one.tolist(), two.tolist(), _differing(words, one, two).tolist(), strict=True)


def _counted(pairs: Sequence[Indices], count: int, most: int) -> Indices:
    """Returns each pair once; refuses more than there is sense in."""
    found = np.unique(np.concatenate(pairs))
    if len(found) > MOST_PAIRS:
        raise DataError(
            f"data.near_duplicate_distance: more than {MOST_PAIRS:,} pairs of {count:,} images differ in at most {most}"
            " bits: these images are too alike for it (frames of a film, slices of a scan?). Lower it, or compare no "
            "images with `data.near_duplicate_distance=null`."
        )
    return found


def _parts(words: Words, most: int) -> list[Indices]:
    """Cuts the hashes into parts, so that two rows within the distance have one part in common.

    With one part more than bits may differ, one part is untouched (multi-index hashing, Norouzi et al. 2012). Where
    parts get so short that they sort out little, all rows are compared: they have one part, which is the same.
    """
    bits = np.unpackbits(words.view(np.uint8), axis=1)
    number = max(most + 1, FEWEST_PARTS)
    codes = []
    for first in range(min(number, bits.shape[1])):
        # Neighbouring frequencies go to different parts: the lowest are the same in most pictures of one kind.
        part = bits[:, first::number].astype(np.int64)
        codes.append(part @ (1 << np.arange(part.shape[1], dtype=np.int64)))
    counts = [np.unique(code, return_counts=True)[1] for code in codes]
    comparisons = sum(int((count * (count - 1) // 2).sum()) for count in counts)
    every = len(words) * (len(words) - 1) // 2
    return codes if comparisons < every else [np.zeros(len(words), dtype=np.int64)]


def _equal(codes: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Yields all pairs of rows with equal codes, in as many steps as the largest set of equals has members."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    start = np.arange(len(codes))
    for offset in range(1, len(codes)):
        start = start[start + offset < len(codes)]
        start = start[ordered[start] == ordered[start + offset]]
        if not len(start):
            return
        yield order[start], order[start + offset]


def _differing(words: Words, one: Indices, two: Indices) -> Indices:
    bits: Indices = np.bitwise_count(words[one] ^ words[two]).sum(axis=1, dtype=np.int64)
    return bits
