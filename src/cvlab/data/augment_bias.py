"""Finds augmentation that is none: transforms that do the same on every draw, or shift images to one side.

Such a transform makes training images unlike the validation images. The curves then look like overfitting.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvlab.data.augment import build, random_state
from cvlab.data.augment_rules import Transform, albumentations, numbers_in, written_problems
from cvlab.errors import DataError

DRAWS = 400
FEWEST_DRAWS = 16
SECONDS = 0.5
# Of the mean, in standard errors: chance alone exceeds it once in 16,000 checks.
SIGNIFICANT = 4.0
SMALLEST_SHIFT = 0.01
SMALLEST_ANGLE = 2.0
SMALLEST_BRIGHTNESS = 0.02
SMALLEST_RESULTANT = 0.5
SMALLEST_AREA = 0.05

SHIFTS = ("translate_percent", "translate_px")
TURNS = ("rotate", "shear", "limit", "rotate_limit")
AFFINE_RANGES = {"rotate": 0.0, "shear": 0.0, "scale": 1.0, "translate_percent": 0.0, "translate_px": 0.0}


@dataclass(frozen=True)
class Draws:
    """What a transform did to one image, once for each draw.

    Attributes:
        distinct: Number of different results.
        changed: Whether any result differs from the image.
        shift: Displacement of the image's centre in pixels, right and down; (k, 2), k = 0 if no pixel moves.
        angle: Clockwise rotation in radians of the draws that do not mirror; (m,).
        brightness: Mean of the result less mean of the image, on the scale of 0..255; (n,). Zeros for
            transforms that move or drop pixels, because a filled border is no change of brightness.
    """

    distinct: int
    changed: bool
    shift: np.ndarray
    angle: np.ndarray
    brightness: np.ndarray


def find_bias(transforms: Sequence[Transform], *, image_size: tuple[int, int], seed: int = 0) -> list[str]:
    """Finds transforms that do the same on every draw or are biased, each judged on its own.

    A transform is applied some hundred times to one natural-looking image. It is reported when it is never
    applied, never changes the image, always does the same, moves the centre by more than 1 % of a side on
    average, turns by more than 2 degrees on average (circular mean of the draws that do not mirror), or, for
    transforms of pixel values, changes the mean brightness by more than 2 % of 255; averages must also exceed
    4 standard errors. Entries that `check_transforms` refuses are left out.

    Args:
        transforms: The entries of `augment`, as read from YAML.
        image_size: Height and width in pixels of the images that will be augmented.
        seed: Of the draws.

    Returns:
        Plain sentences, in the order of the entries; empty when all is well.
    """
    return [
        f"augment.{index} ({transform['name']}): {text}"
        for index, transform in enumerate(transforms)
        if not written_problems(transform)
        for text in _findings(transform, image_size, seed)
    ]


def _findings(transform: Transform, image_size: tuple[int, int], seed: int) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            built = build(transform)
            if built.p == 0:
                return ["is never applied (p: 0); give it a higher p or remove it"]
            draws = _draw(built, image_size, seed)
        # What cannot be built or applied is for `check_transforms` to say.
        except Exception:
            return []
    if not draws.changed:
        return [f"changed nothing in {len(draws.brightness)} draws; set its parameters or remove it"]
    constants = list(_constants(transform))
    if not constants and draws.distinct == 1 and built.p == 1:
        fix = "set p below 1, or do it to the data themselves"
        return [f"does the same to every image on every draw{_measured(draws)}; {fix}"]
    often = "on every draw" if built.p == 1 else "whenever it is applied"
    found = [f"{_effect(key, value, image_size)} {often} ({text})" for key, value, text in constants]
    explained = {key.partition(".")[0] for key, _, _ in constants}
    return [*found, *_systematic(transform, draws, explained, image_size)]


def probe_image(height: int, width: int) -> np.ndarray:
    """Draws a fixed picture with the smooth shapes, colours, texture and mid brightness of a photograph."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = [np.sin(7 * x + 2 * y) + np.cos(5 * y - 3 * x), np.sin(6 * y) + np.cos(9 * x * y), x - y + np.sin(11 * x)]
    noise = np.random.default_rng(7).normal(0, 10, (height, width, 3))
    return np.clip(118 + 32 * np.stack(waves, axis=-1) + noise, 0, 255).astype(np.uint8)


def _draw(built: Any, image_size: tuple[int, int], seed: int) -> Draws:
    image = probe_image(*image_size)
    places = _places(*image_size)
    moves_pixels = not isinstance(built, albumentations().ImageOnlyTransform)
    outputs, means, sources = set(), [], []
    # The clock bounds only the very slow transforms; the others end with all draws.
    end = time.monotonic() + SECONDS
    for draw in range(DRAWS):
        if draw >= FEWEST_DRAWS and time.monotonic() > end:
            break
        built.set_random_state(*random_state([seed], draw))
        result = built(image=image.copy())["image"]
        if result.shape != image.shape:
            raise DataError(f"{built} changes the size of images.")
        outputs.add(result.tobytes())
        means.append(float(result.mean()))
        if moves_pixels:
            built.set_random_state(*random_state([seed], draw))
            sources.append(_sources(built(image=places.copy())["image"]))
    shift, angle = _movement(np.array(sources, dtype=float).reshape(-1, 3, 3), image_size)
    changed = outputs != {image.tobytes()}
    brightness = np.array(means) - float(image.mean())
    return Draws(len(outputs), changed, shift, angle, np.zeros_like(brightness) if moves_pixels else brightness)


def _places(height: int, width: int) -> np.ndarray:
    """An image of where each pixel is: x, y (both 0..1), and 1, which shows where a border was filled in."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.stack([x, y, np.ones_like(x)], axis=-1).astype(np.float32)


def _sources(places: np.ndarray) -> np.ndarray:
    """Reads where the centre, a point right of it and a point below it come from; (3, 3)."""
    height, width, _ = places.shape
    step = _step(height, width)
    rows, columns = [(height - 1) // 2, height // 2], [(width - 1) // 2, width // 2]
    corners = [(0, 0), (0, step), (step, 0)]
    return np.array(
        [places[np.ix_(np.add(rows, down), np.add(columns, right))].mean(axis=(0, 1)) for down, right in corners]
    )


def _step(height: int, width: int) -> int:
    return max(1, min(height, width) // 8)


def _movement(sources: np.ndarray, image_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    height, width = image_size
    seen = sources[np.all(np.abs(sources[:, :, 2] - 1) < 1e-3, axis=1)]
    points = seen[:, :, :2] * (width - 1, height - 1)
    right, below = points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]
    # The points say where pixels come from; the inverse of their local linear map says where the centre goes.
    back = np.stack([right, below], axis=-1) / _step(height, width)
    area = np.linalg.det(back)
    flat = np.abs(area) < SMALLEST_AREA
    offset = np.array([(width - 1) / 2, (height - 1) / 2]) - points[:, 0]
    shift = np.linalg.solve(back[~flat], offset[~flat, :, None])[:, :, 0]
    # The rotation of the nearest similarity, so that a symmetric stretch is none; the picture turns the other
    # way than the places.
    turned = np.arctan2(back[:, 1, 0] - back[:, 0, 1], back[:, 0, 0] + back[:, 1, 1])
    return shift, -turned[area >= SMALLEST_AREA]


def _constants(transform: Transform) -> Iterator[tuple[str, float, str]]:
    """Yields the parameters that look like ranges but are constants: key, value, explanation."""
    ranges = {"limit": 0.0} if transform["name"] in {"Rotate", "SafeRotate"} else {}
    for key, neutral in (AFFINE_RANGES if transform["name"] == "Affine" else ranges).items():
        written = transform.get(key)
        axes = {f"{key}.{axis}": part for axis, part in written.items()} if isinstance(written, Mapping) else {}
        for name, value in (axes or {key: written}).items():
            numbers = numbers_in(value)
            scalar_limit = key == "limit" and not isinstance(value, list | tuple)
            if scalar_limit or not numbers or min(numbers) != max(numbers) or numbers[0] == neutral:
                continue
            width = abs(numbers[0] - neutral)
            better = f"[{neutral - width:g}, {neutral + width:g}]"
            yield name, numbers[0], f"{name}: {_written(value)} is a constant, not a range; write {better}"


def _effect(key: str, value: float, image_size: tuple[int, int]) -> str:
    name, _, axis = key.partition(".")
    if name == "scale":
        return f"scales every image by {value:g}" + (f" along {axis}" if axis else "")
    if name not in SHIFTS:
        verb = "shears" if name == "shear" else "turns"
        return f"{verb} every image by {value:g} degrees" + (f" along {axis}" if axis else "")
    height, width = image_size
    factors = {"x": width, "y": height} if name == "translate_percent" else {"x": 1, "y": 1}
    pixels = np.array([value * factors[side] if axis in {"", side} else 0.0 for side in ("x", "y")])
    return f"moves every image by {_direction(pixels)}"


def _direction(pixels: np.ndarray) -> str:
    words = (("right", "left"), ("down", "up"))
    parts = [
        f"{abs(amount):.3g} px {names[0] if amount > 0 else names[1]}"
        for amount, names in zip(pixels, words, strict=True)
        if abs(amount) >= 0.05
    ]
    return " and ".join(parts)


def _measured(draws: Draws) -> str:
    """Says what a transform that always does the same does, as far as it was measured."""
    parts = []
    if len(draws.shift) and _direction(draws.shift[0]):
        parts.append(f"moves it by {_direction(draws.shift[0])}")
    if len(draws.shift) and not len(draws.angle):
        parts.append("mirrors it")
    if len(draws.angle) and abs(draws.angle[0]) > math.radians(SMALLEST_ANGLE):
        parts.append(f"turns it by {_turn(math.degrees(draws.angle[0]))}")
    if abs(draws.brightness[0]) > SMALLEST_BRIGHTNESS * 255:
        parts.append(f"mean brightness {draws.brightness[0]:+.3g} of 255")
    return f" ({', '.join(parts)})" if parts else ""


def _turn(degrees: float) -> str:
    return f"{abs(degrees):.3g} degrees {'clockwise' if degrees > 0 else 'counter-clockwise'}"


def _systematic(transform: Transform, draws: Draws, explained: set[str], image_size: tuple[int, int]) -> Iterator[str]:
    side = np.array(image_size[::-1])
    if len(draws.shift) and not explained & {*SHIFTS}:
        shift = np.where(_is_off(draws.shift, SMALLEST_SHIFT * side), draws.shift.mean(axis=0), 0.0)
        share = f"{100 * np.abs(shift / side).max():.2g} % of the side"
        if shift.any():
            yield f"moves images by {_direction(shift)} on average ({share}); {_advice(transform, SHIFTS)}"
    angle = _mean_angle(draws.angle)
    if angle and not explained & {*TURNS}:
        yield f"turns images by {_turn(angle)} on average; {_advice(transform, TURNS)}"
    if _is_off(draws.brightness[:, None], np.array([SMALLEST_BRIGHTNESS * 255]))[0]:
        mean = float(draws.brightness.mean())
        verb = "brightens" if mean > 0 else "darkens"
        yield f"{verb} images by {abs(mean):.3g} of 255 on average; {_advice(transform, ())}"


def _is_off(values: np.ndarray, smallest: np.ndarray) -> np.ndarray:
    """Whether the mean of each column of (n, k) differs from 0, by more than `smallest` and than chance allows."""
    mean = np.abs(values.mean(axis=0))
    error = values.std(axis=0) / math.sqrt(len(values))
    off: np.ndarray = (mean > smallest) & (mean > SIGNIFICANT * error)
    return off


def _mean_angle(angles: np.ndarray) -> float:
    """Returns the circular mean in degrees, 0 where it is not clear (Mardia and Jupp, Directional Statistics)."""
    if len(angles) < FEWEST_DRAWS // 2:
        return 0.0
    vector = np.exp(1j * angles).mean()
    mean, resultant = float(np.angle(vector)), float(np.abs(vector))
    if resultant < SMALLEST_RESULTANT:
        return 0.0
    error = float(np.sin(angles - mean).std()) / (resultant * math.sqrt(len(angles)))
    clear = abs(mean) > max(math.radians(SMALLEST_ANGLE), SIGNIFICANT * error)
    return math.degrees(mean) if clear else 0.0


def _advice(transform: Transform, keys: Sequence[str]) -> str:
    given = {key: value for key, value in transform.items() if key not in {"name", "p"}}
    named = {key: value for key, value in given.items() if key in keys} or given
    if not named:
        return "its default parameters do so: set them, or lower p"
    values = ", ".join(f"{key}: {_written(value)}" for key, value in named.items())
    return f"make the range symmetric around no change ({values})"


def _written(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_written(part)}' for key, part in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_written, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
