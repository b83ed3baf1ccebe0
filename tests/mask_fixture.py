"""Small slices with masks in the layout of kaggle_3m, and what preparing them gives."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cvlab import registry
from cvlab.config import Experiment, ModelConfig, StageConfig
from cvlab.console import Console
from cvlab.data.prepare import PreparedData, load_sources, prepare
from cvlab.tasks.classification import Config as Task

SIDE = 24


def slice_of(number: int, shows: bool, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Returns a slice and its mask, which shows a square or nothing."""
    rng = np.random.default_rng(number)
    mask = np.zeros((side, side), dtype=np.uint8)
    if shows:
        top, left = rng.integers(2, side - 9, size=2)
        mask[top : top + 6, left : left + 7] = 255
    return rng.integers(0, 256, (side, side, 3), dtype=np.uint8), mask


def write_slices(root: Path, patients: int = 6, slices: int = 6) -> Path:
    """Writes `root/P<n>/P<n>_<m>.tif` with `_mask.tif`; two of six slices of each patient show something."""
    for patient in range(patients):
        folder = root / f"P{patient:02d}"
        folder.mkdir(parents=True)
        for number in range(slices):
            image, mask = slice_of(100 * patient + number, shows=number % 3 == 0)
            Image.fromarray(image).save(folder / f"{folder.name}_{number + 1}.tif")
            Image.fromarray(mask).save(folder / f"{folder.name}_{number + 1}_mask.tif")
    return root


def experiment_of(tmp_path: Path, name: str, **settings: Any) -> Experiment:
    config = registry.load(registry.SOURCES, name).Config
    data = config.model_validate({"cache_dir": tmp_path / "cache", "image_size": (SIDE, SIDE), **settings})
    stage = StageConfig(name="only", epochs=1, learning_rate=0.1, task=Task(), data=data)
    return Experiment(name="test", seed=3, task=Task(), data=data, model=ModelConfig(name="none"), stages=[stage])


def prepared(tmp_path: Path, name: str = "lgg_mri", **settings: Any) -> PreparedData:
    experiment = experiment_of(tmp_path, name, **settings)
    return prepare(experiment, load_sources(experiment), Console(StringIO()))
