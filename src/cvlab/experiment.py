"""Training an experiment, as a page of steps that reads from top to bottom."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvlab import checkpoint, registry, runtime
from cvlab.config import Experiment
from cvlab.config_file import experiment_yaml, load_experiment
from cvlab.console import Console
from cvlab.data.augment import Augmenter
from cvlab.data.augment_bias import find_bias
from cvlab.data.pipeline import Batches
from cvlab.data.prepare import PreparedData, data_json, prepare
from cvlab.data.samples import concatenate, samples_csv
from cvlab.errors import CvlabError, Interrupted
from cvlab.evaluation import Evaluator
from cvlab.initial import initial_network, samples_before
from cvlab.models.network import Network, describe_model
from cvlab.progress import EpochProgress
from cvlab.report import write_report
from cvlab.resume import check_same_data, locked, saved_state
from cvlab.run_folder import RunFolder, atomic_path, read_json, write_json, write_text
from cvlab.runtime import Machine
from cvlab.sample_data import use_sample_data
from cvlab.stopping import StopRequest
from cvlab.summary import print_summary
from cvlab.tasks.task import Task
from cvlab.training_state import TrainingState


@dataclass(frozen=True)
class Request:
    """What the command line asks for besides the configuration."""

    console: Console
    command: Sequence[str]
    verbose: bool = False


def train(config: Path, overrides: Sequence[str], request: Request, *, sample: bool, parent: Path) -> RunFolder:
    """Trains a configuration in a new run folder, evaluates it and writes its report.

    Raises:
        CvlabError: Something is wrong with the configuration, the data or the training; the message says what.
    """
    experiment = load_experiment(config, overrides)
    if sample:
        experiment = use_sample_data(experiment, request.console)
    data = prepare(experiment, request.console, before=samples_before(experiment))
    task = _build_task(experiment, data)
    machine = _start_machine(experiment, request)
    experiment = _with_precision(experiment, machine)
    run = RunFolder.create(parent, experiment.name)
    write_text(run.config, experiment_yaml(experiment))
    return _carry_out(run, experiment, data, task, machine, request, resumed=False)


def resume(run: RunFolder, overrides: Sequence[str], request: Request) -> RunFolder:
    """Goes on with a run where it was last saved; the result is that of a run that was never interrupted.

    Raises:
        CvlabError: The run cannot go on; the message says why.
    """
    experiment = load_experiment(run.config, overrides)
    data = prepare(experiment, request.console, before=samples_before(experiment))
    machine = _start_machine(experiment, request)
    return _carry_out(run, experiment, data, _build_task(experiment, data), machine, request, resumed=True)


def evaluate(run: RunFolder, request: Request, *, split: str | None, folder: Path | None) -> None:
    """Writes predictions, metrics and pictures of a run.

    Raises:
        CvlabError: The run or its data cannot be used.
    """
    experiment = load_experiment(run.config)
    _start_machine(experiment, request)
    evaluator = Evaluator.open(run, experiment, request.console)
    if folder is not None:
        request.console.say(f"Predictions: {evaluator.evaluate_folder(folder)}")
    else:
        evaluator.evaluate(None if split is None else [split])
    request.console.say(f"Metrics: {run.metrics}\nNext: cvlab report {run.path}")


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


def _build_task(experiment: Experiment, data: PreparedData) -> Task:
    task: Task = registry.load(registry.TASKS, experiment.task.name).build(experiment.task, data.class_names)
    return task


def _carry_out(
    run: RunFolder,
    experiment: Experiment,
    data: PreparedData,
    task: Task,
    machine: Machine,
    request: Request,
    *,
    resumed: bool,
) -> RunFolder:
    """Trains the stages that are still to be trained, evaluates and reports, keeping `status.json` true."""
    console = request.console
    with ExitStack() as stack:
        stack.enter_context(locked(run))
        state = saved_state(run, experiment)
        if resumed and run.samples.is_file():
            check_same_data(run, data)
        if resumed and _is_done(run) and state.ended:
            console.say(f"Nothing to do: this run is finished.\nReport: {run.report}")
            return run
        console.log_to(run.log)
        stack.enter_context(_status(run, data.synthetic))
        _write_start(run, experiment, data, task, machine, request)
        network, weights = initial_network(experiment, task, data.class_names)
        model = network.connect(experiment.stages[state.stage])
        write_json(run.model, _model_json(network, experiment))
        print_summary(experiment, data, task, model, machine=machine, run=run, weights=weights, console=console)
        _train_stages(run, experiment, data, task, network, state, console)
        _evaluate_and_report(run, experiment, console)
    _print_end(run, experiment, console)
    return run


def _write_start(
    run: RunFolder, experiment: Experiment, data: PreparedData, task: Task, machine: Machine, request: Request
) -> None:
    """Writes what is known before training; a resumed run keeps its first environment."""
    write_text(run.config, experiment_yaml(experiment))
    tables = [stage.samples.table for stage in data.stages]
    write_text(run.samples, samples_csv(concatenate(tables)))
    for stage, prepared in zip(experiment.stages, data.stages, strict=True):
        prepared.warnings.extend(find_bias(stage.augment, image_size=stage.data.image_size))
    allowed = any(stage.data.allow_leakage for stage in experiment.stages)
    write_json(run.data, data_json(data, [task.summary(table) for table in tables], allow_leakage=allowed))
    if not run.environment.is_file():
        train_config = experiment.train
        about = runtime.describe(
            machine, seed=experiment.seed, deterministic=train_config.deterministic, command=list(request.command)
        )
        write_json(run.environment, about)


def _model_json(network: Network, experiment: Experiment) -> dict[str, Any]:
    """The table of layers of the last stage, and what each stage trains and freezes."""
    stages, described = [], {}
    for stage in experiment.stages:
        described = describe_model(network.connect(stage))
        stages.append({"stage": stage.name, "trainable": described["trainable"], "frozen": described["frozen"]})
    return {**described, "stages": stages}


def _train_stages(
    run: RunFolder,
    experiment: Experiment,
    data: PreparedData,
    task: Task,
    network: Network,
    state: TrainingState,
    console: Console,
) -> None:
    """Trains stage after stage, each from the best weights of the one before."""
    from cvlab.training import StageTrainer

    identity = {"config": experiment.model_dump(mode="json"), "synthetic": data.synthetic}
    with StopRequest(
        on_first=lambda: console.say("Stopping: finishing the step and saving. Ctrl-C again stops at once."),
        on_second=lambda: _write_status(run, "interrupted", "stopped at once", data.synthetic),
    ) as stop:
        while True:
            stage = experiment.stages[state.stage]
            model = network.connect(stage)
            if state.stage and not (state.epoch or state.batch):
                checkpoint.load_weights(model, run.stage_best(experiment.stages[state.stage - 1].name))
            trainer = StageTrainer(
                _stage_parts(experiment, state.stage, data, task, model),
                stage=stage,
                train=experiment.train,
                has_batchnorm=experiment.model.has_batchnorm,
                run=run,
                identity=identity,
                state=state,
                progress=EpochProgress(console, stage=stage.name, epochs=stage.epochs, batch_size=stage.batch_size),
                stop=stop,
            )
            if state.epoch or state.batch:
                trainer.restore()
            else:
                checkpoint.reseed(model, (experiment.seed, state.stage))
            trainer.run_stage()
            console.say(f"Stage '{stage.name}' ended: {state.ended}; best epoch {state.best_epoch}.")
            if state.stage + 1 == len(experiment.stages):
                break
            state = state.next_stage()
    with atomic_path(run.best) as temporary:
        shutil.copyfile(run.stage_best(stage.name), temporary)


def _stage_parts(experiment: Experiment, number: int, data: PreparedData, task: Task, model: Any) -> Any:
    from cvlab.training import StageParts

    stage, samples = experiment.stages[number], data.stages[number].samples
    training, validation = samples.of_split("train"), samples.of_split("val")
    batches = Batches(
        training.images,
        training.rows,
        stage.batch_size,
        seed=(experiment.seed, number),
        targets=task.encode(training.table),
        weights=task.sample_weights(training.table),
        augmenter=Augmenter(stage.augment) if stage.augment else None,
        shuffled=True,
    )
    held_out = validation.batches(stage.batch_size, seed=(experiment.seed,))
    return StageParts(model, task, batches, held_out, validation.table)


def _evaluate_and_report(run: RunFolder, experiment: Experiment, console: Console) -> None:
    Evaluator.open(run, experiment, console).evaluate()
    write_report(run)


@contextmanager
def _status(run: RunFolder, synthetic: bool) -> Iterator[None]:
    """Keeps `status.json` true: running, then done, interrupted or failed with the reason."""
    _write_status(run, "running", "", synthetic)
    try:
        yield
    except Interrupted as stop:
        _write_status(run, "interrupted", str(stop).splitlines()[0], synthetic)
        raise
    except KeyboardInterrupt:
        _write_status(run, "interrupted", "stopped after training, in evaluation or report", synthetic)
        raise
    except BaseException as error:
        reason = str(error) if isinstance(error, CvlabError) else f"{type(error).__name__}: {error}"
        _write_status(run, "failed", reason, synthetic)
        raise
    _write_status(run, "done", "", synthetic)


def _write_status(run: RunFolder, status: str, reason: str, synthetic: bool) -> None:
    reached = read_json(run.status) if run.status.is_file() else {}
    kept = {key: reached[key] for key in ("stage", "epoch", "step") if key in reached}
    write_json(run.status, {**kept, "status": status, "reason": reason, "synthetic": synthetic})


def _is_done(run: RunFolder) -> bool:
    return run.status.is_file() and bool(read_json(run.status)["status"] == "done")


def _print_end(run: RunFolder, experiment: Experiment, console: Console) -> None:
    metrics = read_json(run.metrics)
    split = "test" if "test" in metrics else "val"
    shown = [f"{name} {metrics[split][name]['value']:.3f}" for name in experiment.task.monitors]
    console.say(f"\n{split}: {', '.join(shown)}")
    console.say(f"Report:      {run.report}\nBest model:  {run.best}\nPredictions: {run.predictions(split)}")
    console.say(f"Next:        open the report, or train on: cvlab train --resume {run.path} stages.0.epochs=N")
