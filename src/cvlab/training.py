"""One stage of training: epochs, validation, patience, and exact state after each epoch (or at any step)."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import Any

import keras
import numpy as np

from cvlab import checkpoint, memory
from cvlab.config import StageConfig
from cvlab.config_training import TrainConfig
from cvlab.data.pipeline import own_errors
from cvlab.errors import Interrupted, RunFolderError, TrainingError
from cvlab.optimizers import make_optimizer
from cvlab.progress import EpochProgress
from cvlab.run_folder import RunFolder, write_json
from cvlab.schedule import improves, learning_rate, varies_by_step
from cvlab.stage_parts import StageParts
from cvlab.stopping import StopRequest
from cvlab.training_state import TrainingState

STEPS_BEFORE_BATCHNORM_IS_JUDGED = 300


class StageTrainer:
    """Trains one stage from `state` on; every end of an epoch leaves a checkpoint that continues exactly."""

    def __init__(
        self,
        parts: StageParts,
        *,
        stage: StageConfig,
        train: TrainConfig,
        jit_compile: bool | str,
        new_batchnorm: bool,
        run: RunFolder,
        identity: dict[str, Any],
        state: TrainingState,
        progress: EpochProgress,
        stop: StopRequest,
    ) -> None:
        self.parts, self.stage, self.train, self.run = parts, stage, train, run
        self.identity, self.state, self.progress, self.stop = identity, state, progress, stop
        self.new_batchnorm = new_batchnorm
        self.higher_is_better = stage.task.monitors[stage.monitor.removeprefix("val_")]
        self.metrics = parts.task.training_metrics()
        optimizer = make_optimizer(stage)
        parts.fitted.compile(optimizer=optimizer, loss=parts.task.loss(), metrics=self.metrics, jit_compile=jit_compile)
        if parts.head is not None:
            # What is saved is the whole network with the optimizer of the head, which holds all that is trained.
            parts.model.compile(optimizer=parts.head.optimizer, loss=parts.task.loss())
        parts.model.optimizer.build(parts.model.trainable_variables)

    def restore(self) -> None:
        """Puts model, optimizer and seed generators into the state of `last.keras`.

        Raises:
            RunFolderError: It is damaged, or that of another training.
        """
        if self.state.batch >= self.parts.training.per_epoch:
            raise self.misfit()
        checkpoint.load_weights(self.parts.model, self.run.last)
        checkpoint.set_seed_states(self.parts.model, self.state.seeds)
        self._repair_best()
        self.state.write_history(self.run)

    def misfit(self) -> RunFolderError:
        """The error for a saved state that is none of this training."""
        return RunFolderError(
            f"{self.run.last}: is damaged: its state is not one of this training. Start anew, or put back a copy."
        )

    def _repair_best(self) -> None:
        """Writes the best checkpoint again if the run was killed between `last.keras` and it, or if it is damaged."""
        state, path = self.state, self.run.stage_best(self.stage.name)
        if state.batch or not state.epoch or state.best_epoch != state.epoch:
            return
        try:
            is_there = checkpoint.read_state(path).get("epoch") == state.epoch
        except RunFolderError:
            is_there = False
        if not is_there:
            self._save_best()

    def run_stage(self) -> None:
        """Trains until the last epoch, or until patience runs out.

        Raises:
            Interrupted: A stop was asked for; the state is saved.
            TrainingError: The loss is no number.
        """
        while not self.state.ended:
            self.run_epoch()
        if self.stop.requested:
            self._raise_interrupted()

    def run_epoch(self) -> None:
        """Trains an epoch (or the rest of one), validates and saves."""
        state, model = self.state, self.parts.fitted
        self.parts.training.epoch = state.epoch
        self.parts.training.ready.clear()
        steps = _Steps(self, first=state.batch, started=time.monotonic() - state.seconds)
        model.optimizer.learning_rate = self.rate()
        first, batches = state.batch, self.parts.training.per_epoch
        showing = self.progress.epoch(state.epoch + 1, first=first, batches=batches)
        with showing, own_errors(self.parts.training):
            fitted = model.fit(
                self.parts.training.dataset(first=first),
                initial_epoch=state.epoch,
                epochs=state.epoch + 1,
                callbacks=[steps],
                shuffle=False,
                verbose=0,
            )
        if self.stop.requested and state.batch < batches:
            self.save(seconds=time.monotonic() - steps.started)
            self._raise_interrupted()
        trained = time.monotonic() - steps.started
        training = {name: values[-1] for name, values in fitted.history.items()}
        validation = self._validate()
        speed = {
            "seconds": round(time.monotonic() - steps.started, 3),
            "images_per_second": round(self.parts.training.drawn / trained, 1),
            "waiting": steps.waiting,
            **({"features": "computed once"} if self.parts.head is not None else {}),
        }
        self._end_epoch(training, validation, speed)
        if self.stop.requested and not state.ended:
            self._raise_interrupted()

    def _raise_interrupted(self) -> None:
        assert self.stop.exit_code is not None
        state = self.state
        raise Interrupted(
            f"Stopped in stage '{self.stage.name}' after epoch {state.epoch}, step {state.batch}; the state is saved.\n"
            f"Go on with: cvlab train --resume {self.run.to_resume}",
            exit_code=self.stop.exit_code,
        )

    def _validate(self) -> dict[str, float]:
        with own_errors(self.parts.validation):
            values = self.parts.task.validate(self.parts.fitted, self.parts.validation, self.parts.validation_table)
        if not all(math.isfinite(value) for value in values.values()):
            raise TrainingError(_not_a_number(self, step=self.state.batch))
        return {f"val_{name}": value for name, value in values.items()}

    def _end_epoch(self, training: dict[str, float], validation: dict[str, float], speed: dict[str, Any]) -> None:
        state = self.state
        value = validation[self.stage.monitor]
        is_best = improves(value, state.best, higher=self.higher_is_better)
        rate = self.rate()
        state.epoch, state.batch, state.seconds, state.running = state.epoch + 1, 0, 0.0, []
        if is_best:
            state.best, state.best_epoch = value, state.epoch
        record = {
            "stage": self.stage.name,
            "epoch": state.epoch,
            "learning_rate": rate,
            **speed,
            **{name: float(number) for name, number in (training | validation).items()},
            "best": is_best,
        }
        state.history.append(record)
        self._lose_patience(value)
        if state.epoch >= self.stage.epochs and not state.ended:
            state.ended = "all epochs done"
        self.save()
        if is_best:
            self._save_best()
        state.write_history(self.run)
        self.progress.finished(record)

    def _lose_patience(self, value: float) -> None:
        state, stage = self.state, self.stage
        steps = state.epoch * self.parts.training.per_epoch
        if stage.early_stopping is not None:
            counts = steps >= self._start(stage.early_stopping.start_after_steps)
            if state.stop_patience.runs_out(value, stage.early_stopping, higher=self.higher_is_better, counts=counts):
                state.ended = f"{stage.monitor} has not improved for {stage.early_stopping.patience} epochs"
        if stage.reduce_lr is not None:
            counts = steps >= self._start(stage.reduce_lr.start_after_steps)
            if state.rate_patience.runs_out(value, stage.reduce_lr, higher=self.higher_is_better, counts=counts):
                state.rate_scale *= stage.reduce_lr.factor
                state.rate_patience.waited = 0

    def _start(self, start_after_steps: int | None) -> int:
        if start_after_steps is not None:
            return start_after_steps
        return STEPS_BEFORE_BATCHNORM_IS_JUDGED if self.new_batchnorm else 0

    def rate(self) -> float:
        """The learning rate of the next step."""
        batches = self.parts.training.per_epoch
        step = self.state.epoch * batches + min(self.state.batch, batches - 1)
        return learning_rate(self.stage, step=step, steps_per_epoch=batches, scale=self.state.rate_scale)

    def save(self, *, seconds: float = 0.0) -> None:
        """Writes `last.keras` with the exact state of this moment."""
        state = self.state
        state.seconds = seconds
        state.running = [np.asarray(v).tolist() for v in self.metric_variables()] if state.batch else []
        state.seeds = checkpoint.seed_states(self.parts.model)
        checkpoint.save_training(self.run.last, self.parts.model, {**self.identity, "training": asdict(state)})
        status = {
            "status": "running",
            "reason": "",
            "stage": self.stage.name,
            "epoch": state.epoch,
            "step": state.batch,
        }
        about = {"synthetic": self.identity["synthetic"], "memory": memory.record()}
        write_json(self.run.status, {**status, **about})

    def _save_best(self) -> None:
        about = {"stage": self.stage.name, "epoch": self.state.best_epoch, self.stage.monitor: self.state.best}
        checkpoint.save_inference(self.run.stage_best(self.stage.name), self.parts.model, about)

    def metric_variables(self) -> list[keras.Variable]:
        """The variables that hold the running means of the epoch: of the loss, then of the metrics."""
        (loss,) = [metric for metric in self.parts.fitted.metrics if metric.name == "loss"]
        return [variable for metric in (loss, *self.metrics) for variable in metric.variables]


class _Steps(keras.callbacks.Callback):
    """What happens at every step: the learning rate, the check for NaN, progress, saving, stopping."""

    def __init__(self, trainer: StageTrainer, *, first: int, started: float) -> None:
        super().__init__()
        self.trainer, self.first, self.started = trainer, first, started
        self.saved = time.monotonic()
        self.varies = varies_by_step(trainer.stage)
        self.ended: float | None = None
        self.waited, self.timed = 0.0, 0.0

    @property
    def waiting(self) -> float | None:
        """The share of the steps' time that went to waiting for their images; None after a single step.

        The first step is left out: it also starts the pipeline and compiles the network.
        """
        return round(self.waited / self.timed, 4) if self.timed else None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.first:
            running = self.trainer.state.running
            try:
                for variable, value in zip(self.trainer.metric_variables(), running, strict=True):
                    variable.assign(np.asarray(value, dtype=variable.dtype))
            except (ValueError, TypeError, OverflowError) as error:
                raise self.trainer.misfit() from error

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.varies:
            # Reading `self.model` first: under JAX it brings the variables up to date, and has them read again.
            self.model.optimizer.learning_rate = self.trainer.rate()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        trainer = self.trainer
        values = {name: float(value) for name, value in (logs or {}).items()}
        done = self.first + batch + 1
        self._measure(done - 1)
        if not math.isfinite(values["loss"]):
            raise TrainingError(_not_a_number(trainer, step=done))
        trainer.state.batch = done
        trainer.progress.step(done, values)
        if trainer.stop.requested:
            self.model.stop_training = True
        if done < trainer.parts.training.per_epoch and self._is_due(done):
            _ = self.model  # under JAX, reading it brings the variables up to date
            trainer.save(seconds=time.monotonic() - self.started)
            self.saved = time.monotonic()
        self.ended = time.monotonic()

    def _is_due(self, done: int) -> bool:
        """Whether to save within the epoch, after `done` of its steps."""
        minutes, steps = self.trainer.train.save_every_minutes, self.trainer.train.save_every_steps
        by_time = minutes is not None and time.monotonic() - self.saved > minutes * 60
        return by_time or (steps is not None and done % steps == 0)

    def _measure(self, batch: int) -> None:
        if self.ended is not None:
            self.waited += max(0.0, self.trainer.parts.training.ready[batch] - self.ended)
            self.timed += time.monotonic() - self.ended


def _not_a_number(trainer: StageTrainer, *, step: int) -> str:
    rate = trainer.rate()
    state = trainer.state
    return (
        f"The loss is no longer a number in stage '{trainer.stage.name}', epoch {state.epoch + 1}, step {step}, at "
        f"learning rate {rate:g}. Lower the learning rate (stages.{state.stage}.learning_rate={rate / 10:g}), clip the "
        "gradients (train.optimizer.global_clipnorm=1.0), or train in float32 (train.precision=float32)."
    )
