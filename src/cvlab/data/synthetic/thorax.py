"""A drawn chest as X-rays see it: how much each part holds back, at every point of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

Field = NDArray[np.float64]

TOP, FLOOR = -0.74, 0.5
RIBS = 9.0


class Grid(NamedTuple):
    """Where the pixels lie in the body: x to the right of the picture, y down, the chest about -1..1 wide and high."""

    x: Field
    y: Field

    @classmethod
    def of(cls, size: int, *, shift: tuple[float, float], scale: float, degrees: float) -> Grid:
        """Returns the places of `size` x `size` pixels for a chest that is moved, scaled and turned clockwise."""
        line = (np.arange(size) + 0.5) / size * 2 - 1
        x, y = line[np.newaxis] - shift[0], line[:, np.newaxis] - shift[1]
        cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        return cls((cosine * x + sine * y) / scale, (cosine * y - sine * x) / scale)


class Opacity(NamedTuple):
    """A part of a lung that holds air no more.

    Attributes:
        place: Where its middle lies, as a share of the way from the spine to the ribs (negative: the right lung,
            on the left of the picture) and as the height y.
        radius: About half its width.
        density: How much it holds back, 0 (nothing) to 1 (as much as the heart).
        ragged: How uneven its outline and inside are, 0 to 1.
    """

    place: tuple[float, float]
    radius: float
    density: float
    ragged: float


@dataclass(frozen=True)
class Thorax:
    """The body of one invented patient, in the units of `Grid`."""

    lung_width: float
    lung_top: float
    floor: float
    dome: float
    heart: float
    heart_lean: float
    knob: float
    mediastinum: float
    shoulders: float
    body: float
    rib_slope: float
    rib_contrast: float
    rib_phase: float
    breasts: float
    markings: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> Thorax:
        """Draws a patient."""
        return cls(
            lung_width=rng.uniform(0.62, 0.76),
            lung_top=TOP + rng.uniform(-0.04, 0.05),
            floor=FLOOR + rng.uniform(-0.1, 0.12),
            dome=rng.uniform(0.12, 0.24),
            heart=rng.uniform(0.85, 1.25),
            heart_lean=rng.uniform(20, 50),
            knob=rng.uniform(0.0, 1.0),
            mediastinum=rng.uniform(0.1, 0.15),
            shoulders=rng.uniform(-0.05, 0.08),
            body=rng.uniform(0.1, 0.24),
            rib_slope=rng.uniform(0.1, 0.3),
            rib_contrast=rng.uniform(0.6, 1.2),
            rib_phase=rng.uniform(0, 1),
            breasts=float(rng.random() < 0.4) * rng.uniform(0.5, 1.2),
            markings=rng.uniform(0.5, 1.2),
        )

    def attenuation(self, grid: Grid, opacities: list[Opacity], *, breath: float, rng: np.random.Generator) -> Field:
        """Returns what the body holds back at every pixel, 0 (nothing) to about 1.3.

        Args:
            grid: The places of the pixels.
            opacities: What is ill.
            breath: How far the diaphragm is down from where it usually is.
            rng: For what no two films have in common.
        """
        lungs = self.lungs(grid, breath)
        body = self._body(grid)
        ill = sum((self._opacity(grid, opacity, rng) for opacity in opacities), np.zeros_like(grid.x))
        across = np.clip(np.abs(grid.x) / (self.lung_width + self.body), 0, 1)
        held = 0.3 + 0.3 * np.sqrt(1 - across**2) + 0.06 * grid.y
        held -= lungs * (0.4 - 0.04 * grid.y)
        held += 0.3 * lungs * np.minimum(ill, 1) * (1 + 0.1 * np.minimum(ill, 1))
        held += 0.06 * self.markings * lungs * self._markings(grid, rng)
        held += self._middle(grid) + self._bones(grid, lungs) + self._soft_parts(grid)
        return np.asarray(body * held, dtype=np.float64)

    def lungs(self, grid: Grid, breath: float) -> Field:
        """Returns how far each pixel is inside a lung, 0 to 1, with soft borders."""
        side = np.abs(grid.x)
        floor = self._floor(grid, breath)
        middle = np.where(
            grid.x > 0, self._heart_edge(grid), self.mediastinum + 0.04 * np.exp(-(((grid.y - 0.2) / 0.3) ** 2))
        )
        return soft(self.cage(grid.y) - side, 0.012) * soft(side - middle, 0.016) * soft(floor - grid.y, 0.014)

    def cage(self, y: Field) -> Field:
        """Returns how far from the spine the ribs are at the height `y`; 0 above the lungs."""
        share = np.clip((y - self.lung_top) / (FLOOR + 0.35 - self.lung_top), 0, 1)
        return np.asarray(self.lung_width * (1 - (1 - share) ** 2.4) ** 0.68)

    def _floor(self, grid: Grid, breath: float) -> Field:
        """The height of the diaphragm: a dome a side, the right one higher."""
        side = np.abs(grid.x)
        across = (side - 0.36) / 0.42
        higher = np.where(grid.x < 0, 0.06, 0.0)
        return np.asarray(self.floor + breath - higher + self.dome * across**2 + 0.02)

    def _heart_edge(self, grid: Grid) -> Field:
        swell = np.exp(-(((grid.y - 0.3) / 0.28) ** 2))
        return np.asarray(self.mediastinum + 0.24 * self.heart * swell)

    def _body(self, grid: Grid) -> Field:
        side = np.abs(grid.x)
        neck = soft(0.25 + 0.5 * np.clip(grid.y + 0.85, 0, 1) - side, 0.02)
        slope = -0.8 - self.shoulders + 0.32 * np.clip(side - 0.15, 0, 1) ** 1.6
        trunk_side = self.lung_width + self.body + 0.1 * np.exp(-(((grid.y + 0.45) / 0.3) ** 2))
        trunk = soft(trunk_side - side, 0.015) * soft(grid.y - slope, 0.02)
        arms = soft(grid.y - slope - 0.02, 0.02) * soft(0.2 - (grid.y + 0.35) - 0.3 * (side - 0.9), 0.12)
        return np.maximum(np.maximum(neck, trunk), 0.85 * arms)

    def _middle(self, grid: Grid) -> Field:
        """Spine, heart, great vessels, windpipe, and the belly below the diaphragm."""
        spine = 0.09 * np.exp(-((grid.x / 0.085) ** 4)) * (1 + 0.35 * np.sin(grid.y * 34))
        wide = self.mediastinum + 0.02
        vessels = 0.1 * np.exp(-((grid.x / wide) ** 4)) * soft(grid.y + 0.75, 0.1)
        lean = np.radians(self.heart_lean)
        x, y = grid.x - 0.1, grid.y - 0.24
        along, across = np.cos(lean) * x + np.sin(lean) * y, np.cos(lean) * y - np.sin(lean) * x
        heart = 0.16 * soft(1 - np.hypot(along / (0.34 * self.heart), across / (0.25 * self.heart)), 0.07)
        knob = 0.1 * self.knob * soft(0.085 - np.hypot(grid.x - 0.1, grid.y + 0.28), 0.015)
        windpipe = -0.08 * np.exp(-(((grid.x + 0.01) / 0.04) ** 4)) * soft(-0.3 - grid.y, 0.05)
        belly = 0.16 * soft(grid.y - self.floor - 0.05, 0.05)
        return np.asarray(spine + np.maximum(vessels, heart) + knob + windpipe + belly)

    def _bones(self, grid: Grid, lungs: Field) -> Field:
        """Ribs behind (falling outwards) and before (falling inwards, fainter), and the collar bones."""
        side = np.abs(grid.x)
        out = np.clip(side / self.lung_width, 0, 1.2)
        inside = soft(self.cage(grid.y) + 0.035 - side, 0.01) * soft(side - 0.07, 0.02)
        behind = grid.y - self.rib_slope * (out - 0.35) ** 2 * 1.8
        before = grid.y + 0.5 * (out - 0.2) * (1 - 0.3 * out)
        ribs = 0.1 * _bands(behind * RIBS / 1.24 + self.rib_phase, 0.21) * soft(side - 0.08, 0.02)
        ribs += (
            0.06 * _bands(before * RIBS / 1.5 + self.rib_phase, 0.2) * soft(out - 0.45, 0.06) * soft(grid.y + 0.5, 0.1)
        )
        rim = (
            0.1 * np.exp(-(((side - self.cage(grid.y) - 0.012) / 0.022) ** 2)) * soft(self.floor + 0.15 - grid.y, 0.06)
        )
        collar = 0.12 * np.exp(
            -(((grid.y + 0.63 - self.shoulders + 0.16 * (side - 0.08) - 0.1 * np.sin(side * 5)) / 0.026) ** 2)
        )
        collar *= soft(side - 0.1, 0.02) * soft(0.85 - side, 0.02)
        fading = 1 - 0.45 * soft(grid.y - self.floor, 0.1)
        return np.asarray(self.rib_contrast * fading * (ribs * inside * (0.6 + 0.4 * lungs) + rim) + collar)

    def _soft_parts(self, grid: Grid) -> Field:
        """Breasts, if any: a faint shadow over the lower lungs."""
        distance = np.hypot((np.abs(grid.x) - 0.42) / 0.33, (grid.y - 0.32) / 0.3)
        return np.asarray(0.07 * self.breasts * soft(1 - distance, 0.06))

    def _markings(self, grid: Grid, rng: np.random.Generator) -> Field:
        """The vessels in the lungs: spots and streaks, denser towards the middle."""
        from_hilum = np.hypot(np.abs(grid.x) - 0.16, grid.y)
        streaks = np.clip(clouds(len(grid.x), 0.03, rng) + 0.6 * clouds(len(grid.x), 0.06, rng), -2, 3)
        return np.asarray(streaks * np.exp(-from_hilum / 0.35) + 0.9 * np.exp(-((from_hilum / 0.13) ** 2)))

    def _opacity(self, grid: Grid, opacity: Opacity, rng: np.random.Generator) -> Field:
        share, height = opacity.place
        at = np.abs(share) * float(self.cage(np.array(height)))
        distance = np.hypot(
            (grid.x - np.sign(share) * at) / opacity.radius, (grid.y - height) / (1.15 * opacity.radius)
        )
        uneven = opacity.ragged * clouds(len(grid.x), 0.5 * opacity.radius, rng)
        inside = soft(1 - distance + 0.4 * uneven, 0.22)
        return np.asarray(opacity.density * inside * (1 + 0.2 * opacity.ragged * clouds(len(grid.x), 0.05, rng)))


def soft(distance: Field, width: float) -> Field:
    """Returns 1 well inside (distance above 0), 0 well outside, one half on the border; `width` is its softness."""
    return np.asarray(0.5 + 0.5 * np.tanh(distance / (2 * width)))


def _bands(phase: Field, half_width: float) -> Field:
    """Returns stripes, one a whole number of `phase`, brighter at their edges as hollow bones are."""
    across = np.abs((phase + 0.5) % 1 - 0.5) / half_width
    return np.asarray(soft(1 - across, 0.12) * (0.75 + 0.35 * np.clip(across, 0, 1) ** 2))


def clouds(size: int, grain: float, rng: np.random.Generator) -> Field:
    """Returns smooth noise, (size, size), of mean 0 and deviation about 1; `grain` as a share of half the picture."""
    sigma = grain * size / 2
    step = max(1, int(sigma / 2))
    coarse = rng.standard_normal((-(-size // step) + 2,) * 2)
    smooth = gaussian_filter(coarse, sigma / step, mode="wrap")
    fine = zoom(smooth, step, order=1) if step > 1 else smooth
    fine = fine[:size, :size]
    return np.asarray((fine - fine.mean()) / (fine.std() + 1e-9))
