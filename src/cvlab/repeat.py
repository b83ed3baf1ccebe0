"""One experiment trained several times: with several seeds, or on each fold. Each part has a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from cvlab import experiment, repeat_status, runtime
from cvlab.config import Experiment
from cvlab.config_file import experiment_yaml, load_experiment
from cvlab.console import Console
from cvlab.data.prepare import load_sources
from cvlab.experiment import Request
from cvlab.initial import samples_before
from cvlab.part_process import stop_with_parent
from cvlab.pooling import pool
from cvlab.repeat_plan import check_settings, describe, plan, rehearse
from cvlab.repetitions import Kind, Parent, is_finished
from cvlab.report_repetitions import headline, write_repetition_report
from cvlab.resume import check_same_data
from cvlab.run_folder import RunFolder, write_json, write_text
from cvlab.sample_data import use_sample_data


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
    repetitions = plan(base, sources, kind, count)
    tables = rehearse(base, repetitions, sources, request.console, before=samples_before(base))
    describe(base, repetitions, tables, request.console)
    found = Parent(RunFolder.create(parent, base.name), repetitions)
    with repeat_status.held_alone(found) as lock:
        _write_start(found, base, request)
        _train_parts(found, request, lock)
    return found


def resume_repeated(parent: Parent, request: Request) -> Parent:
    """Goes on with a folder of repetitions; what is finished is not trained again.

    Raises:
        CvlabError: It cannot go on; the message says why.
    """
    with repeat_status.held_alone(parent) as lock:
        if parent.is_done():
            parts = f"all {len(parent.repetitions.parts)} {parent.repetitions.kind} are finished"
            request.console.say(f"Nothing to do: {parts}.\nReport: {parent.folder.report_page}")
            return parent
        base, begun = parent.experiment(), parent.begun()
        check_settings(parent, base)
        before = samples_before(base, parent.run(begun[0]) if begun else None)
        tables = rehearse(base, parent.repetitions, load_sources(base), request.console, before=before)
        for part, of_part in zip(parent.repetitions.parts, tables, strict=True):
            check_same_data(parent.run(part), of_part)
        _train_parts(parent, request, lock)
    return parent


def evaluate_repeated(parent: Parent, request: Request, *, split: str | None, folder: Path | None) -> None:
    """Evaluates every finished part, then summarises and pools them anew.

    Raises:
        CvlabError: No part is finished, or one cannot be evaluated.
    """
    console = request.console
    more = [*(["--split", split] if split else []), *(["--data", str(folder)] if folder else [])]
    with repeat_status.held_alone(parent) as lock:
        finished = parent.finished()
        for part in parent.repetitions.parts:
            left_out = "" if part in finished else ": is not finished, and left out"
            console.say(f"\n{parent.repetitions.title(part)}{left_out}")
            if not left_out:
                repeat_status.evaluate(parent, part, more, lock=lock, verbose=request.verbose)
        pool(parent)
    _print_end(parent, console)
    console.say(f"Next: cvlab report {parent.path}")


def train_part(parent: Parent, part: str, request: Request) -> None:
    """Trains one part, from its beginning or from where it was last saved. What its own process does.

    Raises:
        CvlabError: Something is wrong; the message says what.
    """
    run, request = parent.run(part), _of_part(parent, part, request)
    if run.config.is_file():
        experiment.resume(run, [], request)
        return

    def make_folder() -> RunFolder:
        run.path.mkdir(exist_ok=True)
        return run

    settings = parent.repetitions.experiment_of(parent.experiment(), part)
    experiment.train_new(settings, request, place=parent.path, make_folder=make_folder)


def evaluate_part(parent: Parent, part: str, request: Request, *, split: str | None, folder: Path | None) -> None:
    """Evaluates one part. What its own process does.

    Raises:
        CvlabError: It cannot be evaluated.
    """
    experiment.evaluate(parent.run(part), _of_part(parent, part, request), split=split, folder=folder)


def _of_part(parent: Parent, part: str, request: Request) -> Request:
    stop_with_parent()
    request.console.title = parent.repetitions.title(part)
    return replace(request, is_part=True)


def _write_start(parent: Parent, base: Experiment, request: Request) -> None:
    folder = parent.folder
    write_json(folder.repetitions, parent.repetitions.json())
    write_text(folder.config, experiment_yaml(base))
    write_json(folder.environment, {"command": [*request.command], **runtime.provenance()})


def _train_parts(parent: Parent, request: Request, lock: IO[str]) -> None:
    console, title = request.console, parent.repetitions.title
    console.log_to(parent.folder.log)
    console.say(f"Run folder  {parent.path}")
    with repeat_status.status(parent, console):
        for part in parent.repetitions.parts:
            if is_finished(parent.run(part)):
                console.say(f"{title(part)}: is finished already")
                continue
            repeat_status.write_status(parent, "running", part=part)
            console.say(f"\n{title(part)}", style="bold")
            repeat_status.train(parent, part, lock=lock, verbose=request.verbose)
        pool(parent)
        write_repetition_report(parent)
    _print_end(parent, console)
    console.say(f"Report:      {parent.folder.report_page}")


def _print_end(parent: Parent, console: Console) -> None:
    task = parent.experiment().stages[-1].task
    console.say()
    for line in headline(parent, [*(task.headline or task.monitors)]):
        console.say(line)
