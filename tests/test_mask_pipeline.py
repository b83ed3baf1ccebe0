"""From the cache of masks to batches: image and mask turned and augmented alike, masks zeros and ones throughout."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cvlab.console import Console
from cvlab.data.augment import Augmenter, available
from cvlab.data.augment_rules import albumentations, classes, written_problems
from cvlab.data.decoded import DecodedSamples, decode_all
from cvlab.data.pipeline import Batches
from cvlab.data.sampling import Sampler
from cvlab.errors import DataError
from tests.mask_fixture import SIDE, experiment_of, prepared, write_slices

GEOMETRIC: list[dict[str, Any]] = [
    {"name": "RandomRotate90", "p": 1.0},
    {"name": "HorizontalFlip", "p": 1.0},
    {"name": "VerticalFlip", "p": 1.0},
    {"name": "Transpose", "p": 1.0},
    {"name": "Affine", "p": 1.0, "rotate": [-30, 30], "translate_percent": [-0.1, 0.1], "scale": [0.8, 1.2]},
    {"name": "ElasticTransform", "p": 1.0, "alpha": 40, "sigma": 6},
    {"name": "GridDistortion", "p": 1.0},
]
COLOURS: list[dict[str, Any]] = [
    {"name": "RandomBrightnessContrast", "p": 1.0},
    {"name": "HueSaturationValue", "p": 1.0},
]


def marked(count: int, side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Returns black images with a bright block that is off the middle in both directions, and masks of that block."""
    masks = np.zeros((count, side, side), np.uint8)
    masks[:, 20:30, 34:50] = 1
    return np.repeat(masks[..., None], 3, axis=3) * np.uint8(240), masks


@pytest.mark.parametrize("transform", GEOMETRIC, ids=[item["name"] for item in GEOMETRIC])
def test_a_marker_moves_alike_in_image_and_mask(transform: dict[str, Any]) -> None:
    images, masks = marked(24)
    moved, moved_masks = Augmenter([transform])(images, seed=(1, 2), masks=masks)
    assert moved_masks.dtype == np.uint8
    assert {*np.unique(moved_masks)} == {0, 1}
    assert (moved_masks != masks).any()
    # The border of the image is interpolated, that of the mask is not: they may differ in pixels at the border only.
    apart = (moved[..., 0] > 120) != (moved_masks > 0)
    assert apart.sum(axis=(1, 2)).max() <= 14
    assert (moved[..., 0] > 120).sum(axis=(1, 2)).min() > 60
    centres = [np.argwhere(image[..., 0] > 120).mean(axis=0) for image in moved]
    mask_centres = [np.argwhere(mask).mean(axis=0) for mask in moved_masks]
    assert np.abs(np.array(centres) - mask_centres).max() < 0.6


@pytest.mark.parametrize("transform", COLOURS, ids=[item["name"] for item in COLOURS])
def test_colours_never_touch_masks(transform: dict[str, Any]) -> None:
    images, masks = marked(8)
    images += np.array([9, 5, 2], np.uint8)
    changed, same = Augmenter([transform])(images, seed=(7,), masks=masks)
    assert (changed != images).any()
    assert np.array_equal(same, masks)


def test_masks_change_nothing_about_images() -> None:
    images, masks = marked(20)
    augmenter = Augmenter([*GEOMETRIC, *COLOURS])
    plain = augmenter(images, seed=(5, 0))
    before = images.copy(), masks.copy()
    both = augmenter(images, seed=(5, 0), masks=masks)
    assert np.array_equal(plain, both[0])
    assert np.array_equal(images, before[0])
    assert np.array_equal(masks, before[1])
    again = augmenter(images, seed=(5, 0), masks=masks[..., None])
    assert np.array_equal(again[1][..., 0], both[1])
    place = augmenter(images, seed=(5, 0), masks=masks, in_place=True)
    assert place[0] is images
    assert place[1] is masks
    assert np.array_equal(masks, both[1])


def test_every_usable_transform_keeps_masks_binary() -> None:
    library = albumentations()
    images, masks = marked(1, side=48)
    moving = [name for name in available() if issubclass(classes()[name], library.DualTransform)]
    assert len(moving) > 20
    needed: dict[str, dict[str, Any]] = {
        "CropAndPad": {"percent": 0.1},
        "GridElasticDeform": {"num_grid_xy": [4, 4], "magnitude": 3},
        "RandomResizedCrop": {"size": [48, 48]},
        "RandomSizedCrop": {"size": [48, 48], "min_max_height": [30, 48]},
    }
    for name in moving:
        _, mask = Augmenter([{"name": name, "p": 1.0, **needed.get(name, {})}])(images, seed=(3,), masks=masks)
        assert {*np.unique(mask)} <= {0, 1}, name


def test_what_is_filled_into_masks() -> None:
    affine = {"name": "Affine", "p": 1.0, "translate_percent": [0.3, 0.3]}
    for value in (255, 0.5, [0, 2]):
        (found,) = written_problems({**affine, "fill_mask": value})
        assert found[0] == "fill_mask"
        assert "0 (background), 1 (the structure) or null" in found[1]
    images, masks = marked(2)
    _, filled = Augmenter([{**affine, "fill_mask": 1}])(images, seed=(1,), masks=masks)
    assert filled[:, 0, 0].all()
    with pytest.raises(ValueError, match="expected masks of uint8"):
        Augmenter([affine])(images, seed=(1,), masks=masks[:1])


@pytest.fixture
def samples(tmp_path: Path) -> DecodedSamples:
    root = write_slices(tmp_path / "kaggle_3m")
    shutil.copy(root / "P00/P00_1.tif", root / "P00/P00_2.tif")  # one image with two masks
    return prepared(tmp_path, root=root).stages[0].samples


def test_equal_masks_are_kept_once(samples: DecodedSamples) -> None:
    assert samples.masks is not None
    different = {*samples.table.targets["mask"]}
    assert samples.masks.shape == (len(different), SIDE, SIDE)
    assert 2 < len(different) <= 13  # twelve with a square (two may be the same), and the empty one
    assert isinstance(samples.masks, np.memmap)
    assert not samples.masks.flags.writeable
    assert samples.images.shape[0] == 35


def test_variants_turn_image_and_mask(samples: DecodedSamples) -> None:
    expanded = samples.expanded(["identity", "flip", "rot90", "rot270"])
    plain = dict(zip(samples.table.sample_id, samples.truth(), strict=True))
    turns: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "": np.array,
        "flip": np.fliplr,
        "rot90": np.rot90,
        "rot270": lambda mask: np.rot90(mask, 3),
    }
    truth = expanded.truth()
    for row, (name, variant) in enumerate(zip(expanded.table.sample_id, expanded.table.variant, strict=True)):
        assert np.array_equal(truth[row], turns[variant](plain[name.split("#")[0]]))
    batches = expanded.batches(7, seed=(1,), with_masks=True)
    loaded = [batches.load(0, number) for number in range(batches.per_epoch)]
    assert np.array_equal(np.concatenate([masks[..., 0] for _, masks in loaded]), truth)
    assert np.array_equal(np.concatenate([images for images, _ in loaded]), expanded.pixels())
    part = expanded.take(np.array([3, 1]))
    assert np.array_equal(part.truth(), truth[[3, 1]])
    assert len(samples.batches(4, seed=(1,)).load(0, 0)) == 1


def test_batches_of_images_and_masks(samples: DecodedSamples) -> None:
    training = samples.of_split("train")
    weights = np.arange(len(training.table), dtype=np.float32)
    batches = Batches(
        training.images,
        training.rows,
        5,
        seed=(1, 0),
        masks=training.masks,
        mask_rows=training.mask_rows,
        weights=weights,
        augmenter=Augmenter(GEOMETRIC[:3]),
        shuffled=True,
        sampler=Sampler.of(training.table, "balanced"),
    )
    images, masks, some = batches.load(2, 1)
    assert images.shape == (5, SIDE, SIDE, 3)
    assert masks.shape == (5, SIDE, SIDE, 1)
    assert masks.dtype == np.uint8
    members = batches.members(2, 1)
    assert np.array_equal(some, weights[members])
    plain = training.truth()[members]
    assert np.array_equal(plain.sum(axis=(1, 2)), masks.sum(axis=(1, 2, 3)))
    shows = [bool(plain[batch].any()) for batch in range(5)]
    assert sum(shows) in (2, 3)  # balanced, although a third of the slices show something
    for wrong in ({"mask_rows": None}, {"targets": weights}):
        settings: dict[str, Any] = {"masks": training.masks, "mask_rows": training.mask_rows, **wrong}
        with pytest.raises(ValueError, match="rows with the masks, and no targets"):
            Batches(training.images, training.rows, 5, seed=(1,), **settings)


@pytest.mark.tensorflow
def test_the_data_set_holds_masks(samples: DecodedSamples) -> None:
    batches = samples.batches(8, seed=(1,), with_masks=True)
    assert [tuple(spec.shape) for spec in batches.dataset().element_spec] == [
        (None, SIDE, SIDE, 3),
        (None, SIDE, SIDE, 1),
    ]
    found = np.concatenate([masks.numpy()[..., 0] for _, masks in batches.dataset()])
    assert np.array_equal(found, samples.truth())


def test_a_changed_mask_is_noticed(samples: DecodedSamples, tmp_path: Path) -> None:
    config = experiment_of(tmp_path, "lgg_mri", root=tmp_path / "kaggle_3m").data
    again = decode_all(samples.table, config, Console(StringIO()))
    assert np.array_equal(again.truth(), samples.truth())
    path = Path(samples.table.mask[0])
    Image.fromarray(np.eye(SIDE, dtype=np.uint8)).save(path)
    with pytest.raises(DataError, match=f"1 mask changed since the run was made:\n  {path}"):
        decode_all(samples.table, config, Console(StringIO()))


def test_sampling_and_counts_know_what_masks_show(tmp_path: Path) -> None:
    root = write_slices(tmp_path / "kaggle_3m")
    (stage,) = prepared(tmp_path, root=root, sampling="balanced").stages
    assert {*stage.draws} == {"no tumour", "tumour"}
    assert len({drawn for _, drawn in stage.draws.values()}) == 1
    counts = stage.samples.table.counts("class")
    assert all(found["tumour"] * 2 == found["no tumour"] for found in counts.values())
