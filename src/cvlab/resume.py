"""What a run may be resumed with: the same configuration and data, or more epochs."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from cvlab import checkpoint
from cvlab.config import Experiment
from cvlab.config_file import differences
from cvlab.config_messages import shown
from cvlab.data.prepare import PreparedData
from cvlab.data.samples import SampleTable, read_samples
from cvlab.errors import RunFolderError, listing
from cvlab.run_folder import RunFolder
from cvlab.training_state import TrainingState


@contextmanager
def locked(run: RunFolder) -> Iterator[None]:
    """Holds the run folder, so that two trainings never write into one.

    Raises:
        RunFolderError: Another process trains in it.
    """
    with run.lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunFolderError(f"{run.path}: another process is training in this run folder; wait for it.") from error
        yield


def saved_state(run: RunFolder, experiment: Experiment) -> TrainingState:
    """Returns where a run stands, after checking that it may go on with these settings.

    Raises:
        RunFolderError: The configuration differs in more than additional epochs, or the checkpoint is damaged.
    """
    for leftover in run.last.parent.glob(".*.tmp*"):
        leftover.unlink()
    if not run.last.is_file():
        return TrainingState()
    saved = checkpoint.read_state(run.last)
    state = TrainingState.from_json(saved["training"])
    found = differences(saved["config"], experiment.model_dump(mode="json"))
    refused = [item for item in found if not _more_epochs(item, state)]
    if refused:
        lines = [f"{key}: was {shown(old)}, now {shown(new)}" for key, old, new in refused]
        raise RunFolderError(
            f"{run.path}: cannot go on with another configuration; only more epochs of the stage under way, or of a "
            f"later one, may be asked for:\n{listing(lines)}\nTo train with these settings, start a new run."
        )
    if found and state.ended == "all epochs done" and state.epoch < experiment.stages[state.stage].epochs:
        state.ended = ""
    return state


def _more_epochs(difference: tuple[str, Any, Any], state: TrainingState) -> bool:
    key, old, new = difference
    match = re.fullmatch(r"stages\.(\d+)\.epochs", key)
    return match is not None and int(match.group(1)) >= state.stage and new > old


def check_same_data(run: RunFolder, data: PreparedData) -> None:
    """Compares the data with the run's own table of samples.

    Raises:
        RunFolderError: They differ; the message says in what.
    """
    saved = read_samples(run.samples)
    lines: list[str] = []
    for stage in data.stages:
        table = stage.samples.table
        lines += _table_differences(saved.take(saved.stage == table.stage[0]), table)
    if lines:
        raise RunFolderError(
            f"{run.path}: cannot go on with other data than the run was started with:\n{listing(lines)}\n"
            "Put the data back as they were, or start a new run."
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
    columns = {name: getattr(table, name) for name in ("split", "group", "content")}
    return {
        sample_id: {name: column[i] for name, column in columns.items()} for i, sample_id in enumerate(table.sample_id)
    }
