"""A finished repetition whose networks are made up: real settings, samples and splits, drawn outputs."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cvlab.config import Experiment
from cvlab.config_file import experiment_yaml, load_experiment
from cvlab.console import Console
from cvlab.data.prepare import load_sources
from cvlab.data.samples import SampleTable, concatenate, samples_csv
from cvlab.data.source import Labels
from cvlab.initial import build_tasks
from cvlab.metrics.segmentation import MaskCounter, predictions_csv
from cvlab.pooling import pool
from cvlab.repeat_plan import plan, rehearse
from cvlab.repetitions import Kind, Parent
from cvlab.run_folder import RunFolder, write_json, write_text
from cvlab.tasks.classification import Classification
from cvlab.tasks.regression import Regression
from cvlab.tasks.segmentation import Segmentation
from cvlab.tasks.task import Task

SIDE = 32
BINARY = """
name: films
seed: 5
task: {name: classification, output: sigmoid}
data:
  name: image_folder
  root: DATA/films
  image_size: [32, 32]
  near_duplicate_distance: null
  split: {train: 0.6, val: 0.2, test: 0.2, group_pattern: '(.+)_\\d+$'}
model: {name: vggnet, width: 0.25}
train: {precision: float32}
stages:
  - {name: train, epochs: 2, learning_rate: 1e-3}
evaluate: {positive_class: well, threshold: youden, bootstrap: {resamples: 200}}
"""
MASKS = """
name: scans
seed: 5
task: {name: segmentation}
data:
  name: image_mask_folder
  images: DATA/scans
  image_size: [32, 32]
  near_duplicate_distance: null
  split: {train: 0.6, val: 0.2, test: 0.2, group_pattern: '(.+)_\\d+$'}
model: {name: unet}
train: {precision: float32}
stages:
  - {name: train, epochs: 2, learning_rate: 1e-3}
evaluate: {threshold: dice, bootstrap: {resamples: 200}}
"""
NUMBERS = """
name: faces
seed: 5
task: {name: regression}
data:
  name: csv_table
  table: DATA/faces.csv
  image_size: [32, 32]
  near_duplicate_distance: null
  columns: {image: file, numbers: [valence, arousal], group: person}
model: {name: vggnet, width: 0.25}
train: {precision: float32}
stages:
  - {name: train, epochs: 2, learning_rate: 1e-3}
evaluate: {bootstrap: {resamples: 200}}
"""


def write_data(folder: Path, *, persons: int = 12) -> None:
    """Draws noise: two classes, masks, and a table with numbers, of several images a person."""
    rng = np.random.default_rng(0)
    lines = ["file,person,valence,arousal"]
    for person in range(persons):
        for number in range(4):
            name = f"p{person:02d}_{number}.png"
            label = ("ill", "well")[(person + number) % 2]
            _draw(folder / "films" / label / name, rng.integers(0, 255, (SIDE, SIDE, 3)))
            _draw(folder / "scans" / name, rng.integers(0, 255, (SIDE, SIDE, 3)))
            mask = np.zeros((SIDE, SIDE))
            mask[4 : 4 + 3 * number, 4:20] = 255
            _draw(folder / "scans" / name.replace(".", "_mask."), mask)
            lines.append(f"films/{label}/{name},p{person:02d},{rng.normal():.3f},{rng.normal():.3f}")
    (folder / "faces.csv").write_text("\n".join(lines) + "\n")


def _draw(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def experiment_of(folder: Path, text: str) -> Experiment:
    """Loads a configuration whose data lie in `folder`."""
    path = folder / "experiment.yaml"
    path.write_text(text.replace("DATA", str(folder)))
    return load_experiment(path)


def write_repetition(
    folder: Path, base: Experiment, kind: Kind, count: int, *, finished: Sequence[int] | None = None
) -> Parent:
    """Writes a parent's folder with its parts as training would leave them, and pools them.

    Args:
        folder: Where run folders are made.
        base: The settings.
        kind: What is repeated.
        count: How often.
        finished: The numbers of the parts that are finished; None for all.
    """
    sources = load_sources(base)
    repetitions = plan(base, sources, kind, count)
    tables = rehearse(base, repetitions, sources, Console(io.StringIO()), before=[])
    parent = Parent(RunFolder.create(folder, base.name), repetitions)
    write_json(parent.folder.repetitions, repetitions.json())
    write_text(parent.folder.config, experiment_yaml(base))
    labels = [source.labels for source in sources]
    for number, part, of_part in zip(repetitions.numbers, repetitions.parts, tables, strict=True):
        if finished is None or number in finished:
            _write_part(parent.run(part), repetitions.experiment_of(base, part), of_part, labels, seed=number)
    write_json(parent.folder.status, {"status": "done", "reason": ""})
    pool(parent)
    return parent


def _write_part(
    run: RunFolder, experiment: Experiment, tables: Sequence[SampleTable], labels: Sequence[Labels], *, seed: int
) -> None:
    task, table = build_tasks(experiment, labels)[-1], tables[-1]
    write_text(run.config, experiment_yaml(experiment))
    write_text(run.samples, samples_csv(concatenate(tables)))
    for split in ("train", "val", "test"):
        write_text(run.predictions(split), _predictions(task, table.of_split(split), seed, threshold=0.5))
    point = task.operating_point(run.predictions("val"), experiment.evaluate)
    if point is not None:
        write_json(run.operating_point, point)
        for split in ("train", "val", "test") if task.counts_at_threshold else ():
            threshold = float(point["threshold"])
            write_text(run.predictions(split), _predictions(task, table.of_split(split), seed, threshold=threshold))
    tables_of = {split: run.predictions(split) for split in ("train", "val", "test")}
    found = {split: task.metrics(path, experiment.evaluate, point) for split, path in tables_of.items()}
    write_json(run.metrics, found)
    _write_records(run, task, tables, labels, seed)


def _predictions(task: Task, table: SampleTable, seed: int, *, threshold: float) -> str:
    """Draws what a network might say; each seed leans to another threshold."""
    rng = np.random.default_rng([seed, len(table), int(table.split[0] == "test")])
    if isinstance(task, Segmentation):
        counter = MaskCounter(threshold)
        masks = np.stack([np.asarray(Image.open(path)) > 0 for path in table.mask])[..., None].astype(np.float32)
        lean = 0.15 * (seed % 4) * (1 - masks)
        counter.add(
            table.sample_id, table.group, np.clip(rng.beta(2, 4, masks.shape) + 0.3 * masks + lean, 0, 1), masks
        )
        return predictions_csv(counter.predictions())
    assert isinstance(task, Classification | Regression)
    truth = np.asarray(task.encode(table))
    outputs = truth + rng.normal(0, 0.8, truth.shape) + 0.3 * seed
    return task.predictions_csv(1 / (1 + np.exp(-2 * outputs)) if "sigmoid" in task.outputs else outputs, table)


def _write_records(
    run: RunFolder, task: Task, tables: Sequence[SampleTable], labels: Sequence[Labels], seed: int
) -> None:
    stages = [
        {
            "stage": table.stage[0],
            "class_names": list(of.class_names),
            "numbers": list(of.numbers),
            "masks": list(of.masks),
            "outputs": list(task.outputs),
            "counts": task.summary(table),
            "images": len(table),
            "groups": len({*table.group}),
            "notes": [],
            "warnings": [],
        }
        for table, of in zip(tables, labels, strict=True)
    ]
    write_json(run.data, {"synthetic": False, "allow_leakage": False, "leaks": [], "stages": stages})
    write_json(run.environment, {"command": ["cvlab", "train"], "seed": seed, "device": "CPU", "precision": "float32"})
    write_json(run.model, {"layers": [], "total": 10, "trainable": 10})
    epoch = {"stage": "train", "epoch": 1, "learning_rate": 1e-3, "seconds": 61.0, "images_per_second": 5.0}
    write_text(run.history, f"{json.dumps({**epoch, 'loss': 0.5, 'val_loss': 0.6, 'best': True})}\n")
    write_text(run.best, "not a network")
    write_json(run.status, {"status": "done", "reason": ""})
