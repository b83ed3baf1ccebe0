"""The network that a run starts from: new weights from the seed, or another run's (`model.init_from`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cvlab import checkpoint, registry
from cvlab.config import Experiment
from cvlab.data.samples import SampleTable, by_stage, read_samples, text_column
from cvlab.errors import ConfigError, RunFolderError
from cvlab.models.network import BACKBONE, Network, build_network
from cvlab.run_folder import RunFolder, read_json
from cvlab.tasks.task import Task
from cvlab.yaml_file import read_document

if TYPE_CHECKING:
    import keras


def build_task(experiment: Experiment, class_names: tuple[str, ...]) -> Task:
    """Makes the task of an experiment for a data set."""
    task: Task = registry.load(registry.TASKS, experiment.task.name).build(experiment.task, class_names)
    return task


def starting_network(
    run: RunFolder, experiment: Experiment, task: Task, class_names: tuple[str, ...]
) -> tuple[Network, str]:
    """Builds the network of a run with the weights that it starts from, which `initial.keras` keeps.

    Returns:
        The network, and a sentence on where its weights come from.

    Raises:
        CvlabError: The run of `init_from` cannot be used, or does not fit.
    """
    import keras

    keras.utils.set_random_seed(experiment.seed)
    image_size = experiment.stages[0].data.image_size
    network = build_network(experiment.model, image_size=image_size, output=task.output_layer())
    model = network.connect(experiment.stages[0])
    if run.initial.is_file():
        checkpoint.load_weights(model, run.initial)
        return network, str(checkpoint.read_state(run.initial)["weights"])
    weights = f"new weights from seed {experiment.seed}"
    if experiment.model.init_from is not None:
        weights = _take_weights(RunFolder.open(experiment.model.init_from), experiment, model, class_names)
    checkpoint.save_inference(run.initial, model, {"weights": weights})
    return network, weights


def _take_weights(run: RunFolder, experiment: Experiment, model: keras.Model, class_names: tuple[str, ...]) -> str:
    preprocessing = read_document(run.config).value["model"]["preprocessing"]
    if preprocessing != experiment.model.preprocessing:
        wanted = experiment.model.preprocessing
        raise ConfigError([f"model.preprocessing: {run.path} was trained with '{preprocessing}', received '{wanted}'."])
    source = checkpoint.load_model(run.best)
    theirs, ours = source.get_layer(BACKBONE), model.get_layer(BACKBONE)
    for mine, other in zip(ours.weights, theirs.weights, strict=False):
        if mine.shape != other.shape:
            raise ConfigError([_misfit(run.path, f"{mine.path} is {mine.shape} here and {other.shape} there")])
    if len(ours.weights) != len(theirs.weights):
        raise ConfigError(
            [_misfit(run.path, f"{len(ours.weights)} arrays of weights here, {len(theirs.weights)} there")]
        )
    shapes = [[weight.shape for weight in network.weights] for network in (model, source)]
    if tuple(read_json(run.data)["class_names"]) == class_names and shapes[0] == shapes[1]:
        model.set_weights(source.get_weights())
        return f"all weights from {run.path}"
    ours.set_weights(theirs.get_weights())
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
