"""What is printed before a training starts: what will be trained, on what, where, and how long it may take."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cvlab.config import Experiment, StageConfig
from cvlab.console import Console
from cvlab.data.prepare import PreparedData
from cvlab.data.samples import SampleTable
from cvlab.data.sampling import samples_per_epoch
from cvlab.errors import counted
from cvlab.models.network import parameter_counts
from cvlab.text import duration
from cvlab.training_run import TrainingRun
from cvlab.training_state import TrainingState

if TYPE_CHECKING:
    import keras

PROBE = 32
BACKWARD_COST = 3.0
SECONDS_TO_START_A_STAGE = 8.0


def print_summary(training: TrainingRun, model: keras.Model, *, weights: str, state: TrainingState) -> None:
    """Prints the summary of a run; `model` is that of the stage which comes next."""
    experiment, data, machine, console = training.experiment, training.data, training.machine, training.console
    if data.synthetic:
        console.warn("SYNTHETIC SAMPLE DATA: drawn pictures; the results say nothing about real ones.")
    for stage, prepared, task in zip(experiment.stages, data.stages, training.tasks, strict=True):
        console.say(f"Data of stage '{stage.name}': {prepared.source.origin}")
        _print_counts(task.summary(prepared.samples.table), console)
    total, trainable = parameter_counts(model)
    console.say(f"Model       {experiment.model.title}, {total:,} parameters, {trainable:,} of them trainable")
    console.say(f"Weights     {weights}")
    console.say(f"Device      {machine.device}, {machine.precision}, {machine.backend} backend")
    console.say(f"Run folder  {training.run.path}")
    if not state.has_begun:
        seconds = _expected_seconds(experiment, data, model)
        console.say(f"Time        about {duration(seconds)} (a guess from one batch)")
    for note in dict.fromkeys(note for prepared in data.stages for note in prepared.notes):
        console.say(f"Note: {note}")
    for warning in dict.fromkeys(warning for prepared in data.stages for warning in prepared.warnings):
        console.warn(warning)
    _warn_of_large_batches(training)
    if data.leaks:
        allowed = any(stage.data.allow_leakage for stage in experiment.stages)
        what = "LEAKAGE ALLOWED (data.allow_leakage: true)" if allowed else "LEAKAGE"
        console.warn(f"{what}: {counted(len(data.leaks), 'leak')}; the report lists them.")
    console.say()


def _warn_of_large_batches(training: TrainingRun) -> None:
    for stage, prepared in zip(training.experiment.stages, training.data.stages, strict=True):
        images = samples_per_epoch(prepared.samples.table.of_split("train"), stage.data.sampling)
        if stage.batch_size >= images:
            training.console.warn(
                f"Stage '{stage.name}' makes one step an epoch: batch_size {stage.batch_size:,} for {images:,} images."
            )


def _print_counts(counts: Mapping[str, Mapping[str, int]], console: Console) -> None:
    names = list(next(iter(counts.values())))
    widths = [max(len(name), 6) for name in names]
    header = "  ".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))
    many = len(names) > 1
    console.say(f"  {'':5}  {header}{'   total' * many}")
    for split, found in counts.items():
        row = "  ".join(f"{found[name]:>{width},}" for name, width in zip(names, widths, strict=True))
        console.say(f"  {split:5}  {row}{f'  {sum(found.values()):>6,}' * many}")


def _expected_seconds(experiment: Experiment, data: PreparedData, model: keras.Model) -> float:
    """Guesses the time of all stages from a forward pass; a training step costs about three of them."""
    samples = data.stages[0].samples
    images = samples.images[samples.rows[:PROBE]]
    model.predict_on_batch(images)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        model.predict_on_batch(images)
        times.append(time.perf_counter() - started)
    per_image = float(np.median(times)) / len(images)
    starts = SECONDS_TO_START_A_STAGE * len(experiment.stages)
    return starts + sum(
        per_image * _passes(stage, prepared.samples.table, cache_features=experiment.train.cache_features)
        for stage, prepared in zip(experiment.stages, data.stages, strict=True)
    )


def _passes(stage: StageConfig, table: SampleTable, *, cache_features: bool) -> float:
    """Forward passes over single images in a stage and its evaluation."""
    training = samples_per_epoch(table.of_split("train"), stage.data.sampling)
    validation = len(table.of_split("val"))
    once = stage.trainable == "head" and cache_features and not stage.augment
    epochs, cost = (1 if once else stage.epochs), (1.0 if stage.trainable == "head" else BACKWARD_COST)
    return float(epochs * (cost * training + validation) + 2 * len(table))
