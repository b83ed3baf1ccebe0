"""What a training will need: room on the disk for its checkpoints, memory for a step. Estimates, before it starts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cvlab.config import Experiment, StageConfig
from cvlab.config_training import SGD, OptimizerSettings, RMSprop
from cvlab.errors import RunFolderError
from cvlab.memory import gigabytes
from cvlab.models.network import Network, parameter_counts
from cvlab.run_folder import free_bytes

if TYPE_CHECKING:
    import keras

FLOAT = 4
# Tables, plots, pictures and what Keras writes around the weights.
SMALL_FILES = 20_000_000
# What TensorFlow's graph of a network took, measured on networks of 20 to 350 layers.
PROGRAM, PROGRAM_OF_A_LAYER, PROGRAM_OF_A_GRADIENT = 100_000_000, 1_000_000, 2_000_000


class Output(NamedTuple):
    """What a layer returns for one image, in bytes, and whether the layer is trained."""

    size: int
    trained: bool


@dataclass(frozen=True)
class StepMemory:
    """What a step of training holds, in bytes.

    Attributes:
        weights: The weights.
        gradients: The gradients of what is trained.
        slots: The optimizer's variables.
        activations: The outputs of all layers that the gradients need, and the largest gradient of one.
        images: The batch under way and those that are made ready.
        program: The compiled network, which always lies in the machine's own memory.
    """

    weights: int
    gradients: int
    slots: int
    activations: int
    images: int
    program: int

    @property
    def on_gpu(self) -> int:
        """What a GPU must hold."""
        return self.weights + self.gradients + self.slots + self.activations + self.images

    @property
    def coming(self) -> int:
        """What comes on top of the weights on a CPU, where a network that is built has those already."""
        return self.on_gpu - self.weights + self.program


def step_memory(model: keras.Model, stage: StageConfig, *, batches_ahead: int) -> StepMemory:
    """Estimates the memory of a training step from the shapes of the network's layers.

    What the layers before the first trained one return is not kept; of theirs the largest two count. Libraries hold
    more (workspaces of convolutions, BatchNorm in float32) or less (operations that are fused). Measured on a CPU, the
    networks of the shipped configurations took 0.8 to 1.2 times as much.

    Args:
        model: The connected and frozen model of the stage.
        stage: The settings of the stage.
        batches_ahead: How many batches are made ready while the network computes.
    """
    total, trainable = parameter_counts(model)
    outputs = [*_outputs(model)]
    first = next((i for i, output in enumerate(outputs) if output.trained), len(outputs))
    passing = sorted((output.size for output in outputs[:first]), reverse=True)[:2]
    kept = [output.size for output in outputs[first:]]
    image = math.prod(model.input_shape[1:])
    return StepMemory(
        weights=total * FLOAT,
        gradients=trainable * FLOAT,
        slots=trainable * FLOAT * slots(stage.optimizer),
        activations=stage.batch_size * max(sum(passing), sum(kept) + max(kept, default=0)),
        images=stage.batch_size * image * (FLOAT + 1 + batches_ahead),
        program=PROGRAM + len(outputs) * PROGRAM_OF_A_LAYER + len(kept) * PROGRAM_OF_A_GRADIENT,
    )


def _outputs(model: keras.Model) -> Iterator[Output]:
    """What each innermost layer returns for one image, in order. A network is a chain, with networks in it."""
    import keras

    shape: Any = tuple(model.input_shape)
    for layer in model.layers[1:]:
        if isinstance(layer, keras.Model):
            yield from _outputs_within(layer, shape)
            shape = layer.compute_output_shape(shape)
        else:
            shape = layer.compute_output_shape(shape)
            yield Output(math.prod(shape[1:]) * _itemsize(layer.compute_dtype), bool(layer.trainable_variables))


def _outputs_within(network: keras.Model, shape: Any) -> Iterator[Output]:
    """The same of a network in the network, for inputs of `shape`: a decoder's own shapes leave out height and width."""
    import keras

    layers = [layer for layer in network.layers if not isinstance(layer, keras.layers.InputLayer)]
    ends = [layer.output for layer in layers]
    shapes = keras.Model(network.inputs, ends).compute_output_shape(shape)
    for layer, tensor, found in zip(layers, ends, shapes, strict=True):
        yield Output(math.prod(found[1:]) * _itemsize(tensor.dtype), bool(layer.trainable_variables))


def _itemsize(dtype: str) -> int:
    return 2 if dtype in ("float16", "bfloat16") else FLOAT


def slots(optimizer: OptimizerSettings) -> int:
    """Returns how many values the optimizer keeps for each that is trained."""
    if isinstance(optimizer, SGD):
        return int(optimizer.momentum > 0)
    if isinstance(optimizer, RMSprop):
        return 1 + int(optimizer.momentum > 0)
    return 2


def checkpoint_bytes(experiment: Experiment, models: Sequence[keras.Model]) -> int:
    """Returns how much the checkpoints of a run take at most: a new one is written before the old one is removed."""
    counts = [parameter_counts(model) for model in models]
    largest = max(total for total, _ in counts) * FLOAT
    last = max(
        (total + trainable * slots(stage.optimizer)) * FLOAT
        for (total, trainable), stage in zip(counts, experiment.stages, strict=True)
    )
    # `initial`, the best of each stage, `best`; twice what is being written.
    return 2 * last + (len(models) + 2) * largest


def run_bytes(experiment: Experiment, models: Sequence[keras.Model], *, masks: int = 0) -> int:
    """Returns how much room a run folder takes at most.

    Args:
        experiment: The settings.
        models: The connected model of each stage.
        masks: How many masks are predicted.
    """
    height, width = experiment.stages[-1].data.image_size
    return checkpoint_bytes(experiment, models) + masks * height * width // 8 + SMALL_FILES
