"""A finished run of a segmentation, made of numbers alone: what training and evaluation would leave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvlab.metrics.segmentation import MaskCounter, choose, predictions_csv, read_predictions
from cvlab.run_folder import RunFolder, write_json, write_text
from tests.report_fixture import write_records

SIDE = 24
PATIENTS = {"train": 12, "val": 4, "test": 5}
SKILLS = {"train": 0.9, "train-augmented": 0.85, "val": 0.75, "test": 0.7}
FIRST = {"train": 0, "val": 100, "test": 200}


def fake_volume(patient: int, slices: int, skill: float) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Probabilities and truth (slices, 24, 24): a lesion that grows and shrinks, missed or moved the less the skill."""
    rng = np.random.default_rng(patient)
    y, x = np.mgrid[:SIDE, :SIDE]
    centre = rng.uniform(7, 17, 2)
    truth = np.zeros((slices, SIDE, SIDE), dtype=np.uint8)
    probabilities = np.zeros((slices, SIDE, SIDE), dtype=np.float32)
    for number in range(slices):
        radius = 6 * np.sin(np.pi * (number + 0.5) / slices) - 3
        truth[number] = np.hypot(y - centre[0], x - centre[1]) <= radius
        moved = centre + rng.normal(scale=4 * (1 - skill), size=2)
        seen = radius + rng.normal(scale=1.5 * (1 - skill))
        edge = np.clip(1.2 * (seen - np.hypot(y - moved[0], x - moved[1])), -30, 30)
        probabilities[number] = 1 / (1 + np.exp(-edge)) if seen > 0 else 0.02
        if rng.random() < 0.1:
            probabilities[number, 1:3, 1:4] = 0.8
    return probabilities, truth


def write_table(path: Path, patients: Sequence[int], skill: float, *, threshold: float = 0.5, slices: int = 9) -> None:
    counter = MaskCounter(threshold)
    for patient in patients:
        probabilities, truth = fake_volume(patient, slices, skill)
        ids = [f"kaggle_3m/P{patient:03d}/P{patient:03d}_{number}.tif" for number in range(slices)]
        counter.add(ids, [f"P{patient:03d}"] * slices, probabilities, truth)
    write_text(path, predictions_csv(counter.predictions()))


def fake_history(stages: Sequence[str], epochs: int = 8) -> list[dict[str, Any]]:
    rng = np.random.default_rng(5)
    lines: list[dict[str, Any]] = []
    for stage in stages:
        lowest = np.inf
        for epoch in range(1, epochs + 1):
            step = len(lines) + 1
            loss = 0.6 * np.exp(-step / 5) + 0.1 + 0.005 * rng.normal()
            val_loss = 0.5 * np.exp(-step / 4) + 0.22 + 0.003 * step + 0.008 * rng.normal()
            values = {
                name: {"loss": value, "dice": 1 - value, "iou": (1 - value) / (1 + value), "accuracy": 1 - 0.03 * value}
                for name, value in (("", float(loss)), ("val_", float(val_loss)))
            }
            line = {"stage": stage, "epoch": epoch, "learning_rate": 1e-4, "seconds": 30.0, "images_per_second": 9.0}
            line |= {f"{prefix}{metric}": value for prefix, of in values.items() for metric, value in of.items()}
            lines.append(line | {"best": bool(val_loss < lowest)})
            lowest = min(lowest, val_loss)
    return lines


def fake_segmentation_run(
    parent: Path,
    *,
    stages: tuple[str, ...] = ("train", "tune"),
    rule: float | str = "dice",
    structure: str = "tumour",
    synthetic: bool = False,
) -> RunFolder:
    """Writes a whole run folder under `parent`; the same arguments give the same files."""
    run = RunFolder(parent / "unet_lgg" / "20250102-030405")
    patients = {split: range(FIRST[split], FIRST[split] + count) for split, count in PATIENTS.items()}
    write_table(run.predictions("val"), patients["val"], SKILLS["val"])
    point = choose(read_predictions(run.predictions("val")), rule)
    write_json(run.operating_point, point.to_json())
    for split, skill in SKILLS.items():
        members = patients[split.removesuffix("-augmented")]
        write_table(run.predictions(split), members, skill, threshold=point.threshold)
    for number, stage in enumerate(stages if len(stages) > 1 else ()):
        for moment, skill in (("before", 0.2 * number + 0.3), ("after", 0.2 * number + 0.5)):
            for split in ("val", "test"):
                write_table(run.predictions(split, moment=f"{stage}-{moment}"), patients[split], skill)
    config = {
        "name": "unet_lgg",
        "task": {"name": "segmentation", "loss": {"name": "dice"}},
        "data": {"name": "lgg_mri", "root": "/data/kaggle_3m"},
        "model": {"name": "unet_vgg16"},
        "stages": [{"name": stage, "epochs": 8} for stage in stages],
    }
    described = {
        "class_names": [f"no {structure}", structure],
        "outputs": ["segmentation", structure],
        "counts": {"train": {f"no {structure}": 60, structure: 48}, "val": {structure: 36}, "test": {structure: 45}},
        "images": 189,
        "groups": 21,
    }
    model = {"total": 25_862_337, "trainable": 11_143_809}
    write_records(run, config, described, fake_history(stages), model=model, synthetic=synthetic)
    run.best.parent.mkdir(parents=True)
    run.best.touch()
    return run
