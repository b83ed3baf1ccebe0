"""Samples whose pixels are decoded: a table, and for each of its rows where the image is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cvlab.config import DataConfig, Variant
from cvlab.console import Console
from cvlab.data.cache import ImageCache, open_or_build
from cvlab.data.cache_folder import default_cache_dir
from cvlab.data.expansion import expand_training, turn
from cvlab.data.pipeline import Batches
from cvlab.data.samples import SPLITS, SampleTable
from cvlab.errors import DataError, counted, listing


@dataclass(frozen=True)
class DecodedSamples:
    """Samples and their pixels.

    Attributes:
        table: The samples.
        images: uint8 (unique images, height, width, 3), 0..255 RGB, on disk and read-only; not turned.
        rows: For each sample its row in `images`.
    """

    table: SampleTable
    images: np.ndarray
    rows: np.ndarray

    @property
    def splits(self) -> list[str]:
        """The splits that hold samples."""
        return [split for split in SPLITS if (self.table.split == split).any()]

    def of_split(self, split: str) -> DecodedSamples:
        """Returns the samples of one split."""
        return self.take(np.flatnonzero(self.table.split == split))

    def take(self, which: np.ndarray) -> DecodedSamples:
        """Returns some samples, by index."""
        return DecodedSamples(self.table.take(which), self.images, self.rows[which])

    def expanded(self, variants: Sequence[Variant]) -> DecodedSamples:
        """Returns the samples with a row for each variant of each training sample, over the same images."""
        table = expand_training(self.table, variants)
        row_of = dict(zip(self.table.pixels, self.rows, strict=True))
        return DecodedSamples(table, self.images, np.array([row_of[pixels] for pixels in table.pixels], dtype=np.int64))

    @property
    def variants(self) -> np.ndarray | None:
        """How each sample is turned; None where all are as they are."""
        return self.table.variant if (self.table.variant != "").any() else None

    def pixels(self) -> np.ndarray:
        """Returns the images of all samples, turned as their variants want them, in memory."""
        return turn(self.images[self.rows], self.table.variant)

    def batches(self, batch_size: int, *, seed: tuple[int, ...]) -> Batches:
        """Returns batches in the order of the table, turned but not augmented, for prediction."""
        return Batches(self.images, self.rows, batch_size, seed=seed, variants=self.variants)


def cache_dir(config: DataConfig) -> Path:
    """Where decoded images are kept."""
    return config.cache_dir or default_cache_dir()


def open_images(table: SampleTable, config: DataConfig, console: Console) -> ImageCache:
    """Opens the decoded images of a table, decoding them first if that has not been done."""
    return open_or_build(
        [Path(path) for path in table.path],
        table.pixels,
        image_size=config.image_size,
        cache_dir=cache_dir(config),
        console=console,
    )


def decode_all(table: SampleTable, config: DataConfig, console: Console) -> DecodedSamples:
    """Decodes every sample of a table.

    Raises:
        DataError: A file cannot be read as an image.
    """
    cache = open_images(table, config, console)
    bad = unreadable(table, cache, places={})
    if bad:
        raise DataError(
            f"{counted(len(bad), 'file')} cannot be read as an image:\n{listing(list(bad.values()))}\n"
            "Repair or remove them."
        )
    return DecodedSamples(table, cache.images, cache.rows(table.pixels))


def unreadable(table: SampleTable, cache: ImageCache, *, places: Mapping[str, str]) -> dict[int, str]:
    """Returns `{index of the sample: where it stands, path and reason}` for the samples that cannot be decoded."""
    where = (
        f"{places[name]}: {path}" if name in places else path
        for name, path in zip(table.sample_id, table.path, strict=True)
    )
    return {
        i: f"{place}: {cache.unreadable[pixels]}"
        for i, (place, pixels) in enumerate(zip(where, table.pixels, strict=True))
        if pixels in cache.unreadable
    }
