"""What a run may be resumed with: the same configuration and data, or more epochs."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from cvlab import checkpoint
from cvlab.config import Experiment
from cvlab.config_file import differences, load_experiment
from cvlab.config_messages import shown
from cvlab.data.samples import SampleTable, read_samples
from cvlab.errors import RunFolderError, listing
from cvlab.run_folder import RunFolder, read_json
from cvlab.training_state import TrainingState


@contextmanager
def locked(run: RunFolder) -> Iterator[None]:
    """Holds the run folder, so that two commands never write into one; clears what a killed one left half-written.

    Raises:
        RunFolderError: Another process uses it, or it cannot be written to.
    """
    with held(run):
        for leftover in run.path.rglob(".*.tmp*"):
            leftover.unlink(missing_ok=True)
        yield


@contextmanager
def held(run: RunFolder) -> Iterator[IO[str]]:
    """Holds a folder and yields the file that is locked; what lies in the folder stays as it is.

    Raises:
        RunFolderError: Another process uses it, or it cannot be written to.
    """
    try:
        file = run.lock.open("w")
    except OSError as error:
        raise RunFolderError(f"{run.path}: cannot be written to ({error.strerror}).") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunFolderError(f"{run.path}: another process is using this run folder; wait for it.") from error
        yield file


def saved_state(run: RunFolder, experiment: Experiment) -> TrainingState:
    """Returns where a run stands, after checking that it may go on with these settings.

    Raises:
        RunFolderError: The configuration differs in more than additional epochs, or the checkpoint is damaged or gone.
    """
    if run.last.is_file():
        state, config = _read_state(run, experiment)
    else:
        _check_nothing_saved(run, experiment)
        state, config = TrainingState(), load_experiment(run.config).model_dump(mode="json")
    found = differences(config, experiment.model_dump(mode="json"))
    refused = [item for item in found if not _allowed(item, state, experiment)]
    if refused:
        lines = [f"{key}: was {shown(old)}, now {shown(new)}" for key, old, new in refused]
        raise RunFolderError(
            f"{run.path}: cannot go on with another configuration. Only the device may change, and more epochs be "
            "asked for, of the stage under way or a later one (with a cosine schedule, before the stage begins):\n"
            f"{listing(lines)}\nTo train with these settings, start a new run."
        )
    if found and state.ended == "all epochs done" and state.epoch < experiment.stages[state.stage].epochs:
        state.ended = ""
    return state


def _check_nothing_saved(run: RunFolder, experiment: Experiment) -> None:
    """Refuses to begin anew, over its results, a run that has trained and whose last save is gone."""
    left = [run.best, run.history, *(run.stage_best(stage.name) for stage in experiment.stages)]
    if found := [path for path in left if path.is_file()]:
        raise RunFolderError(
            f"{run.last}: is missing, though this run has trained ({found[0].relative_to(run.path)} is there): without "
            "it the run cannot go on, and nothing of it was touched. Put back a copy, or start a new run."
        )


def _read_state(run: RunFolder, experiment: Experiment) -> tuple[TrainingState, dict[str, Any]]:
    """Reads the state and the configuration that the last save holds."""
    saved = checkpoint.read_state(run.last)
    try:
        state, config = TrainingState.from_json(saved["training"]), saved["config"]
        if not isinstance(config, dict) or not 0 <= state.stage < len(experiment.stages):
            raise ValueError("expected a configuration with the stage that was trained")
    except (KeyError, ValueError) as error:
        raise RunFolderError(
            f"{run.last}: is damaged: its state is none of a training. Start the run anew, or put back a copy."
        ) from error
    return state, config


def _allowed(difference: tuple[str, Any, Any], state: TrainingState, experiment: Experiment) -> bool:
    """Whether a run may go on with this difference.

    A cosine that has begun cannot get more epochs: the rates of those that are over would have been others.
    """
    key, old, new = difference
    # What is computed from the predictions touches no weight.
    if key == "train.device" or key.startswith(("evaluate.", "expected")):
        return True
    match = re.fullmatch(r"stages\.(\d+)\.epochs", key)
    if match is None or new <= old:
        return False
    number = int(match.group(1))
    begun = number == state.stage and bool(state.epoch or state.batch)
    cosine = experiment.stages[number].schedule.name == "cosine"
    return number >= state.stage and not (begun and cosine)


def check_same_data(run: RunFolder, tables: Sequence[SampleTable]) -> None:
    """Compares the data with the run's own table of samples; what is expanded follows from the images as they are.

    A run that has saved nothing yet may have no table.

    Args:
        run: The run.
        tables: The samples of each stage, as they are found now.

    Raises:
        RunFolderError: They differ; the message says in what.
    """
    if not run.samples.is_file() and not run.last.is_file():
        return
    saved = read_samples(run.samples).originals()
    lines: list[str] = []
    for table in tables:
        lines += _table_differences(saved.take(saved.stage == table.stage[0]), table.originals())
    if lines:
        raise RunFolderError(
            f"{run.path}: cannot go on with other data than the run was started with:\n{listing(lines)}\n"
            "Put the data back as they were, or start a new run."
        )


def check_same_backend(run: RunFolder, backend: str) -> None:
    """Refuses to go on with another backend: its random numbers are others.

    Raises:
        RunFolderError: The run was started with another one.
    """
    started = read_json(run.environment).get("backend", backend) if run.environment.is_file() else backend
    if started != backend:
        raise RunFolderError(
            f"{run.path}: was started with the {started} backend, and cannot go on exactly with {backend}. Set "
            f"KERAS_BACKEND={started}, or start a new run."
        )


def _table_differences(saved: SampleTable, now: SampleTable) -> Sequence[str]:
    before, after = _by_id(saved), _by_id(now)
    lines = [f"{name}: is gone" for name in before if name not in after]
    lines += [f"{name}: is new" for name in after if name not in before]
    for name in before.keys() & after.keys():
        changed = [column for column, value in before[name].items() if value != after[name][column]]
        if changed:
            lines.append(f"{name}: {' and '.join(changed)} changed")
    return sorted(lines)


def _by_id(table: SampleTable) -> dict[str, dict[str, str]]:
    columns = {name: getattr(table, name) for name in ("split", "group", "box", "content")} | dict(table.targets)
    return {
        sample_id: {name: column[i] for name, column in columns.items()} for i, sample_id in enumerate(table.sample_id)
    }
