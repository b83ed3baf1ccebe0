"""Folders of small images, and what preparing them gives."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cvlab.config import Experiment, ModelConfig, StageConfig
from cvlab.console import Console
from cvlab.data.image_folder import Config
from cvlab.data.prepare import PreparedData, audit, load_sources, prepare
from cvlab.data.samples import SampleTable
from cvlab.errors import DataError
from cvlab.tasks.classification import Config as Task

Settings = dict[str, Any]


def write(path: Path, number: int, size: tuple[int, int] = (9, 7)) -> Path:
    """Writes a small image; another number is another image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def pool(root: Path, classes: dict[str, int], *, first: int = 0, person: int = 1) -> Path:
    """Writes `root/<class>/p<person>_<number>.png`, `person` images each."""
    number = first
    for label, count in classes.items():
        for _ in range(count):
            write(root / label / f"p{number // person:03d}_{number:03d}.png", number)
            number += 1
    return root


def split_folders(root: Path, **sizes: int) -> Path:
    for place, (split, count) in enumerate(sizes.items()):
        pool(root / split, {"a": count, "b": count}, first=100 * place)
    return root


def run(tmp_path: Path, *stages: Settings, before: tuple[SampleTable, ...] = (), seed: int = 1) -> PreparedData:
    experiment = experiment_of(tmp_path, stages, seed)
    return prepare(experiment, load_sources(experiment), Console(StringIO()), before=before)


def audited(tmp_path: Path, *stages: Settings) -> tuple[PreparedData, list[str]]:
    experiment, stops = experiment_of(tmp_path, stages, 1), list[str]()
    sources = load_sources(experiment, stops=stops)
    return audit(experiment, sources, Console(StringIO()), stops), stops


def experiment_of(tmp_path: Path, stages: tuple[Settings, ...], seed: int) -> Experiment:
    configs = [
        Config.model_validate({"image_size": (8, 6), "cache_dir": tmp_path / "cache", **settings})
        for settings in stages
    ]
    return Experiment(
        name="test",
        seed=seed,
        task=Task(),
        data=configs[0],
        model=ModelConfig(name="none"),
        stages=[
            StageConfig(name=f"stage{i}", epochs=1, learning_rate=0.1, task=Task(), data=data)
            for i, data in enumerate(configs)
        ],
    )


def refused(tmp_path: Path, *stages: Settings, **more: Any) -> str:
    with pytest.raises(DataError) as caught:
        run(tmp_path, *stages, **more)
    return str(caught.value)


def roots(*paths: Path, **more: Any) -> Settings:
    return {"root": list(paths), **more}
