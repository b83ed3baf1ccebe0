"""Pictures made small enough to stand in a page: drawings without loss, photographs nearly so."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from cvlab.png_file import read_png

# Drawings have few colours, photographs many; every third pixel of every third row is enough to tell.
MOST_COLOURS = 4096
STEP = 3
DRAWING: dict[str, Any] = {"lossless": True, "method": 1, "quality": 0}
PHOTOGRAPH: dict[str, Any] = {"quality": 88, "method": 2}
# An inch of a figure is so many pixels of CSS wide, which makes text of 9 points as large as that of the page.
PIXELS_AN_INCH = 100


@dataclass(frozen=True)
class PageImage:
    """A picture in a page.

    Attributes:
        source: Its content as a URI.
        width: How wide it is shown where there is room, in pixels of CSS.
        height: How high it is then.
    """

    source: str
    width: int
    height: int


def page_image(path: Path) -> PageImage:
    """Reads a picture; it is shown as large as its resolution says, so that dense screens show all its pixels.

    Raises:
        RunFolderError: It is missing or no picture.
    """
    opened = read_png(path)
    resolution = opened.info.get("dpi", (PIXELS_AN_INCH, PIXELS_AN_INCH))
    image = opened.convert("RGB")
    sample = image.resize((max(1, image.width // STEP), max(1, image.height // STEP)), Image.Resampling.NEAREST)
    content = BytesIO()
    image.save(content, "WEBP", **(PHOTOGRAPH if sample.getcolors(MOST_COLOURS) is None else DRAWING))
    width, height = (
        max(1, round(pixels * PIXELS_AN_INCH / max(1, density)))
        for pixels, density in zip(image.size, resolution, strict=True)
    )
    return PageImage(f"data:image/webp;base64,{b64encode(content.getvalue()).decode('ascii')}", width, height)
