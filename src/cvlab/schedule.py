"""Learning rates: schedules as functions of the step, and what patience decides."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cvlab.config import StageConfig
from cvlab.config_training import Constant, Cosine, EarlyStopping, ReduceLR, Step


def learning_rate(stage: StageConfig, *, step: int, steps_per_epoch: int, scale: float) -> float:
    """The learning rate of a step (counted from 0 within the stage).

    Warm-up rises linearly to the full rate in `warmup_epochs`. After it, with e epochs gone and E in all:
    cosine is final + (1 - final) (1 + cos(pi e / E)) / 2 (both counted from the end of the warm-up), step is
    factor^floor(e / every). `scale` is what ReduceLROnPlateau has made of it so far.
    """
    schedule = stage.schedule
    warmup_steps = schedule.warmup_epochs * steps_per_epoch
    rate = stage.learning_rate * scale
    if step < warmup_steps:
        rate *= (step + 1) / (warmup_steps + 1)
    elif isinstance(schedule, Cosine):
        left = stage.epochs * steps_per_epoch - warmup_steps
        gone = min(1.0, (step - warmup_steps) / left)
        rate *= schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * gone)) / 2
    elif isinstance(schedule, Step):
        rate *= schedule.factor ** (step // (schedule.every * steps_per_epoch))
    return max(rate, min(stage.reduce_lr.min_learning_rate, stage.learning_rate) if stage.reduce_lr else 0.0)


def varies_by_step(stage: StageConfig) -> bool:
    """Whether the learning rate changes within an epoch."""
    return not isinstance(stage.schedule, Constant) or stage.schedule.warmup_epochs > 0


@dataclass
class Patience:
    """Counts the epochs without improvement; part of the exact state of a training."""

    best: float | None = None
    waited: int = 0

    def runs_out(self, value: float, settings: EarlyStopping | ReduceLR, *, higher: bool, counts: bool) -> bool:
        """Takes the value of an epoch; returns whether patience has run out.

        Args:
            value: The monitored value.
            settings: `patience` and `min_delta`.
            higher: Whether higher values are better.
            counts: Whether an epoch without improvement counts (it does not in the first few hundred steps).
        """
        if improves(value, self.best, higher=higher, by=settings.min_delta):
            self.best, self.waited = value, 0
            return False
        self.waited += counts
        return self.waited >= settings.patience


def improves(value: float, best: float | None, *, higher: bool, by: float = 0.0) -> bool:
    """Whether `value` is better than `best` by more than `by`; NaN never is."""
    if best is None:
        return not math.isnan(value)
    return value > best + by if higher else value < best - by
