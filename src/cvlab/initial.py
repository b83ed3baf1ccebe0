"""The network that a run starts from: new weights from the seed, those of a file, or another run's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cvlab import checkpoint, registry
from cvlab.config import Experiment
from cvlab.data.samples import SampleTable, by_stage, read_samples, text_column
from cvlab.data.source import Labels
from cvlab.errors import ConfigError, DataError, RunFolderError, counted
from cvlab.models.network import BACKBONE, Network, build_network, load_pretrained
from cvlab.models.pretrained_weights import finish_loading
from cvlab.out_of_memory import refusals_named
from cvlab.run_folder import RunFolder, read_json
from cvlab.tasks.task import Task
from cvlab.yaml_file import read_document

if TYPE_CHECKING:
    import keras


def build_tasks(experiment: Experiment, labels: Sequence[Labels]) -> list[Task]:
    """Makes the task of each stage for what its data are labelled with.

    Raises:
        ConfigError: A task does not fit its data.
        DataError: Stages of the same task have other classes or numbers.
    """
    tasks: list[Task] = []
    for i, (stage, found) in enumerate(zip(experiment.stages, labels, strict=True)):
        try:
            tasks.append(registry.load(registry.TASKS, stage.task.name).build(stage.task, found))
        except ConfigError as error:
            raise error if stage.task == experiment.task else error.below(f"stages.{i}") from error
        before = experiment.stages[i - 1]
        if i and stage.task == before.task and tasks[i].outputs != tasks[i - 1].outputs:
            mine, theirs = (", ".join(task.outputs[1:]) for task in (tasks[i], tasks[i - 1]))
            raise DataError(
                f"stages: stage '{stage.name}' would predict {mine}, but stage '{before.name}' {theirs}. Expected the "
                "same in the same order from stages of one task. To predict something else on the same backbone, start "
                "another run with `model.init_from`."
            )
    return tasks


def tasks_of(run: RunFolder, experiment: Experiment) -> list[Task]:
    """Makes the tasks of a run that there is, from what its `data.json` says of the labels.

    Raises:
        RunFolderError: The file is missing or damaged.
    """
    kinds = ("class_names", "numbers", "masks")
    stages = read_json(run.data).get("stages", ())
    labels = [Labels(*(tuple(stage.get(kind, ())) for kind in kinds)) for stage in stages]
    if len(labels) != len(experiment.stages):
        raise RunFolderError(f"{run.data}: is damaged: expected {counted(len(experiment.stages), 'stage')}.")
    return build_tasks(experiment, labels)


@refusals_named(
    lambda: (
        "There is not enough memory for the weights of this network: {refused}. Expected a smaller `model` (fewer "
        "units, less width), or a machine with more memory."
    )
)
def starting_networks(
    experiment: Experiment, tasks: Sequence[Task], *, initial: Path | None = None
) -> tuple[list[Network], str]:
    """Builds the network of each stage with the weights that the run starts from.

    Stages with equal outputs share a network; one with other outputs has a new head on the same backbone.

    Args:
        experiment: The settings.
        tasks: The task of each stage.
        initial: `initial.keras` of a run that goes on, which keeps these weights; None for a new run.

    Returns:
        The networks, and a sentence on where their weights come from.

    Raises:
        CvlabError: The run of `init_from` or the file of `weights` cannot be used, or does not fit; or there is not
            enough memory.
    """
    import keras

    keras.utils.set_random_seed(experiment.seed)
    image_size = experiment.stages[0].data.image_size
    networks = [build_network(experiment.model, image_size=image_size, output=tasks[0].output_layer())]
    for task, before in zip(tasks[1:], tasks, strict=False):
        same = task.outputs == before.outputs
        networks.append(networks[-1] if same else networks[-1].with_new_head(task.output_layer()))
    # Connecting draws the weights of a head: in this order, whatever stage a resumed run goes on with.
    model, *_ = [network.connect(stage) for network, stage in zip(networks, experiment.stages, strict=True)]
    if initial is not None and initial.is_file():
        checkpoint.load_weights(model, initial)
        return networks, str(checkpoint.read_state(initial).get("weights", "not known"))
    weights = f"new weights from seed {experiment.seed}"
    if loaded := load_pretrained(networks[0]):
        weights = f"{loaded}; the head is new, from seed {experiment.seed}"
    if experiment.model.init_from is not None:
        weights = _take_weights(RunFolder.open(experiment.model.init_from), experiment, model, tasks[0])
    return networks, weights


def _take_weights(run: RunFolder, experiment: Experiment, model: keras.Model, task: Task) -> str:
    model_settings = read_document(run.config).value.get("model")
    preprocessing = model_settings.get("preprocessing") if isinstance(model_settings, dict) else None
    if preprocessing != experiment.model.preprocessing:
        wanted = experiment.model.preprocessing
        raise ConfigError([f"model.preprocessing: {run.path} was trained with '{preprocessing}', received '{wanted}'."])
    source = checkpoint.load_model(run.best)
    if BACKBONE not in {layer.name for layer in source.layers}:
        raise ConfigError([f"model.init_from: {run.best}: has no layer '{BACKBONE}', as networks of cvlab have."])
    theirs, ours = source.get_layer(BACKBONE), model.get_layer(BACKBONE)
    for mine, other in zip(ours.weights, theirs.weights, strict=False):
        if mine.shape != other.shape:
            raise ConfigError([_misfit(run.path, f"{mine.path} is {mine.shape} here and {other.shape} there")])
    if len(ours.weights) != len(theirs.weights):
        raise ConfigError(
            [_misfit(run.path, f"{len(ours.weights)} arrays of weights here, {len(theirs.weights)} there")]
        )
    shapes = [[weight.shape for weight in network.weights] for network in (model, source)]
    stages = read_json(run.data).get("stages") or [{}]
    if tuple(stages[-1].get("outputs", ())) == task.outputs and shapes[0] == shapes[1]:
        model.set_weights(source.get_weights())
        finish_loading(model)
        return f"all weights from {run.path}"
    ours.set_weights(theirs.get_weights())
    finish_loading(ours)
    return f"backbone from {run.path}; the head is new, since its outputs differ"


def _misfit(path: Path, what: str) -> str:
    return f"model.init_from: the backbone of {path} does not fit this model: {what}."


def samples_before(experiment: Experiment, run: RunFolder | None = None) -> list[SampleTable]:
    """Returns the samples of the run that `init_from` names and of those that it came from, a table a stage.

    Args:
        experiment: The settings.
        run: The run that is resumed or evaluated; it keeps a copy of these samples.

    Raises:
        RunFolderError: The run of `init_from` cannot be used.
    """
    if run is not None and run.samples.is_file():
        return _tables(run.earlier_samples)
    if experiment.model.init_from is None:
        return []
    source = RunFolder.open(experiment.model.init_from)
    if not source.best.is_file():
        raise RunFolderError(f"model.init_from: {source.path}: the run is not finished (no checkpoints/best.keras).")
    name = "/".join(source.path.parts[-2:])
    tables = [
        t.with_columns(stage=text_column([f"{name} {stage}" for stage in t.stage])) for t in _tables(source.samples)
    ]
    return [*_tables(source.earlier_samples), *tables]


def _tables(path: Path) -> list[SampleTable]:
    return by_stage(read_samples(path)) if path.is_file() else []
