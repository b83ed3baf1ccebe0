"""Drawn MRI slices of invented brains with tumours, in the layout of kaggle_3m: TIFF, `_mask.tif`, a folder a patient.

As in the real set, red, green and blue are three sequences (before contrast medium, FLAIR, after it), so that a tumour
is greener than the brain around it. How bright a slice is as a whole says nothing of what it shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from cvlab.data.synthetic.drawing import check_whole_number, new_folder
from cvlab.data.synthetic.thorax import Field, Grid, clouds, soft

GROUP_PATTERN = r"(.+)_\d+$"
FOLDERS = ("kaggle_3m", "other_kaggle_3m")
FULL = ({"identities": 60, "images_per_identity": 15}, {"identities": 30, "images_per_identity": 15})
SMALL = ({"identities": 10, "images_per_identity": 6}, {"identities": 10, "images_per_identity": 6})
MARKER = (
    "# Synthetic sample data\n\n"
    "These slices of brains were drawn by cvlab so that experiments can be tried without a download. They show no real "
    "patients and no real disease. Results on them say whether a program works, and nothing about how well a network "
    "finds tumours: draw no conclusions from them.\n"
)
PATIENTS_PER_DOMAIN = 1000
FEWEST_SLICES = 3
# A drawn head has no finer parts than this shows; a larger picture is drawn so and enlarged.
LARGEST_DRAWN = 192
# How much of the head a slice shows, from the lowest to the highest one.
LOWEST, HIGHEST = -0.75, 0.9

Pixels = NDArray[np.uint8]


class Scanner(NamedTuple):
    """How slices are taken; each pair is the range that a value is drawn from for each patient, evenly."""

    gain: tuple[float, float]
    colour: tuple[float, float]
    blur: tuple[float, float]
    noise: tuple[float, float]

    def set_up(self, rng: np.random.Generator) -> Setting:
        """Draws how the slices of one patient are taken."""
        gains = rng.uniform(*self.gain) * rng.uniform(*self.colour, size=3)
        return Setting(gains, rng.uniform(*self.blur), rng.uniform(*self.noise))


class Setting(NamedTuple):
    """How the slices of one patient are taken: the gain of each sequence, blur in pixels, noise in grey levels."""

    gains: NDArray[np.float64]
    blur: float
    noise: float

    def expose(self, sequences: Field, size: int, rng: np.random.Generator) -> Pixels:
        """Returns the slice, (size, size, 3), of what three sequences show, (n, n, 3) from 0 to about 1."""
        light = (1 + 0.06 * clouds(len(sequences), 0.9, rng)) * rng.uniform(0.93, 1.07)
        shown = gaussian_filter(sequences * light[..., None] * self.gains, (self.blur, self.blur, 0))
        enlarged = np.stack([resized(shown[..., channel], size) for channel in range(3)], axis=2)
        noisy = 255 * enlarged + rng.normal(0, self.noise, enlarged.shape)
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


FIRST = Scanner(gain=(1.0, 1.4), colour=(0.85, 1.15), blur=(0.3, 0.8), noise=(2, 6))
OTHER = Scanner(gain=(0.75, 1.2), colour=(0.75, 1.25), blur=(0.6, 1.2), noise=(5, 10))


class Tumour(NamedTuple):
    """A tumour, in the units of the head.

    Attributes:
        place: Where its middle lies, x and y.
        radius: Its largest radius, in the slice that cuts it in the middle.
        first: The lowest slice that shows it.
        last: The highest slice that shows it.
        bright: How much brighter it is on FLAIR.
        core: How large a part of it is hollow and dark, 0 to 1.
    """

    place: tuple[float, float]
    radius: float
    first: int
    last: int
    bright: float
    core: float

    @classmethod
    def random(cls, slices: int, rng: np.random.Generator) -> Tumour:
        """Draws a tumour that about a third of the slices show, none of them at the top or bottom."""
        shown = max(1, min(slices - 2, round(slices / 3 + rng.uniform(-1, 1))))
        first = int(rng.integers(1, slices - shown))
        angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.5)
        return cls(
            place=(float(away * np.cos(angle)), float(1.15 * away * np.sin(angle))),
            radius=float(rng.uniform(0.18, 0.36)),
            first=first,
            last=first + shown - 1,
            bright=float(rng.uniform(0.14, 0.3)),
            core=float(rng.uniform(0.3, 0.55)) if rng.random() < 0.3 else 0.0,
        )

    def radius_at(self, number: int) -> float:
        """Returns the radius that a slice shows; 0 for none."""
        if not self.first <= number <= self.last:
            return 0.0
        middle, half = (self.first + self.last) / 2, (self.last - self.first + 2) / 2
        return float(self.radius * np.sqrt(1 - ((number - middle) / half) ** 2))


@dataclass(frozen=True)
class Head:
    """The head of one invented patient: how wide and long it is, and what is in it."""

    width: float
    length: float
    scalp: float
    ventricles: float
    folds: float
    degrees: float
    shift: tuple[float, float]
    tumour: Tumour

    @classmethod
    def random(cls, slices: int, rng: np.random.Generator) -> Head:
        """Draws a patient."""
        return cls(
            width=rng.uniform(0.72, 0.8),
            length=rng.uniform(0.86, 0.95),
            scalp=rng.uniform(0.04, 0.07),
            ventricles=rng.uniform(0.7, 1.4),
            folds=rng.uniform(0.6, 1.3),
            degrees=rng.uniform(-6, 6),
            shift=(rng.uniform(-0.04, 0.04), rng.uniform(-0.04, 0.04)),
            tumour=Tumour.random(slices, rng),
        )

    def draw(self, number: int, slices: int, side: int, rng: np.random.Generator) -> tuple[Field, Field]:
        """Returns what the three sequences show of a slice, (side, side, 3), and how far its tumour reaches.

        The second is (side, side), 1 well inside of the tumour and 0 well outside.
        """
        height = LOWEST + (HIGHEST - LOWEST) * number / (slices - 1)
        cut = float(np.sqrt(1 - (0.92 * height) ** 2))
        grid = Grid.of(side, shift=self.shift, scale=cut, degrees=self.degrees + rng.uniform(-1, 1))
        x, y = grid.x / self.width, grid.y / self.length
        # From the middle (1) to the edge of the head (0), in about the units of the picture.
        depth = (1 - np.hypot(x, y)) * self.width
        skull, brain = soft(depth, 0.006), soft(depth - 1.7 * self.scalp - 0.02, 0.008)
        scalp = skull * soft(self.scalp - depth, 0.01)
        tissue = brain * (1 + 0.1 * self.folds * _folds(grid, rng)) * self._dark_parts(x, y, height)
        tumour = brain * self._tumour(x, y, number, rng)
        t1 = 0.62 * scalp + 0.3 * tissue * (1 - 0.25 * tumour) + 0.05 * skull
        flair = 0.55 * scalp + 0.33 * tissue + 0.04 * skull + self.tumour.bright * self._shade(tumour, x, y, rng)
        after = 0.66 * scalp + 0.31 * tissue + 0.05 * skull + 0.1 * self.tumour.bright * tumour
        return np.stack([t1, flair, after], axis=2), tumour

    def _dark_parts(self, x: Field, y: Field, height: float) -> Field:
        """The fluid in the middle slices and the gap between the halves, both dark; 1 elsewhere."""
        gap = 0.45 * np.exp(-((x / 0.016) ** 2)) * soft(np.abs(y) - 0.28, 0.04)
        if abs(height - 0.1) > 0.45:
            return np.asarray(1 - gap)
        size = self.ventricles * (1 - (abs(height - 0.1) / 0.6) ** 2)
        side, along = np.abs(x) - 0.1 - 0.12 * np.clip(y, 0, 1), (y + 0.02) / (0.34 * size)
        fluid = soft(1 - np.hypot(side / (0.07 * size), along), 0.12)
        return np.asarray(1 - np.maximum(gap, 0.75 * fluid))

    def _tumour(self, x: Field, y: Field, number: int, rng: np.random.Generator) -> Field:
        radius = self.tumour.radius_at(number)
        ragged = clouds(len(x), 0.12, rng)
        if not radius:
            return np.zeros_like(x)
        distance = np.hypot(x - self.tumour.place[0], y - self.tumour.place[1]) / radius
        return soft(1 + 0.3 * np.clip(ragged, -1.8, 1.8) - distance, 0.07)

    def _shade(self, tumour: Field, x: Field, y: Field, rng: np.random.Generator) -> Field:
        """Makes a tumour uneven, and some of them hollow."""
        uneven = tumour * (1 + 0.12 * clouds(len(x), 0.07, rng))
        away = np.hypot(x - self.tumour.place[0], y - self.tumour.place[1]) / self.tumour.radius
        hollow = soft(self.tumour.core - away, 0.04) if self.tumour.core else 0.0
        return np.asarray(uneven * (1 - 1.3 * hollow))


def _folds(grid: Grid, rng: np.random.Generator) -> Field:
    """The folds of the brain: winding dark lines."""
    winding = clouds(len(grid.x), 0.055, rng)
    return np.asarray(0.6 * clouds(len(grid.x), 0.03, rng) - 1.8 * np.exp(-((winding / 0.28) ** 2)))


def resized(field: Field, size: int) -> Field:
    """Returns a field at `size` x `size` pixels."""
    if len(field) == size:
        return field
    image = Image.fromarray(field.astype(np.float32))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64)


def draw_slice(
    head: Head, number: int, slices: int, setting: Setting, size: int, rng: np.random.Generator
) -> tuple[Pixels, Pixels]:
    """Draws a slice, (size, size, 3), and its mask, (size, size), 255 where the tumour is."""
    sequences, tumour = head.draw(number, slices, min(size, LARGEST_DRAWN), rng)
    inside = resized(tumour, size) > 0.5
    return setting.expose(sequences, size, rng), np.where(inside, np.uint8(255), np.uint8(0))


def write(
    directory: Path,
    *,
    identities: int = 10,
    images_per_identity: int = 6,
    image_size: int = 128,
    seed: int = 0,
    domain: int = 0,
) -> int:
    """Draws a sample set as `directory/P<patient>_<date>/P<patient>_<date>_<number>.tif`, each with its `_mask.tif`.

    About a third of the slices of each patient show a tumour. A slice depends on (seed, domain, patient, number), the
    number of slices and the image size alone: a set of more patients holds the smaller one, byte for byte with the
    same versions of Pillow, NumPy and SciPy.

    Args:
        directory: A folder that does not exist yet, or is empty.
        identities: How many patients: 1 to 1000.
        images_per_identity: Slices of each patient, at least 3.
        image_size: Side in pixels, 32 to 1024.
        seed: 0 or more.
        domain: 0, or another scanner with other patients (`P1000` and up for domain 1, and so on).

    Returns:
        The number of slices.

    Raises:
        DataError: A value is out of range, or `directory` is not empty or cannot be written.
    """
    check_whole_number("identities", identities, low=1, high=PATIENTS_PER_DOMAIN)
    check_whole_number("images_per_identity", images_per_identity, low=FEWEST_SLICES)
    check_whole_number("image_size", image_size, low=32, high=1024)
    check_whole_number("seed", seed, low=0)
    check_whole_number("domain", domain, low=0)
    scanner = OTHER if domain else FIRST
    with new_folder(directory, marker=MARKER) as folder:
        for identity in range(identities):
            of_patient = np.random.default_rng([seed, domain, identity])
            head, setting = Head.random(images_per_identity, of_patient), scanner.set_up(of_patient)
            name = f"P{domain * PATIENTS_PER_DOMAIN + identity:04d}_{20010101 + identity % 28}"
            (folder / name).mkdir()
            for number in range(images_per_identity):
                rng = np.random.default_rng([seed, domain, identity, number + 1])
                pixels, mask = draw_slice(head, number, images_per_identity, setting, image_size, rng)
                stem = folder / name / f"{name}_{number + 1}"
                Image.fromarray(pixels).save(stem.with_name(f"{stem.name}.tif"))
                Image.fromarray(mask).save(stem.with_name(f"{stem.name}_mask.tif"))
    return identities * images_per_identity
