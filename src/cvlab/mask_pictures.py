"""The pictures of a segmentation: slices with their masks, plain and augmented, and predictions beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cvlab.config_values import Transform
from cvlab.data.augment import Augmenter
from cvlab.data.decoded import DecodedSamples
from cvlab.plots_segmentation import mask_image, prediction_rows, tile_rows, truth_overlay
from cvlab.tasks.pictures import Gallery, Pictures
from cvlab.tasks.segmentation import mask_path, read_mask

DRAWS = 3


def augmented_masks(
    samples: DecodedSamples, titles: Sequence[str], augment: Sequence[Transform], *, seed: int, synthetic: bool
) -> Figure:
    """Draws each image and its mask, and what augmentation makes of both: they must have moved alike."""
    images, masks = samples.pixels(), samples.truth()
    augmenter = Augmenter(augment)
    draws = [augmenter(images, seed=(seed, draw), masks=masks) for draw in range(DRAWS)]
    rows = [
        [images[row], mask_image(masks[row] == 1)]
        + [truth_overlay(drawn[row], drawn_masks[row] == 1) for drawn, drawn_masks in draws]
        for row in range(len(images))
    ]
    return tile_rows(
        rows,
        titles,
        ["image", "mask", *["augmented"] * DRAWS],
        title="Training images with their masks (orange), plain and augmented",
        synthetic=synthetic,
    )


def predicted_masks_of(
    samples: DecodedSamples, shown: Pictures, gallery: Gallery, folder: Path, *, split: str, synthetic: bool
) -> Figure:
    """Draws the images of a gallery with truth, prediction and both laid over them."""
    chosen = samples.take(gallery.rows)
    predictions = np.stack([read_mask(mask_path(folder, name)) for name in chosen.table.sample_id])
    return prediction_rows(
        chosen.pixels(),
        chosen.truth() == 1,
        predictions,
        [shown.titles[row] for row in gallery.rows],
        title=f"{gallery.title} ({split})",
        synthetic=synthetic,
    )
