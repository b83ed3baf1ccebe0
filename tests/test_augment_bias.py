"""Constant and biased augmentation is found; sound augmentation raises no alarm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cvlab.data.augment import build, random_state
from cvlab.data.augment_bias import find_bias, probe_image

# Left out of `scripts/test fast`.
pytestmark = pytest.mark.slow

SIZE = (128, 128)


def bias(size: tuple[int, int] = SIZE, seed: int = 0, **transform: Any) -> list[str]:
    return find_bias([transform], image_size=size, seed=seed)


@pytest.mark.parametrize(
    "transform",
    [
        {"name": "Affine", "p": 1.0, "rotate": [-20, 20], "translate_percent": [-0.1, 0.1]},
        {"name": "Affine", "p": 1.0, "scale": [0.8, 1.2], "shear": [-10, 10], "border_mode": "replicate"},
        {"name": "HorizontalFlip", "p": 0.5},
        {"name": "VerticalFlip", "p": 0.5},
        {"name": "ToGray", "p": 0.5},
        {"name": "RandomRotate90", "p": 1.0},
        {"name": "RandomRotate90"},
        {"name": "D4", "p": 1.0},
        {"name": "Rotate", "p": 1.0, "limit": 20},
        {"name": "RandomResizedCrop", "size": [*SIZE]},
        {"name": "RandomBrightnessContrast"},
        {"name": "RandomBrightnessContrast", "p": 1.0},
        {"name": "HueSaturationValue"},
        {"name": "GaussNoise"},
        {"name": "ElasticTransform"},
        {"name": "CoarseDropout"},
        {"name": "CoarseDropout", "p": 1.0},
    ],
)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_sound_transforms_raise_no_alarm(transform: dict[str, Any], seed: int) -> None:
    assert bias(seed=seed, **transform) == []


def test_constant_translation_is_explained() -> None:
    assert bias(name="Affine", p=1.0, translate_percent=0.1) == [
        "augment.0 (Affine): moves every image by 12.8 px right and 12.8 px down on every draw "
        "(translate_percent: 0.1 is a constant, not a range; write [-0.1, 0.1])"
    ]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"translate_percent": {"x": -0.1, "y": [-0.1, 0.1]}}, "12.8 px left whenever it is applied"),
        ({"translate_percent": [0.1, 0.1], "rotate": [-9, 9]}, "translate_percent: [0.1, 0.1] is a constant"),
        ({"translate_px": 4}, "moves every image by 4 px right and 4 px down"),
        ({"rotate": 20}, "turns every image by 20 degrees whenever it is applied (rotate: 20 is a constant"),
        ({"shear": 10}, "shears every image by 10 degrees"),
        ({"scale": 1.1}, "write [0.9, 1.1]"),
        ({"scale": {"x": 1.2, "y": [0.8, 1.2]}}, "scale.x: 1.2 is a constant"),
    ],
)
def test_constants_of_affine_are_named_once(parameters: dict[str, Any], words: str) -> None:
    (finding,) = bias(name="Affine", **parameters)
    assert words in finding


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        ({"name": "HorizontalFlip", "p": 1}, "on every draw (mirrors it); set p below 1"),
        ({"name": "ToGray", "p": 1.0}, "does the same to every image on every draw; set p below 1"),
        ({"name": "Rotate", "p": 1.0, "limit": [20, 20]}, "limit: [20, 20] is a constant"),
        ({"name": "HorizontalFlip", "p": 0}, "never applied"),
        ({"name": "NoOp"}, "changed nothing"),
        ({"name": "Affine", "p": 1.0}, "changed nothing"),
    ],
)
def test_constant_transforms_are_found(transform: dict[str, Any], words: str) -> None:
    (finding,) = bias(**transform)
    assert words in finding


def test_measured_translation_and_rotation_are_right() -> None:
    moved, turned = bias(name="Affine", p=1.0, translate_px={"x": [0, 20], "y": [-12, 0]}, rotate=[0, 30])
    right, up = float(moved.split()[5]), float(moved.split()[9])
    # Whole pixels are drawn: means 10 and 6; four standard errors of 400 draws.
    assert abs(right - 10) < 4 * 6.1 / 20
    assert abs(up - 6) < 4 * 3.8 / 20
    assert " px right and " in moved
    assert " px up on average" in moved
    assert "counter-clockwise" in turned
    assert abs(float(turned.split("turns images by ")[1].split()[0]) - 15) < 4 * 8.7 / 20


def test_positive_rotation_is_counter_clockwise() -> None:
    image = np.zeros((65, 65, 3), dtype=np.uint8)
    image[32, 52] = 255
    turned = build({"name": "Affine", "rotate": 90}, p=1.0)(image=image)["image"]
    assert turned[12, 32, 0] == 255


@pytest.mark.parametrize("size", [(96, 64), (33, 47)])
def test_shift_follows_the_side(size: tuple[int, int]) -> None:
    (finding,) = bias(size, name="Affine", p=0.5, translate_percent={"x": [0.1, 0.3], "y": [-0.1, 0.1]})
    assert abs(float(finding.split()[5]) - 0.1 * size[1]) < 4 * 0.12 * size[1] / 20
    assert "down" not in finding
    assert "translate_percent: {x: [0.1, 0.3], y: [-0.1, 0.1]}" in finding


def test_brightness_bias_is_measured_against_an_independent_mean() -> None:
    transform: dict[str, Any] = {"name": "RandomBrightnessContrast", "p": 1.0, "brightness_limit": [0.1, 0.3]}
    (finding,) = bias(**transform)
    image, built = probe_image(*SIZE), build(transform)
    means = []
    for draw in range(300):
        built.set_random_state(*random_state([99], draw))
        means.append(built(image=image)["image"].mean() - image.mean())
    measured = float(finding.split("brightens images by ")[1].split()[0])
    assert abs(measured - np.mean(means)) < 5 * np.std(means) * np.sqrt(1 / 300 + 1 / 400)
    assert "brightness_limit: [0.1, 0.3]" in finding


def test_shift_that_only_the_image_shows_is_found() -> None:
    # Perspective's own defaults push images to the lower right; a bright square shows it, too.
    (finding,) = bias(name="Perspective", p=1.0)
    image, built = np.zeros((*SIZE, 3), dtype=np.uint8), build({"name": "Perspective"}, p=1.0)
    image[60:68, 60:68] = 255
    centres = []
    for draw in range(200):
        built.set_random_state(*random_state([5], draw))
        weights = built(image=image)["image"][..., 0].astype(float)
        centres.append(np.average(np.arange(128), weights=weights.sum(axis=0)) - 63.5)
    assert abs(float(finding.split()[5]) - np.mean(centres)) < 2.0


def test_each_transform_is_judged_alone_and_faulty_ones_are_left_out() -> None:
    flip = {"name": "HorizontalFlip", "p": 1.0}
    findings = find_bias([{"name": "Foo"}, flip, {"name": "ToGray", "p": 0}], image_size=SIZE)
    assert [finding.split()[0] for finding in findings] == ["augment.1", "augment.2"]
    assert bias((32, 64), name="Transpose", p=1.0) == []
    assert find_bias([], image_size=SIZE) == []


def test_probe_looks_like_a_photograph() -> None:
    image = probe_image(*SIZE)
    assert 100 < image.mean() < 150
    assert 30 < image.std() < 80
    assert np.mean((image == 0) | (image == 255)) < 0.01
