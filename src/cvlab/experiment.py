"""Training an experiment, as a page of steps that reads from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvlab import checkpoint, runtime
from cvlab.config import Experiment
from cvlab.config_file import experiment_yaml, load_experiment
from cvlab.console import Console
from cvlab.data.prepare import data_json, load_sources, prepare
from cvlab.data.samples import SampleTable, concatenate, samples_csv
from cvlab.errors import counted
from cvlab.evaluation import Evaluator
from cvlab.evaluation_uncertainty import check_injection
from cvlab.expected import check_expected
from cvlab.initial import build_tasks, samples_before, starting_networks
from cvlab.killed import told_if_killed
from cvlab.models.network import Network, describe_model, find_weights
from cvlab.out_of_memory import refusals_named
from cvlab.report import write_report
from cvlab.report_text import number
from cvlab.resume import check_same_backend, check_same_data, locked, saved_state
from cvlab.run_folder import RunFolder, read_json, write_json, write_text
from cvlab.runtime import Machine
from cvlab.sample_data import use_sample_data
from cvlab.shortage import check_needs
from cvlab.summary import print_summary
from cvlab.training_run import TrainingRun
from cvlab.training_state import TrainingState


@dataclass(frozen=True)
class Request:
    """What the command line asks for besides the configuration.

    Attributes:
        console: Where the user reads.
        command: The command as it was typed.
        verbose: Whether TensorFlow may print its own messages.
        is_part: Whether the run is one of several, so that what to do next is said elsewhere.
    """

    console: Console
    command: Sequence[str]
    verbose: bool = False
    is_part: bool = False


def train(config: Path, overrides: Sequence[str], request: Request, *, sample: bool, parent: Path) -> RunFolder:
    """Trains a configuration in a new run folder, evaluates it and writes its report.

    Raises:
        CvlabError: Something is wrong with the configuration, the data or the training; the message says what.
    """
    experiment = load_experiment(config, overrides)
    if sample:
        experiment = use_sample_data(experiment, request.console)
    return train_new(experiment, request, place=parent, make_folder=lambda: RunFolder.create(parent, experiment.name))


def train_new(
    experiment: Experiment, request: Request, *, place: Path, make_folder: Callable[[], RunFolder]
) -> RunFolder:
    """Trains an experiment from its beginning, in the folder that is made once nothing speaks against it.

    Args:
        experiment: The settings.
        request: What the command line asks for besides.
        place: Where the folder will be, for the room on its disk.
        make_folder: Makes it.

    Raises:
        CvlabError: Something is wrong with the configuration, the data or the training; the message says what.
    """
    before = samples_before(experiment)
    sources = load_sources(experiment)
    tasks = build_tasks(experiment, [source.labels for source in sources])
    check_expected(experiment, [task.outputs for task in tasks])
    machine = _start_machine(experiment, request)
    find_weights(experiment.model, image_size=experiment.data.image_size)
    experiment = _with_precision(experiment, machine)
    networks, weights = starting_networks(experiment, tasks)
    check_injection(networks[-1].connect(experiment.stages[-1]), experiment)
    check_needs(experiment, networks, machine, request.console, place=place)
    data = prepare(experiment, sources, request.console, before=before)
    tasks[-1].check_evaluation(experiment.evaluate, data.stages[-1].samples.table)
    run = make_folder()
    training = TrainingRun(run, experiment, data, tasks, machine, request.console)
    with locked(run):
        write_text(run.config, experiment_yaml(experiment))
        _carry_out(training, TrainingState(), networks, weights, before, request)
    return run


def resume(run: RunFolder, overrides: Sequence[str], request: Request) -> RunFolder:
    """Goes on with a run where it was last saved; the result is that of a run that was never interrupted.

    Raises:
        CvlabError: The run cannot go on; the message says why.
    """
    console = request.console
    with locked(run):
        _say_if_killed(run, console)
        experiment = load_experiment(run.config, overrides)
        state = saved_state(run, experiment)
        if state.ends(len(experiment.stages)) and _is_done(run) and run.best.is_file():
            console.say(f"Nothing to do: this run is finished ({state.ended}).\nReport: {run.report_page}")
            return run
        before = samples_before(experiment, run)
        sources = load_sources(experiment)
        tasks = build_tasks(experiment, [source.labels for source in sources])
        data = prepare(experiment, sources, console, before=before)
        check_same_data(run, [stage.samples.table for stage in data.stages])
        tasks[-1].check_evaluation(experiment.evaluate, data.stages[-1].samples.table)
        machine = _start_machine(experiment, request)
        check_same_backend(run, machine.backend)
        training = TrainingRun(run, experiment, data, tasks, machine, console)
        stage = experiment.stages[state.stage].name
        console.say(f"Resuming {run.path} after epoch {state.epoch}, step {state.batch} of stage '{stage}'")
        networks, weights = starting_networks(experiment, tasks, initial=run.initial)
        written = sum(path.stat().st_size for path in run.last.parent.glob("*.keras"))
        check_needs(experiment, networks, machine, console, place=run.path, written=written)
        _carry_out(training, state, networks, weights, before, request)
    return run


def evaluate(run: RunFolder, request: Request, *, split: str | None, folder: Path | None) -> None:
    """Writes predictions, metrics and pictures of a run.

    Raises:
        CvlabError: The run or its data cannot be used.
    """
    with locked(run):
        _say_if_killed(run, request.console)
        experiment = load_experiment(run.config)
        _start_machine(experiment, request)
        with refusals_named(lambda: _cannot_predict(run)):
            evaluator = Evaluator.open(run, experiment, request.console)
            if folder is not None:
                request.console.say(f"Predictions: {evaluator.evaluate_folder(folder)}")
            else:
                evaluator.evaluate(None if split is None else [split])
    _print_results(run, experiment, request.console)
    request.console.say(f"Metrics: {run.metrics}")
    if not request.is_part:
        request.console.say(f"Next: cvlab report {run.path}")


def _say_if_killed(run: RunFolder, console: Console) -> None:
    if told := told_if_killed(run):
        console.warn(told)


def _cannot_predict(run: RunFolder) -> str:
    return (
        "There is not enough memory to evaluate: {refused}. The weights are saved. Once there is more: cvlab evaluate "
        f"{run.path}, then cvlab report {run.path}"
    )


def _start_machine(experiment: Experiment, request: Request) -> Machine:
    return runtime.start(
        device=experiment.train.device,
        precision=experiment.train.precision,
        seed=experiment.seed,
        deterministic=experiment.train.deterministic,
        verbose=request.verbose,
    )


def _with_precision(experiment: Experiment, machine: Machine) -> Experiment:
    train_config = experiment.train.model_copy(update={"precision": machine.precision})
    return experiment.model_copy(update={"train": train_config})


def _carry_out(
    training: TrainingRun,
    state: TrainingState,
    networks: Sequence[Network],
    weights: str,
    before: Sequence[SampleTable],
    request: Request,
) -> None:
    """Trains the stages that are still to be trained, evaluates and reports."""
    run, experiment, console = training.run, training.experiment, training.console
    console.log_to(run.log)
    with ExitStack() as stack:
        stack.enter_context(training.status())
        _write_start(training, before, request)
        if not run.initial.is_file():
            model = networks[0].connect(experiment.stages[0])
            checkpoint.save_inference(run.initial, model, {"weights": weights})
        write_json(run.model, {**_model_json(networks, experiment), "weights": weights})
        if state.has_begun:
            weights = f"those of the last save; the run began with {weights}"
        model = networks[state.stage].connect(experiment.stages[state.stage])
        print_summary(training, model, weights=weights, state=state)
        training.train_stages(networks, state)
        with refusals_named(lambda: _cannot_predict(run)):
            Evaluator.open(run, experiment, console).evaluate()
        write_report(run)
    _print_end(run, experiment, request)


def _write_start(training: TrainingRun, before: Sequence[SampleTable], request: Request) -> None:
    """Writes what is known before training; a resumed run keeps its first environment."""
    run, experiment = training.run, training.experiment
    write_text(run.config, experiment_yaml(experiment))
    tables = [stage.samples.table for stage in training.data.stages]
    write_text(run.samples, samples_csv(concatenate(tables)))
    if before:
        write_text(run.earlier_samples, samples_csv(concatenate(before)))
    allowed = any(stage.data.allow_leakage for stage in experiment.stages)
    described = [
        {"outputs": list(task.outputs), "counts": task.summary(table)}
        for task, table in zip(training.tasks, tables, strict=True)
    ]
    write_json(run.data, data_json(training.data, described, allow_leakage=allowed))
    if not run.environment.is_file():
        deterministic = experiment.train.deterministic
        write_json(
            run.environment,
            runtime.describe(
                training.machine, seed=experiment.seed, deterministic=deterministic, command=list(request.command)
            ),
        )


def _model_json(networks: Sequence[Network], experiment: Experiment) -> dict[str, Any]:
    """The table of layers of the last stage, and what each stage trains and freezes."""
    stages, described = [], {}
    for network, stage in zip(networks, experiment.stages, strict=True):
        described = describe_model(network.connect(stage))
        stages.append({"stage": stage.name, "trainable": described["trainable"], "frozen": described["frozen"]})
    return {**described, "stages": stages}


def _is_done(run: RunFolder) -> bool:
    return run.status.is_file() and bool(read_json(run.status)["status"] == "done")


def _print_end(run: RunFolder, experiment: Experiment, request: Request) -> None:
    console, last = request.console, len(experiment.stages) - 1
    console.say()
    _print_results(run, experiment, console)
    console.say(
        f"Report:      {run.report_page}\nBest model:  {run.best}\nPredictions: {run.predictions('test').parent}"
    )
    if not request.is_part:
        console.say(
            f"Next:        open the report, or train on: cvlab train --resume {run.path} stages.{last}.epochs=N"
        )


def _print_results(run: RunFolder, experiment: Experiment, console: Console) -> None:
    task = experiment.stages[-1].task
    for name, values in read_json(run.metrics).items():
        if "/" not in name:
            shown = [f"{metric} {_shown(values[metric])}" for metric in task.headline or task.monitors]
            console.say(f"{name}: {', '.join(shown)} ({counted(values['samples'], 'image')})")


def _shown(cell: dict[str, Any]) -> str:
    if cell["value"] is None:
        return "undefined"
    return number({name: value for name, value in cell.items() if name != "no_interval"})
