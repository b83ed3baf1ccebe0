"""Augmentation: refused entries, and batches that depend on images and seed alone."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvlab.data.augment import Augmenter, available, check_transforms
from cvlab.data.augment_rules import BORDER_MODES, INTERPOLATIONS
from cvlab.errors import ConfigError, DataError

GOOD = {
    "name": "Affine",
    "p": 1.0,
    "rotate": [-20, 20],
    "translate_percent": [-0.1, 0.1],
    "border_mode": "replicate",
}
FLIP = {"name": "HorizontalFlip", "p": 0.5}
REQUIRED: dict[str, dict[str, Any]] = {
    "GridElasticDeform": {"num_grid_xy": [4, 4], "magnitude": 5},
    "CropAndPad": {"percent": [-0.1, 0.1]},
    "RandomResizedCrop": {"size": [32, 32]},
    "RandomSizedCrop": {"min_max_height": [20, 30], "size": [32, 32]},
}
CHANGES_NOTHING_BY_DEFAULT = {"Affine", "NoOp", "XYMasking"}


def usable(name: str) -> dict[str, Any]:
    return {"name": name, **REQUIRED.get(name, {})}


def pictures(count: int, height: int = 32, width: int = 32) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    smooth = 120 + 60 * np.stack([np.sin(x / 5), np.cos(y / 4), np.sin((x + y) / 6)], axis=-1)
    noise = np.random.default_rng(3).normal(0, 15, (count, height, width, 3))
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


def augmented(transforms: list[Any], images: np.ndarray, seed: list[int]) -> np.ndarray:
    return Augmenter(transforms)(images, seed=seed)


@pytest.mark.parametrize(
    "transform",
    [
        GOOD,
        FLIP,
        {"name": "HorizontalFlip"},
        {"name": "Affine", "shear": {"x": [-0.2, 0.2], "y": [0, 0]}, "scale": {"x": [0.9, 1.1], "y": 1}},
        {"name": "Affine", "translate_percent": {"x": [-0.1, 0.1]}, "fill": [1, 2, 3]},
        {"name": "Affine", "interpolation": "cubic", "mask_interpolation": "nearest", "p": 0},
        {"name": "Downscale", "interpolation_pair": {"upscale": "linear", "downscale": "area"}},
        {"name": "RandomResizedCrop", "size": [64, 64]},
        {"name": "CropAndPad", "percent": [-0.1, 0.1]},
        {"name": "Transpose"},
    ],
)
def test_sound_entries_pass(transform: dict[str, Any]) -> None:
    assert check_transforms([transform]) == []


@pytest.mark.parametrize(
    ("transform", "key", "words"),
    [
        ("HorizontalFlip", None, "expected a mapping such as {name: HorizontalFlip, p: 0.5}, received 'Horiz"),
        (None, None, "received null"),
        ({"p": 0.5}, "name", "received only p"),
        ({"name": 3}, "name", "received 3"),
        ({"name": "HorizontalFilp"}, "name", "received 'HorizontalFilp'; did you mean 'HorizontalFlip'?"),
        ({"name": "Qqq"}, "name", "`cvlab list augmentations`"),
        ({"name": "BasicTransform"}, "name", "expected the name of an albumentations transform"),
        ({"name": "Normalize"}, "name", "`model.preprocessing`"),
        ({"name": "Resize", "height": 8, "width": 8}, "name", "`data.image_size`"),
        ({"name": "OneOf"}, "name", "composition"),
        ({"name": "CenterCrop3D"}, "name", "volumes"),
        ({"name": "FDA"}, "name", "reference images"),
        ({"name": "MaskDropout"}, "name", "masks"),
        ({"name": "TextImage"}, "name", "font"),
        ({"name": "BBoxSafeRandomCrop"}, "name", "bounding boxes"),
        ({"name": "ShiftScaleRotate"}, "name", "write Affine"),
        ({"name": "HorizontalFlip", "p": 1.5}, "p", "expected a number from 0 to 1 for `p` of HorizontalFlip"),
        ({"name": "HorizontalFlip", "p": -0.1}, "p", "received -0.1"),
        ({"name": "HorizontalFlip", "p": True}, "p", "received true"),
        ({"name": "HorizontalFlip", "p": "0.5"}, "p", "received '0.5'"),
        ({"name": "HorizontalFlip", "p": None}, "p", "received null"),
        ({"name": "HorizontalFlip", "p": float("nan")}, "p", "received NaN"),
        ({"name": "HorizontalFlip", 3: 1}, "3", "HorizontalFlip takes p"),
        ({"name": "Affine", "rotat": 3}, "rotat", "received 'rotat'; did you mean 'rotate'?"),
        ({"name": "Affine", "strict": True}, "strict", "expected a parameter of Affine"),
        ({"name": "Affine", "rotate": "ten"}, "rotate", "expected [number, number] or a number for `rotate`"),
        ({"name": "Affine", "rotate": "10"}, "rotate", "received '10'"),
        ({"name": "Affine", "rotate": True}, "rotate", "received true"),
        ({"name": "Affine", "rotate": float("inf")}, "rotate", "finite"),
        ({"name": "Affine", "rotate": [1, 2, 3]}, "rotate", "received [1, 2, 3]"),
        ({"name": "Affine", "rotate_method": "elipse"}, "rotate_method", "did you mean 'ellipse'?"),
        ({"name": "Affine", "border_mode": "replicat"}, "border_mode", "did you mean 'replicate'?"),
        ({"name": "Affine", "border_mode": 1}, "border_mode", "received 1; did you mean 'replicate'?"),
        ({"name": "Affine", "interpolation": "bilinear"}, "interpolation", "did you mean 'linear'?"),
        ({"name": "Affine", "translate_px": {"X": 3}}, "translate_px", "keys x and y"),
        ({"name": "Affine", "shear": {"x": [-5, 5]}}, "shear", "both x and y"),
        ({"name": "Affine", "scale": [-1, 1]}, "scale", "above 0"),
        ({"name": "Affine", "translate_px": 3, "translate_percent": 0.1}, None, "both were provided"),
        ({"name": "Affine", "rotate": 30, "fit_output": True}, None, "RGB images of 64x64 pixels, received uint8"),
        ({"name": "GaussNoise", "std_range": [0.5, 0.1]}, "std_range", "a range from low to high"),
        ({"name": "GaussNoise", "std_range": [-0.5, 0.1]}, "std_range", "numbers >= 0 and <= 1"),
        ({"name": "ElasticTransform", "sigma": -3}, "sigma", "a number greater than or equal to 1"),
        ({"name": "RandomResizedCrop"}, "size", "received nothing"),
        ({"name": "RandomResizedCrop", "size": [32, 64]}, None, "uint8 of 32x64x3"),
    ],
)
def test_faulty_entry_is_named(transform: Any, key: str | None, words: str) -> None:
    problems = check_transforms([FLIP, transform])
    assert [(item.index, item.key) for item in problems] == [(1, key)]
    assert words in problems[0].message


def test_everything_wrong_comes_at_once() -> None:
    faulty = {"name": "Affine", "p": 2, "rotate": "ten", "border": 1, "border_mode": "x", "scale": 0}
    problems = check_transforms([faulty, GOOD, {"name": "Flip"}])
    assert {(item.index, item.key) for item in problems} == {
        *((0, key) for key in ("p", "rotate", "border", "border_mode", "scale")),
        (2, "name"),
    }


@pytest.mark.parametrize("name", ["Transpose", "RandomRotate90", "D4"])
def test_turned_sides_need_a_square(name: str) -> None:
    assert check_transforms([{"name": name}], image_size=(32, 32)) == []
    assert "64x32" in check_transforms([{"name": name}], image_size=(64, 32))[0].message


@given(
    st.dictionaries(
        st.sampled_from(["p", "rotate", "scale", "shear", "translate_px", "fill", "border_mode", "keep_ratio"]),
        st.recursive(
            st.none() | st.booleans() | st.integers(-300, 300) | st.floats(-10, 10) | st.text(max_size=4),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=2),
            max_leaves=4,
        ),
    )
)
@settings(max_examples=100, deadline=None)
def test_any_value_is_applied_or_refused(parameters: dict[str, Any]) -> None:
    transform = {"name": "Affine", **parameters}
    if not check_transforms([transform], image_size=(16, 16)):
        images = pictures(2, 16, 16)
        assert augmented([transform], images, [0]).shape == images.shape


def test_names_of_numbers_are_opencv_s() -> None:
    import cv2

    for name, number in BORDER_MODES.items():
        assert getattr(cv2, f"BORDER_{name.upper()}") == number
    for name, number in INTERPOLATIONS.items():
        assert getattr(cv2, f"INTER_{name.upper()}") == number


@pytest.mark.slow
def test_every_usable_transform_depends_on_images_and_seed_alone() -> None:
    names = available()
    images = pictures(34)
    assert {"Affine", "HorizontalFlip", "CoarseDropout", "RandomBrightnessContrast"} <= names.keys()
    assert all(names.values())
    for name in names:
        assert check_transforms([usable(name)], image_size=(32, 32)) == [], name
        one, other = Augmenter([usable(name)]), Augmenter([usable(name)])
        forwards = [one(images, seed=[number]) for number in range(2)]
        backwards = [other(images.copy(), seed=[number], in_place=True) for number in reversed(range(2))][::-1]
        assert np.array_equal(forwards, backwards), name
        assert np.array_equal(forwards[0], forwards[1]) == (name in CHANGES_NOTHING_BY_DEFAULT), name


def test_calls_at_the_same_time_do_not_disturb_each_other() -> None:
    images = pictures(50)
    transforms: list[dict[str, Any]] = [GOOD, FLIP, {"name": "GaussNoise"}]
    alone = [augmented(transforms, images, [seed]) for seed in range(6)]
    shared = Augmenter(transforms)
    with ThreadPoolExecutor(4) as callers:
        together = list(callers.map(lambda seed: shared(images, seed=[seed]), range(6)))
    assert np.array_equal(alone, together)


def test_result_of_a_chunk_does_not_depend_on_the_batch_length() -> None:
    images = pictures(40)
    assert np.array_equal(augmented([GOOD, FLIP], images, [1])[:16], augmented([GOOD, FLIP], images[:16], [1]))


def test_chunks_and_seeds_are_independent() -> None:
    images = np.repeat(pictures(1), 48, axis=0)
    results = [augmented([GOOD], images, seed) for seed in ([7], [7, 0], [0, 7], [2**32], [0, 1])]
    chunks = [result[start : start + 16].tobytes() for result in results for start in (0, 16, 32)]
    assert len(set(chunks)) == len(chunks)


def test_transforms_draw_independently_of_each_other() -> None:
    image = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    image[0, 0, 0] = 255
    flips = [FLIP, {"name": "VerticalFlip", "p": 0.5}]
    result = augmented(flips, np.repeat(image, 800, axis=0), [0])
    corners = result[:, [0, 0, 7, 7], [0, 7, 0, 7], 0].sum(axis=0) / 255
    assert corners.sum() == 800
    assert np.all(np.abs(corners - 200) < 5 * np.sqrt(800 * 0.25 * 0.75))


def test_affine_moves_by_what_is_written() -> None:
    images = pictures(3)
    result = augmented([{"name": "Affine", "p": 1.0, "translate_px": {"x": 5, "y": -2}}], images, [0])
    assert np.array_equal(result[:, :30, 5:], images[:, 2:, :27])


def test_input_stays_untouched_even_as_a_read_only_memory_map(tmp_path: Path) -> None:
    images = pictures(20)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    result = augmented([GOOD, {"name": "CoarseDropout", "p": 1.0}], mapped[2:20], [0])
    assert type(result) is np.ndarray
    assert result.shape == (18, 32, 32, 3)
    assert not np.array_equal(result, images[2:20])
    assert np.array_equal(mapped, images)


def test_nothing_to_do_returns_the_input() -> None:
    images = pictures(3)
    assert augmented([], images, [0]) is images
    assert augmented([GOOD], images[:0], [0]).shape == (0, 32, 32, 3)


def test_wrong_entries_and_images_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"augment\.1\.rotat: .*did you mean 'rotate'"):
        Augmenter([FLIP, {"name": "Affine", "rotat": 3}])
    with pytest.raises(ValueError, match="float64"):
        augmented([FLIP], np.zeros((2, 8, 8, 3)), [0])
    with pytest.raises(ValueError, match="received uint8"):
        augmented([FLIP], np.zeros((2, 8, 8), dtype=np.uint8), [0])
    with pytest.raises(DataError, match=r"uint8 of 32x16 pixels; it made uint8 of shape \(16, 32, 3\)"):
        augmented([{"name": "Transpose", "p": 1.0}], pictures(2, 32, 16), [0])


@pytest.mark.slow
def test_import_is_light_and_albumentations_stays_offline() -> None:
    code = """
import sys, os
import cvlab.data.augment, cvlab.data.augment_bias
assert not {"albumentations", "cv2", "tensorflow", "keras", "pydantic"} & sys.modules.keys()
cvlab.data.augment.available()
assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"
assert not {"tensorflow", "keras", "torch"} & sys.modules.keys()
"""
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "transform",
    [
        {"name": "Posterize", "num_bits": [[1, 2], [3, 4]]},
        {"name": "AdditiveNoise", "noise_params": {}},
        {"name": "AdvancedBlur", "blur_limit": [1, 2]},
    ],
)
def test_values_that_albumentations_fails_on_are_no_traceback(transform: dict[str, Any]) -> None:
    assert all(isinstance(found.message, str) for found in check_transforms([transform]))
