"""Finished runs to compare, made of numbers alone: only what a comparison reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from cvlab.metrics import classification, regression
from cvlab.run_folder import RunFolder, write_json, write_text
from tests.regression_run_fixture import fake_predictions, fake_truth
from tests.run_fixture import fake_scores
from tests.segmentation_run_fixture import write_table

NAMES = ("happy", "neutral", "sad")


def write_run(folder: Path, test: str, *, task: str = "classification", seed: int = 42, **settings: Any) -> RunFolder:
    """Writes a finished run with the predictions `test` of test; `settings` are added to its configuration."""
    run = RunFolder(folder)
    config = {
        "name": folder.parent.name,
        "seed": seed,
        "task": {"name": task},
        "data": {"root": "/data/faces", "split": {"train": 0.8}},
        "model": {"name": "vggnet", "dropout": 0.5},
        "stages": [{"name": "train", "epochs": 3}],
        **settings,
    }
    write_text(run.config, yaml.safe_dump(config, sort_keys=False))
    write_text(run.predictions("test"), test)
    write_json(run.environment, {"seed": seed, "device": "CPU", "versions": {"cvlab": "0.1.0"}})
    stage = {"stage": "train", "outputs": [task], "counts": {}, "class_names": [], "images": 1}
    write_json(run.data, {"synthetic": False, "leaks": [], "stages": [stage]})
    write_json(run.model, {"total": 1_200_000, "trainable": 1_180_000, "layers": []})
    epochs = [
        {
            "stage": "train",
            "epoch": epoch,
            # No two runs take the same time.
            "seconds": 10 + len(str(folder)) / 1000 + seed / 7 + sum(map(ord, str(folder))) / 1e6,
            "images_per_second": 100.0,
            "val_loss": 1.0 / epoch,
            "val_accuracy": 0.2 * epoch,
            "best": True,
        }
        for epoch in (1, 2, 3)
    ]
    write_text(run.history, "".join(json.dumps(epoch) + "\n" for epoch in epochs))
    write_json(run.status, {"status": "done", "reason": "", "stage": "train", "epoch": 3})
    run.best.parent.mkdir(parents=True)
    run.best.write_bytes(bytes(2_500_000))
    return run


def targets_of(samples: int, classes: int = len(NAMES)) -> NDArray[np.int64]:
    """Classes of so many samples, the same for every run."""
    return np.random.default_rng(0).integers(classes, size=samples)


def table_of(
    skill: float,
    seed: int,
    *,
    samples: int = 150,
    names: Sequence[str] = NAMES,
    group_of: int = 1,
    ids: Sequence[str] | None = None,
) -> str:
    """A table of predictions that lean to the truth by `skill`; `group_of` samples each are of one person."""
    target = targets_of(samples, len(names))
    scores = fake_scores(target, len(names), skill, seed)
    groups = [f"person_{number // group_of}" for number in range(samples)]
    return classification.predictions_csv(ids or ids_of(samples), groups, target, scores, names)


def ids_of(samples: int, first: int = 0) -> list[str]:
    """Ids of so many samples."""
    return [f"faces/{number:04d}.jpg" for number in range(first, first + samples)]


def classification_run(
    parent: Path, name: str, skill: float, seed: int = 42, names: Sequence[str] = NAMES, **settings: Any
) -> RunFolder:
    """A run of a classification of 150 images, each a group of its own."""
    table = table_of(skill, seed + len(name), names=names)
    return write_run(parent / name / f"20250102-0304{seed:02d}", table, seed=seed, **settings)


def regression_run(parent: Path, name: str, skill: float, seed: int = 42) -> RunFolder:
    """A run of a regression of two targets of 120 images, three of a person."""
    truth = fake_truth(120, 2, 0)
    predicted = fake_predictions(truth, skill, seed)
    groups = [f"person_{number // 3}" for number in range(120)]
    text = regression.predictions_csv(ids_of(120), groups, truth, predicted, ("valence", "arousal"))
    return write_run(parent / name / f"20250102-0304{seed:02d}", text, task="regression", seed=seed)


def segmentation_run(parent: Path, name: str, skill: float, *, patients: int = 9) -> RunFolder:
    """A run of a segmentation of nine slices of each of some patients."""
    run = write_run(parent / name / "20250102-030405", "", task="segmentation")
    write_table(run.predictions("test"), range(patients), skill)
    return run


def edit_json(path: Path, **changes: Any) -> None:
    """Changes entries of a JSON file."""
    write_json(path, json.loads(path.read_text()) | changes)
