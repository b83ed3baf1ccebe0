"""What the drawn sample sets share: a canvas in the figure's own units, a camera, and a folder written whole."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from cvlab.errors import DataError

Colour = tuple[float, float, float]
Points = NDArray[np.float64]

SUPERSAMPLING = 2
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
MARKER = "SYNTHETIC.md"


def mix(first: Colour, second: Colour, weight: float) -> Colour:
    """Returns the colour `weight` (0..1, clipped) of the way from `first` to `second`; RGB, 0..255."""
    share = min(max(weight, 0.0), 1.0)
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return red, green, blue


def points(*pairs: tuple[float, float]) -> Points:
    """Returns the corners `pairs` (x, y) as an array of shape (n, 2)."""
    return np.array(pairs, dtype=np.float64)


def bend(start: tuple[float, float], middle: tuple[float, float], end: tuple[float, float]) -> Points:
    """Returns 13 points of the parabola that passes through `start`, `middle` (half-way) and `end`."""
    t = np.linspace(0.0, 1.0, 13)[:, np.newaxis]
    weights = np.hstack([(1 - t) * (1 - 2 * t), 4 * t * (1 - t), t * (2 * t - 1)])
    return weights @ points(start, middle, end)


def oval(centre: tuple[float, float], radii: tuple[float, float], *, count: int = 28) -> Points:
    """Returns `count` points of an axis-parallel ellipse, shape (count, 2)."""
    angles = np.linspace(0.0, 2 * math.pi, count, endpoint=False)
    return np.column_stack([centre[0] + radii[0] * np.cos(angles), centre[1] + radii[1] * np.sin(angles)])


class Canvas:
    """A square picture to draw on in the figure's own units: x to the right, y down, origin at `centre`."""

    def __init__(
        self,
        size: int,
        background: Colour,
        *,
        centre: tuple[float, float] = (0.5, 0.5),
        unit: float = 0.5,
        degrees: float = 0.0,
    ) -> None:
        """Starts a picture of `size` pixels a side.

        Args:
            size: Side of the finished picture in pixels; it is drawn twice as large and averaged down.
            background: RGB, 0..255.
            centre: Where the figure's origin lies, as a share of the side.
            unit: The figure's unit of length, as a share of the side.
            degrees: Clockwise rotation of the figure about its origin.
        """
        side = size * SUPERSAMPLING
        self._image = Image.new("RGB", (side, side), _rounded(background))
        self._draw = ImageDraw.Draw(self._image)
        self._origin = np.array(centre) * side
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        self._axes = np.array([[cosine, sine], [-sine, cosine]]) * (unit * side)

    def fill(self, outline: Points, colour: Colour) -> None:
        """Fills the polygon `outline`, shape (n, 2)."""
        corners = outline @ self._axes + self._origin
        self._draw.polygon(corners.ravel().tolist(), fill=_rounded(colour))

    def stroke(self, path: Points, colour: Colour, *, width: float | Sequence[float]) -> None:
        """Draws along `path`, shape (n, 2); several widths are spread evenly over its length."""
        steps = np.gradient(path, axis=0)
        normals = np.column_stack([-steps[:, 1], steps[:, 0]]) / (np.hypot(*steps.T)[:, np.newaxis] + 1e-9)
        knots = np.atleast_1d(np.asarray(width, dtype=np.float64))
        widths = np.interp(np.linspace(0, 1, len(path)), np.linspace(0, 1, len(knots)), knots)
        offsets = normals * widths[:, np.newaxis] / 2
        self.fill(np.vstack([path + offsets, (path - offsets)[::-1]]), colour)

    def finish(self) -> Image.Image:
        """Returns the picture at its final size, antialiased."""
        return self._image.reduce(SUPERSAMPLING)


def _rounded(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = (round(min(max(value, 0.0), 255.0)) for value in colour)
    return red, green, blue


class Camera(NamedTuple):
    """How pictures are taken; each pair is the range that a value is drawn from, evenly."""

    brightness: tuple[float, float]
    slope: float
    colour: tuple[float, float]
    blur: tuple[float, float]
    noise: tuple[float, float]
    quality: tuple[int, int]

    def expose(self, picture: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Returns `picture` under uneven light, with this camera's colour, blur (pixels) and noise (0..255)."""
        blurred = picture.filter(ImageFilter.GaussianBlur(rng.uniform(*self.blur)))
        pixels = np.array(blurred, dtype=np.float32)
        grey = (pixels @ LUMA)[..., np.newaxis]
        pixels = (pixels - grey) * np.float32(rng.uniform(*self.colour)) + grey
        pixels *= self._light(len(pixels), rng)
        pixels += rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(rng.uniform(*self.noise))
        return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))

    def _light(self, side: int, rng: np.random.Generator) -> NDArray[np.float32]:
        across, down = rng.uniform(-self.slope, self.slope, size=2)
        ramp = np.linspace(-1, 1, side)
        light = rng.uniform(*self.brightness) * (1 + across * ramp + down * ramp[:, np.newaxis])
        return np.asarray(light, dtype=np.float32)[..., np.newaxis]

    def save(self, picture: Image.Image, path: Path, rng: np.random.Generator) -> None:
        """Writes `picture` as JPEG."""
        low, high = self.quality
        picture.save(path, format="JPEG", quality=int(rng.integers(low, high + 1)))


@contextmanager
def new_folder(directory: Path, *, marker: str) -> Iterator[Path]:
    """Yields a temporary folder that becomes `directory` when the block ends well, else vanishes.

    Args:
        directory: A folder that does not exist yet, or is empty.
        marker: Text of the file `SYNTHETIC.md` that says what the folder holds.

    Raises:
        DataError: `directory` holds something, is a file, or cannot be written.
    """
    target = directory.expanduser().resolve()
    try:
        _require_vacant(target, directory)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    except OSError as error:
        raise _unwritable(directory, error) from error
    try:
        yield temporary
        (temporary / MARKER).write_text(marker, encoding="utf-8")
        temporary.chmod(0o755)
        # Both steps fail on a folder that has been filled meanwhile, so nothing is ever overwritten.
        if target.is_dir():
            target.rmdir()
        temporary.replace(target)
    except OSError as error:
        raise _unwritable(directory, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _require_vacant(target: Path, named: Path) -> None:
    if target.exists() and not target.is_dir():
        raise DataError(f"{named}: is a file; expected a new or empty folder for the sample data.")
    if target.is_dir() and any(target.iterdir()):
        raise DataError(
            f"{named}: is not empty; sample data never overwrites anything. "
            "Name a new folder, or remove this one first."
        )
    if target == Path.cwd():
        raise DataError(f"{named}: is the current folder; name a new folder in it for the sample data.")


def _unwritable(named: Path, error: OSError) -> DataError:
    return DataError(f"{named}: the sample data cannot be written ({error.strerror or error}).")


def check_whole_number(name: str, value: Any, *, low: int, high: int | None = None) -> None:
    """Checks a setting of a sample set.

    Raises:
        DataError: `value` is no whole number from `low` to `high`.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        span = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise DataError(f"Sample data: `{name}` must be a whole number {span}. Received: {value!r}.")
