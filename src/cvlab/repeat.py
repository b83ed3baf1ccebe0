"""One experiment trained several times: with several seeds, or on each fold. Each part has a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from cvlab import runtime
from cvlab.config import Experiment
from cvlab.config_file import experiment_yaml, load_experiment
from cvlab.config_messages import shown
from cvlab.data.prepare import load_sources
from cvlab.data.rehearse import split_for_all
from cvlab.data.samples import SampleTable
from cvlab.data.source import LoadedSource
from cvlab.errors import ConfigError, CvlabError, DataError, Interrupted, RunFolderError, listing
from cvlab.experiment import Request, evaluate, resume, train_new
from cvlab.initial import build_tasks, samples_before
from cvlab.models.network import find_weights
from cvlab.part_process import Outcome, run_part, stop_with_parent
from cvlab.repetitions import LARGEST_SEED, Kind, Parent, Repetitions, is_finished
from cvlab.resume import check_same_data, held
from cvlab.run_folder import RunFolder, read_json, write_json, write_text
from cvlab.sample_data import use_sample_data
from cvlab.stopping import EXIT_CODES, Terminated


class PartFailed(CvlabError):
    """A part ended with an error, which it has told itself."""

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def train_repeated(
    config: Path, overrides: Sequence[str], request: Request, *, kind: Kind, count: int, sample: bool, parent: Path
) -> Parent:
    """Trains a configuration `count` times in a new folder, each time in a run folder of its own.

    Raises:
        CvlabError: Something is wrong with the configuration, the data or a training; the message says what.
    """
    base = load_experiment(config, overrides)
    if sample:
        base = use_sample_data(base, request.console)
    sources = load_sources(base)
    repetitions = _plan(base, sources, kind, count)
    tables = _rehearse(base, repetitions, sources, request, before=samples_before(base))
    _say_plan(base, repetitions, tables, request)
    found = Parent(RunFolder.create(parent, base.name), repetitions)
    with held(found.folder) as lock:
        _write_start(found, base, request)
        _train_parts(found, request, lock)
    return found


def resume_repeated(parent: Parent, request: Request) -> Parent:
    """Goes on with a folder of repetitions; what is finished is not trained again.

    Raises:
        CvlabError: It cannot go on; the message says why.
    """
    with held(parent.folder) as lock:
        base, started = parent.experiment(), [part for part in parent.repetitions.parts if _has_begun(parent, part)]
        _check_settings(parent, base, started)
        sources = load_sources(base)
        kept = next((parent.run(part) for part in started), None)
        before = samples_before(base, kept)
        tables = _rehearse(base, parent.repetitions, sources, request, before=before)
        for part, of_part in zip(parent.repetitions.parts, tables, strict=True):
            if parent.run(part).samples.is_file():
                check_same_data(parent.run(part), of_part)
        _train_parts(parent, request, lock)
    return parent


def train_part(parent: Parent, part: str, request: Request) -> RunFolder:
    """Trains one part, from its beginning or from where it was last saved. What its own process does.

    Raises:
        CvlabError: Something is wrong; the message says what.
    """
    stop_with_parent()
    run, request = parent.run(part), replace(request, is_part=True)
    request.console.title = parent.repetitions.title(part)
    if run.config.is_file():
        return resume(run, [], request)
    experiment = parent.repetitions.experiment_of(parent.experiment(), part)

    def make_folder() -> RunFolder:
        run.path.mkdir(exist_ok=True)
        return run

    return train_new(experiment, request, make_folder=make_folder)


def _plan(base: Experiment, sources: Sequence[LoadedSource], kind: Kind, count: int) -> Repetitions:
    """Says what the parts are.

    Raises:
        CvlabError: The settings or the data leave nothing to repeat so.
    """
    if kind == "seeds":
        if base.seed + count - 1 > LARGEST_SEED:
            raise ConfigError([f"seed: expected at most {LARGEST_SEED - count + 1:,} with --seeds {count}."])
        return Repetitions("seeds", tuple(range(base.seed, base.seed + count)))
    if any(data.split.folds is not None for data in (base.data, *(stage.data for stage in base.stages))):
        raise ConfigError(
            [
                "data.split.folds: the configuration names one fold already, and --folds trains all; leave out "
                "`folds` and `fold` of data.split."
            ]
        )
    came_split = [bool(source.table.split[0]) for source in sources]
    if came_split[-1]:
        found = ", ".join(dict.fromkeys(sources[-1].table.split))
        raise DataError(
            f"--folds: the data are split already ({found}), so that there is nothing to divide into folds; "
            f"{sources[-1].to_merge}. To repeat training on the split as it is: --seeds {count}."
        )
    folded = tuple(stage.name for stage, split in zip(base.stages, came_split, strict=True) if not split)
    return Repetitions("folds", tuple(range(1, count + 1)), folded)


def _rehearse(
    base: Experiment,
    repetitions: Repetitions,
    sources: Sequence[LoadedSource],
    request: Request,
    *,
    before: Sequence[SampleTable],
) -> list[list[SampleTable]]:
    """Finds what would stop a part before the first one trains; returns the samples of each part, split."""
    tasks = build_tasks(base, [source.labels for source in sources])
    find_weights(base.model, image_size=base.data.image_size)
    experiments = [repetitions.experiment_of(base, part) for part in repetitions.parts]
    # With other seeds the split is the same.
    several = experiments if repetitions.kind == "folds" else experiments[:1]
    tables = split_for_all(several, sources, request.console, before=before)
    for of_part in tables:
        tasks[-1].check_evaluation(base.evaluate, of_part[-1])
    return tables if repetitions.kind == "folds" else tables * len(experiments)


def _say_plan(
    base: Experiment, repetitions: Repetitions, tables: Sequence[Sequence[SampleTable]], request: Request
) -> None:
    say, count = request.console.say, len(repetitions.numbers)
    if repetitions.kind == "seeds":
        say(
            f"--seeds {count}: {repetitions.numbers[0]} to {repetitions.numbers[-1]}; the split stays that of seed "
            f"{base.seed} (data.split.seed), so that what varies is training."
        )
        return
    sizes = ", ".join(f"{len(of_part[-1].of_split('test')):,}" for of_part in tables)
    say(f"--folds {count}: each of {len(tables[0][-1]):,} images is tested once, in folds of {sizes}.")
    train, val = (len(tables[0][-1].of_split(split)) for split in ("train", "val"))
    say(f"Of the other folds {val / (train + val):.1%} validate and choose the weights, as the configuration's split.")
    for stage in base.stages:
        if stage.name not in repetitions.folded:
            say(f"Stage '{stage.name}': the data are split already and stay so in every fold.")


def _write_start(parent: Parent, base: Experiment, request: Request) -> None:
    folder = parent.folder
    write_text(folder.config, experiment_yaml(base))
    write_json(folder.environment, runtime.provenance(list(request.command)))
    write_json(folder.repetitions, parent.repetitions.json())
    request.console.log_to(folder.log)
    request.console.say(f"Run folder  {parent.path}, with {', '.join(parent.repetitions.parts)}\n")


def _has_begun(parent: Parent, part: str) -> bool:
    return parent.run(part).config.is_file()


def _check_settings(parent: Parent, base: Experiment, started: Sequence[str]) -> None:
    """Refuses to go on where parts would differ in more than what is repeated."""
    changed = [
        f"{part}: {key}: {shown(old)} in {parent.folder.config.name}, {shown(new)} in the part's own"
        for part, key, old, new in parent.changed(base, started)
    ]
    if changed:
        raise RunFolderError(
            f"{parent.path}: cannot go on with other settings than those of the parts that there are:\n"
            f"{listing(changed)}\nPut the settings back as they were, or start anew."
        )


def _train_parts(parent: Parent, request: Request, lock: IO[str]) -> None:
    console = request.console
    console.log_to(parent.folder.log)
    with _status(parent):
        for part in parent.repetitions.parts:
            if is_finished(parent.run(part)):
                console.say(f"{parent.repetitions.title(part)}: finished already")
                continue
            _write_status(parent, "running", part=part)
            console.say(f"\n=== {parent.repetitions.title(part)} ===")
            _run("train", parent, part, request, lock)


def _run(what: str, parent: Parent, part: str, request: Request, lock: IO[str], more: Sequence[str] = ()) -> None:
    """Runs a command on a part, in a process of its own.

    Raises:
        Interrupted: This process was told to stop.
        PartFailed: The part failed.
    """
    verbose = ["--verbose"] if request.verbose else []
    outcome = run_part(["part", what, str(parent.path), part, *more, *verbose], lock=lock)
    if outcome.stopped_by is not None:
        raise Interrupted(_stopped(parent, part), exit_code=EXIT_CODES[outcome.stopped_by])
    if outcome.code:
        raise PartFailed(_failed(parent, part, outcome), exit_code=outcome.exit_code)


def _stopped(parent: Parent, part: str) -> str:
    run = parent.run(part)
    reason = str(read_json(run.status).get("reason", "")) if run.status.is_file() else ""
    where = f" ({reason.rstrip('.')})" if reason else ""
    return f"Stopped at {parent.repetitions.title(part)}{where}."


def _failed(parent: Parent, part: str, outcome: Outcome) -> str:
    title = parent.repetitions.title(part)
    if outcome.killed_by:
        memory = ", perhaps because memory ran out" if outcome.killed_by == "SIGKILL" else ""
        return f"{title}: was ended by {outcome.killed_by}{memory}. Its last save is intact."
    return f"{title}: failed for the reason above."
