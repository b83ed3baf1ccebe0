"""Pictures of their own, and copies of them as they come about: recompressed, resized, brightened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance


def picture(seed: int, size: int = 160) -> Image.Image:
    """A smooth random picture; another seed gives quite another one."""
    coarse = np.random.default_rng(seed).integers(10, 220, (24, 24, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def brighter(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1.1)


def write_copies(image: Image.Image, folder: Path) -> dict[str, Path]:
    """Writes a picture as PNG and what becomes of it on its way through the world."""
    return {
        "original": save(image, folder / "original.png"),
        "recompressed": save(image, folder / "recompressed.jpg", quality=60),
        "resized": save(half(image), folder / "resized.png"),
        "brightened": save(brighter(image), folder / "brightened.jpg", quality=95),
        "all of it": save(brighter(half(image)), folder / "all.jpg", quality=60),
    }
