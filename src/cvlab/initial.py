"""The network that a run starts from: new weights from the seed, or another run's (`model.init_from`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from cvlab import checkpoint
from cvlab.config import Experiment
from cvlab.data.samples import SampleTable, by_stage, read_samples
from cvlab.errors import ConfigError, RunFolderError
from cvlab.models.network import BACKBONE, Network, build_network
from cvlab.run_folder import RunFolder, read_json
from cvlab.tasks.task import Task

if TYPE_CHECKING:
    import keras


def initial_network(experiment: Experiment, task: Task, class_names: tuple[str, ...]) -> tuple[Network, str]:
    """Builds the network of an experiment with the weights that it starts from.

    Returns:
        The network, and a sentence on where its weights come from.

    Raises:
        RunFolderError: The run of `init_from` cannot be used.
        ConfigError: Its backbone does not fit.
    """
    import keras

    keras.utils.set_random_seed(experiment.seed)
    image_size = experiment.stages[0].data.image_size
    network = build_network(experiment.model, image_size=image_size, output=task.output_layer())
    model = network.connect(experiment.stages[0])
    if experiment.model.init_from is None:
        return network, f"new weights from seed {experiment.seed}"
    run = RunFolder.open(experiment.model.init_from)
    source = checkpoint.load_model(run.best)
    same_classes = tuple(read_json(run.data)["class_names"]) == class_names
    return network, _take_weights(source, model, run.path, same_classes=same_classes)


def _take_weights(source: keras.Model, model: keras.Model, path: Path, *, same_classes: bool) -> str:
    theirs, ours = source.get_layer(BACKBONE), model.get_layer(BACKBONE)
    for mine, other in zip(ours.weights, theirs.weights, strict=False):
        if mine.shape != other.shape:
            raise ConfigError([_misfit(path, f"{mine.path} is {mine.shape} here and {other.shape} there")])
    if len(ours.weights) != len(theirs.weights):
        raise ConfigError([_misfit(path, f"{len(ours.weights)} arrays of weights here, {len(theirs.weights)} there")])
    shapes = [[weight.shape for weight in network.weights] for network in (model, source)]
    if same_classes and shapes[0] == shapes[1]:
        model.set_weights(source.get_weights())
        return f"all weights from {path}"
    ours.set_weights(theirs.get_weights())
    return f"backbone from {path}; the head is new, since its outputs differ"


def _misfit(path: Path, what: str) -> str:
    return f"model.init_from: the backbone of {path} does not fit this model: {what}."


def samples_before(experiment: Experiment) -> list[SampleTable]:
    """Returns the tables of all stages of the run that `init_from` names, and of those that it came from.

    Raises:
        RunFolderError: A run of the chain is gone, so that nobody can tell what was trained on.
    """
    tables: list[SampleTable] = []
    path = experiment.model.init_from
    seen: set[Path] = set()
    while path is not None and path not in seen:
        seen.add(path)
        run = RunFolder.open(path)
        if not run.best.is_file():
            raise RunFolderError(f"model.init_from: {path}: the run is not finished (no checkpoints/best.keras).")
        tables += by_stage(read_samples(run.samples))
        earlier = (yaml.safe_load(run.config.read_text(encoding="utf-8")).get("model") or {}).get("init_from")
        path = Path(earlier) if earlier else None
    return tables
