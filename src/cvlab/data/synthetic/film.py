"""From a drawn chest to a film: pose, exposure, marks, and the files of a whole sample set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from cvlab.data.synthetic.drawing import check_whole_number, new_folder
from cvlab.data.synthetic.thorax import Field, Grid, Opacity, Thorax

PATIENTS_PER_DOMAIN = 1000
# A chest has no finer parts than this shows; a larger picture is drawn so and enlarged.
LARGEST_DRAWN = 160
MARKER = (
    "# Synthetic sample data\n\n"
    "These chest films were drawn by cvlab so that experiments can be tried without a download. They show no real "
    "patients and no real disease. Results on them say whether a program works, and nothing about how well a network "
    "reads X-rays: draw no conclusions from them.\n"
)

Finding = Callable[[np.random.Generator], list[Opacity]]


class Machine(NamedTuple):
    """How films are taken; each pair is the range that a value is drawn from, evenly."""

    white: tuple[float, float]
    gamma: tuple[float, float]
    blur: tuple[float, float]
    noise: tuple[float, float]
    quality: tuple[int, int]
    portable: float

    def expose(self, held: Field, size: int, rng: np.random.Generator) -> Image.Image:
        """Returns the film of what a body holds back: grey, `size` pixels a side."""
        held = gaussian_filter(held, rng.uniform(*self.blur))
        held = held * (1 + rng.uniform(-0.12, 0.12) * np.linspace(-1, 1, len(held)))
        grey = 255 * np.clip(held / rng.uniform(*self.white), 0, 1) ** rng.uniform(*self.gamma)
        film = Image.fromarray(grey.astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
        pixels = np.asarray(film) + rng.normal(0, rng.uniform(*self.noise), (size, size))
        picture = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
        if rng.random() < 0.25:
            narrow(picture, rng)
        mark(picture, rng, portable=bool(rng.random() < self.portable))
        return picture


FIRST = Machine(white=(0.78, 1.05), gamma=(0.75, 1.35), blur=(0.2, 0.9), noise=(1.5, 6), quality=(75, 95), portable=0.1)
OTHER = Machine(white=(0.8, 1.15), gamma=(0.65, 1.1), blur=(0.5, 1.3), noise=(4, 10), quality=(55, 85), portable=0.5)


def narrow(picture: Image.Image, rng: np.random.Generator) -> None:
    """Blackens one or two sides, as where the beam was narrowed."""
    draw, size = ImageDraw.Draw(picture), picture.width
    for side in rng.choice(4, size=int(rng.integers(1, 3)), replace=False):
        near, far = rng.uniform(0.01, 0.07, size=2) * size
        corners = np.array([(0, 0), (size, 0), (size, far), (0, near)]) - size / 2
        turned = corners if side == 0 else corners @ np.linalg.matrix_power(np.array([[0, 1], [-1, 0]]), int(side))
        draw.polygon((turned + size / 2).ravel().tolist(), fill=0)


def mark(picture: Image.Image, rng: np.random.Generator, *, portable: bool) -> None:
    """Writes on most films which side is which, and on some with what they were taken."""
    draw, size = ImageDraw.Draw(picture), picture.width
    font = ImageFont.load_default(size=max(7.0, size * rng.uniform(0.05, 0.09)))
    height = size * rng.uniform(0.03, 0.2)
    if rng.random() < 0.7:
        left = bool(rng.random() < 0.5)
        across = size * (rng.uniform(0.88, 0.93) if left else rng.uniform(0.02, 0.07))
        draw.text((across, height), "L" if left else "R", fill=int(rng.integers(190, 256)), font=font)
    if portable:
        small = ImageFont.load_default(size=max(6.0, size * 0.035))
        draw.text((size * rng.uniform(0.05, 0.6), height), "PORTABLE AP", fill=int(rng.integers(190, 256)), font=small)
    if rng.random() < 0.1:
        electrodes(draw, size, rng)


def electrodes(draw: ImageDraw.ImageDraw, size: int, rng: np.random.Generator) -> None:
    """Draws electrodes with their wires, which lie on ill and well chests alike."""
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.uniform(0.2, 0.8, size=2) * size
        width = max(1, round(size / 120))
        bend = x + rng.uniform(-0.15, 0.15) * size
        draw.line([(x, y), (bend, (y + size) / 2), (bend + rng.uniform(-0.1, 0.1) * size, size)], fill=240, width=width)
        radius = size * 0.014
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=250)


def draw_film(patient: Thorax, finding: Finding, machine: Machine, size: int, rng: np.random.Generator) -> Image.Image:
    """Draws one film of a patient with what `finding` draws; `size` is its side in pixels."""
    grid = Grid.of(
        min(size, LARGEST_DRAWN),
        shift=(rng.uniform(-0.06, 0.06), rng.uniform(-0.05, 0.1)),
        scale=rng.uniform(0.92, 1.12),
        degrees=rng.uniform(-5, 5),
    )
    held = patient.attenuation(grid, finding(rng), breath=rng.uniform(-0.08, 0.04), rng=rng)
    return machine.expose(held, size, rng)


def write_films(
    directory: Path,
    findings: Mapping[str, Finding],
    cycle: Sequence[str],
    *,
    identities: int = 48,
    images_per_identity: int = 3,
    image_size: int = 128,
    seed: int = 0,
    domain: int = 0,
) -> int:
    """Draws a sample set as `directory/<class>/p<patient>_<number>.jpg` (some as `.png`).

    A film depends on (seed, domain, patient, number), the classes and the image size alone: a larger set holds the
    smaller one, byte for byte with the same versions of Pillow, NumPy and SciPy.

    Args:
        directory: A folder that does not exist yet, or is empty.
        findings: What is seen in the lungs of each class.
        cycle: The classes of patients, in turn: all films of a patient are of one class.
        identities: How many patients: one for each entry of `cycle`, to 1000.
        images_per_identity: Films of each patient.
        image_size: Side in pixels, 32 to 1024.
        seed: 0 or more.
        domain: 0, or another machine with other patients (`p1000` and up for domain 1, and so on).

    Returns:
        The number of films.

    Raises:
        DataError: A value is out of range, or `directory` is not empty or cannot be written.
    """
    check_whole_number("identities", identities, low=len(cycle), high=PATIENTS_PER_DOMAIN)
    check_whole_number("images_per_identity", images_per_identity, low=1)
    check_whole_number("image_size", image_size, low=32, high=1024)
    check_whole_number("seed", seed, low=0)
    check_whole_number("domain", domain, low=0)
    machine = OTHER if domain else FIRST
    with new_folder(directory, marker=MARKER) as folder:
        for name in findings:
            (folder / name).mkdir()
        for identity in range(identities):
            patient = Thorax.random(np.random.default_rng([seed, domain, identity]))
            name = cycle[identity % len(cycle)]
            for number in range(images_per_identity):
                rng = np.random.default_rng([seed, domain, identity, number + 1])
                film = draw_film(patient, findings[name], machine, image_size, rng)
                stem = f"p{domain * PATIENTS_PER_DOMAIN + identity:04d}_{number:03d}"
                save(film, folder / name / stem, machine, rng)
    return identities * images_per_identity


def save(film: Image.Image, stem: Path, machine: Machine, rng: np.random.Generator) -> None:
    """Writes a film: grey as JPEG, one in ten in colours that are all the same, one in ten as PNG."""
    kind = rng.random()
    if kind < 0.1:
        film.save(stem.with_suffix(".png"))
        return
    low, high = machine.quality
    stored = film.convert("RGB") if kind < 0.2 else film
    stored.save(stem.with_suffix(".jpg"), quality=int(rng.integers(low, high + 1)))
