"""Augmentation by expansion: each training image becomes several samples, mirrored and turned exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cvlab.config import Variant
from cvlab.data.samples import SampleTable, concatenate, text_column
from cvlab.errors import DataError, counted, listing

# Functions of a batch, (n, height, width, ...). Rotations are counter-clockwise, as those of `np.rot90`.
_CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "flip": lambda images: images[:, :, ::-1],
    "rot90": lambda images: np.rot90(images, 1, axes=(1, 2)),
    "rot180": lambda images: np.rot90(images, 2, axes=(1, 2)),
    "rot270": lambda images: np.rot90(images, 3, axes=(1, 2)),
}


def expand_training(table: SampleTable, variants: Sequence[Variant]) -> SampleTable:
    """Returns the table with a row for each variant of each training sample; the other splits stay as they are.

    A variant keeps everything of its image but the id, to which `#<variant>` is added: its group and content keep
    it on the side of its image. `identity` is the row as it is.

    Raises:
        DataError: An id of the table looks like that of a variant.
    """
    if not variants:
        return table
    training = table.split == "train"
    parts = [table.take(~training), *(_variant(table.take(training), variant) for variant in variants)]
    expanded = concatenate(parts).sorted()
    ids, counts = np.unique(expanded.sample_id, return_counts=True)
    if (counts > 1).any():
        raise DataError(
            "data.expand: these ids of samples would stand for an image and for a variant of another one; rename "
            f"the images:\n{listing([*ids[counts > 1]])}"
        )
    return expanded


def _variant(table: SampleTable, variant: Variant) -> SampleTable:
    if variant == "identity":
        return table
    ids = text_column([f"{sample_id}#{variant}" for sample_id in table.sample_id])
    return table.with_columns(sample_id=ids, variant=text_column([variant] * len(table)))


def describe_expansion(training: SampleTable, variants: Sequence[Variant]) -> list[str]:
    """Returns a sentence on what the training images have become, for people; none where they are as they were."""
    if not variants:
        return []
    images = counted(len(training.originals()), "training image")
    return [
        f"{images} became {counted(len(training), 'sample')} (data.expand: {', '.join(variants)}); validation and "
        "test are as they were."
    ]


def turn(images: np.ndarray, variants: np.ndarray) -> np.ndarray:
    """Returns images as their variants want them: mirrored (left and right change places) or turned, pixel by pixel.

    Args:
        images: (n, height, width, channels), or masks (n, height, width); square where one is turned by 90 or 270
            degrees.
        variants: (n,) the column `variant` of a table of samples.
    """
    wanted = {*variants} - {""}
    turned = images.copy() if wanted else images
    for variant in wanted:
        chosen = variants == variant
        turned[chosen] = _CHANGES[variant](images[chosen])
    return turned
