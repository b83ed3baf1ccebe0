"""Samples whose pixels are decoded: a table, and for each of its rows where the image and the mask are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cvlab.config import DataConfig, Variant
from cvlab.console import Console
from cvlab.data.cache import IMAGES, MASKS, ImageCache, Kind, open_or_build
from cvlab.data.cache_folder import default_cache_dir
from cvlab.data.expansion import expand_training, turn
from cvlab.data.fingerprint import content_hashes
from cvlab.data.pipeline import Batches
from cvlab.data.samples import MASK, SPLITS, SampleTable, text_column
from cvlab.errors import DataError, counted, listing


@dataclass(frozen=True)
class DecodedSamples:
    """Samples and their pixels.

    Attributes:
        table: The samples.
        images: uint8 (unique images, height, width, 3), 0..255 RGB, on disk and read-only; not turned.
        rows: For each sample its row in `images`.
        masks: uint8 (unique masks, height, width), 0 or 1, on disk and read-only; not turned. None without masks.
        mask_rows: For each sample its row in `masks`.
    """

    table: SampleTable
    images: np.ndarray
    rows: np.ndarray
    masks: np.ndarray | None = None
    mask_rows: np.ndarray | None = None

    @classmethod
    def of(cls, table: SampleTable, cache: ImageCache) -> DecodedSamples:
        """Returns the samples of a table over the decoded images, and masks if it has any."""
        rows = cache.rows(table.pixels)
        if cache.masks is None:
            return cls(table, cache.images, rows)
        return cls(table, cache.images, rows, cache.masks.images, cache.masks.rows(table.mask_pixels))

    @property
    def splits(self) -> list[str]:
        """The splits that hold samples."""
        return [split for split in SPLITS if (self.table.split == split).any()]

    def of_split(self, split: str) -> DecodedSamples:
        """Returns the samples of one split."""
        return self.take(np.flatnonzero(self.table.split == split))

    def take(self, which: np.ndarray) -> DecodedSamples:
        """Returns some samples, by index."""
        mask_rows = None if self.mask_rows is None else self.mask_rows[which]
        return DecodedSamples(self.table.take(which), self.images, self.rows[which], self.masks, mask_rows)

    def expanded(self, variants: Sequence[Variant]) -> DecodedSamples:
        """Returns the samples with a row for each variant of each training sample, over the same images."""
        table = expand_training(self.table, variants)
        row_of = dict(zip(self.table.pixels, self.rows, strict=True))
        rows = np.array([row_of[pixels] for pixels in table.pixels], dtype=np.int64)
        if self.mask_rows is None:
            return DecodedSamples(table, self.images, rows)
        mask_row_of = dict(zip(self.table.mask_pixels, self.mask_rows, strict=True))
        mask_rows = np.array([mask_row_of[pixels] for pixels in table.mask_pixels], dtype=np.int64)
        return DecodedSamples(table, self.images, rows, self.masks, mask_rows)

    @property
    def variants(self) -> np.ndarray | None:
        """How each sample is turned; None where all are as they are."""
        return self.table.variant if (self.table.variant != "").any() else None

    def pixels(self) -> np.ndarray:
        """Returns the images of all samples, turned as their variants want them, in memory."""
        return turn(self.images[self.rows], self.table.variant)

    def truth(self) -> np.ndarray:
        """Returns the masks of all samples, turned as their variants want them: uint8 (n, height, width), 0 or 1.

        They come into memory: `take` a batch of the samples where there are many.
        """
        if self.masks is None or self.mask_rows is None:
            raise ValueError("expected samples with masks")
        return turn(self.masks[self.mask_rows], self.table.variant)

    def batches(self, batch_size: int, *, seed: tuple[int, ...], with_masks: bool = False) -> Batches:
        """Returns batches in the order of the table, turned but not augmented, for prediction.

        Args:
            batch_size: Samples in a batch.
            seed: What augmentation will depend on, if an augmenter is set.
            with_masks: Whether batches also hold the masks, augmented alike.
        """
        batches = Batches(self.images, self.rows, batch_size, seed=seed, variants=self.variants)
        return replace(batches, masks=self.masks, mask_rows=self.mask_rows) if with_masks else batches


def cache_dir(config: DataConfig) -> Path:
    """Where decoded images are kept."""
    return config.cache_dir or default_cache_dir()


def open_images(table: SampleTable, config: DataConfig, console: Console) -> ImageCache:
    """Opens the decoded images of a table, and its masks if it has any; they are decoded first if need be."""

    def opened(paths: np.ndarray, pixels: Sequence[str], kind: Kind) -> ImageCache:
        files = [Path(path) for path in paths]
        folder = cache_dir(config)
        return open_or_build(files, pixels, image_size=config.image_size, cache_dir=folder, console=console, kind=kind)

    images = opened(table.path, table.pixels, IMAGES)
    return replace(images, masks=opened(table.mask, table.mask_pixels, MASKS)) if table.has_masks else images


def mask_hashes(table: SampleTable, config: DataConfig, console: Console) -> np.ndarray:
    """Returns the SHA-256 of the mask of each sample, as the target `mask` holds it."""
    paths = [Path(path) for path in table.mask]
    return text_column(content_hashes(paths, cache_dir=cache_dir(config), console=console))


def shown_classes(table: SampleTable, cache: ImageCache, class_names: Sequence[str]) -> np.ndarray:
    """Returns the class of each sample with a mask: the second name if its mask shows anything, else the first."""
    assert cache.masks is not None
    shows = np.array([bool(mask.any()) for mask in cache.masks.images], dtype=np.int64)
    return text_column(class_names)[shows[cache.masks.rows(table.mask_pixels)]]


def decode_all(table: SampleTable, config: DataConfig, console: Console) -> DecodedSamples:
    """Decodes every sample of a table.

    Raises:
        DataError: A file cannot be read as an image or a mask, or a mask is not the one that the table speaks of.
    """
    if table.has_masks:
        hashes = mask_hashes(table, config, console)
        changed = [*dict.fromkeys(table.mask[hashes != table.targets[MASK]])]
        if changed:
            raise DataError(
                f"{counted(len(changed), 'mask')} changed since the run was made:\n{listing(changed)}\n"
                "Put the files back, or train anew."
            )
    cache = open_images(table, config, console)
    bad = unreadable(table, cache, places={})
    if bad:
        raise DataError(
            f"{counted(len(bad), 'file')} cannot be read as an image:\n{listing(list(bad.values()))}\n"
            "Repair or remove them."
        )
    return DecodedSamples.of(table, cache)


def unreadable(table: SampleTable, cache: ImageCache, *, places: Mapping[str, str]) -> dict[int, str]:
    """Returns `{index of the sample: where it stands, path and reason}` for the samples that cannot be used."""
    columns = zip(table.sample_id, table.path, table.pixels, table.mask, table.mask_pixels, strict=True)
    found: dict[int, str] = {}
    for i, (name, path, pixels, mask, mask_pixels) in enumerate(columns):
        file, reason = path, cache.unreadable.get(pixels, "")
        if not reason and cache.masks is not None:
            file, reason = mask, _mask_problem(path, pixels, mask_pixels, cache, cache.masks)
        if reason:
            found[i] = f"{places[name]}: {file}: {reason}" if name in places else f"{file}: {reason}"
    return found


def _mask_problem(path: str, pixels: str, mask_pixels: str, images: ImageCache, masks: ImageCache) -> str:
    """Says why a mask is of no use for its image; empty if it is."""
    if mask_pixels in masks.unreadable:
        return masks.unreadable[mask_pixels]
    height, width = images.size_of[pixels]
    mask_height, mask_width = masks.size_of[mask_pixels]
    if (mask_height, mask_width) == (height, width):
        return ""
    return (
        f"is {mask_width} x {mask_height} pixels (width x height): expected {width} x {height} as its image has, {path}"
    )
