"""One real batch through all that a training does: train, save, resume, reload, predict, with equal outputs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cvlab import checkpoint
from cvlab.data.pipeline import Batches
from cvlab.errors import TrainingError
from cvlab.models.network import Network
from cvlab.run_folder import write_text
from cvlab.stopping import StopRequest
from cvlab.training_run import TrainingRun
from cvlab.training_state import TrainingState

if TYPE_CHECKING:
    import keras

    from cvlab.training import StageTrainer

# Of outputs of about 1. A saved network is compiled anew, and on a GPU other kernels may be chosen.
ALLOWED = {"float32": 1e-4}
ALLOWED_MIXED = 2e-2


@dataclass(frozen=True)
class StageTrial:
    """What was measured on one batch of a stage.

    Attributes:
        stage: Its name.
        first_seconds: The first step, with everything that is compiled for it, and validation.
        seconds: A step after that.
        images: Images in the batch.
        difference: The largest difference between outputs of the network and of what was saved of it.
    """

    stage: str
    first_seconds: float
    seconds: float
    images: int
    difference: float


def try_out(training: TrainingRun, networks: Sequence[Network]) -> list[StageTrial]:
    """Takes every stage through one step (`training.most_steps` is 1), as a training would.

    Raises:
        CvlabError: Something fails, or what is read back is not what was saved.
    """
    state, trials = TrainingState(), []
    # Not entered: Ctrl-C ends a trial at once.
    stop = StopRequest(on_first=lambda: None, on_second=lambda: None)
    for number, network in enumerate(networks):
        state = state.next_stage() if number else state
        trials.append(_try_stage(training, training.trainer(network, state, stop)))
    return trials


def _try_stage(training: TrainingRun, trainer: StageTrainer) -> StageTrial:
    began = time.monotonic()
    trainer.run_epoch()
    first = time.monotonic() - began
    difference = _check_reloaded(training, trainer)
    seconds = _check_resumed(trainer)
    return StageTrial(trainer.stage.name, first, seconds, trainer.parts.training.drawn, difference)


def _outputs(model: keras.Model, batches: Batches) -> np.ndarray:
    """Predicts as evaluation does, so that nothing is compiled twice; of masks a batch."""
    if batches.masks is None:
        outputs = model.predict(batches.dataset(), verbose=0)
    else:
        outputs = model.predict_on_batch(batches.load(0, 0)[0])
    return np.asarray(outputs, dtype=np.float64)


def _check_resumed(trainer: StageTrainer) -> float:
    """Takes one more step, then goes back to what was saved; returns the seconds of the step."""
    variables = [*trainer.parts.model.weights, *trainer.parts.model.optimizer.variables]
    saved = [np.array(variable) for variable in variables]
    seconds = _time_step(trainer)
    for variable in variables:
        variable.assign(np.zeros_like(variable))
    trainer.restore()
    changed = sum(not np.array_equal(value, np.array(v)) for value, v in zip(saved, variables, strict=True))
    if changed:
        raise TrainingError(
            f"Stage '{trainer.stage.name}' could not be resumed exactly: {changed} of {len(saved)} arrays of the saved "
            "network and its optimizer came back with other values."
        )
    return seconds


def _check_reloaded(training: TrainingRun, trainer: StageTrainer) -> float:
    """Predicts with the network and with what was saved of it; returns the largest difference."""
    stage, task = trainer.stage, trainer.parts.task
    samples = training.data.stages[trainer.state.stage].samples.of_split("val")
    batches = samples.batches(stage.batch_size, seed=(training.experiment.seed,), with_masks=task.truth_is_masks)
    expected = _outputs(trainer.parts.model, batches)
    model = checkpoint.load_model(training.run.stage_best(stage.name))
    model.compile(jit_compile=training.machine.jit_compile)
    found = _outputs(model, batches)
    difference = float(np.abs(found - expected).max())
    allowed = ALLOWED.get(training.machine.precision, ALLOWED_MIXED) * max(1.0, float(np.abs(expected).max()))
    if not difference <= allowed:
        raise TrainingError(
            f"Stage '{stage.name}': the saved network, read back, predicts something else: its outputs differ by up to "
            f"{difference:.3g}, expected at most {allowed:.3g}."
        )
    path = training.run.predictions("val", moment=f"{stage.name}-after")
    write_text(path, task.predict(model, batches, samples.table, point=None, masks=path.with_suffix("")))
    return difference


def _time_step(trainer: StageTrainer) -> float:
    """Returns the seconds of a step that need not be compiled any more."""
    import keras

    times: list[float] = []

    def note(batch: int, logs: Any) -> None:
        times.append(time.monotonic())

    clock = keras.callbacks.LambdaCallback(on_train_batch_begin=note, on_train_batch_end=note)
    trainer.parts.fitted.fit(trainer.parts.training.dataset(), callbacks=[clock], shuffle=False, verbose=0)
    return times[-1] - times[0]
