"""What a training will need: room on the disk for its checkpoints, memory for a step. Estimates, before it starts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from cvlab.config import Experiment, StageConfig
from cvlab.config_training import SGD, OptimizerSettings, RMSprop
from cvlab.data.pipeline import batches_ahead
from cvlab.models.network import Network, parameter_counts

if TYPE_CHECKING:
    import keras

FLOAT = 4
# What archive and HDF5 add to the weights of a checkpoint.
FORMAT_BYTES = 200_000
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


def step_memory(model: keras.Model, stage: StageConfig) -> StepMemory:
    """Estimates the memory of a training step from the shapes of the network's layers.

    What the layers before the first trained one return is not kept; of theirs the largest two count. Libraries hold
    more (workspaces of convolutions, BatchNorm in float32) or less (operations that are fused). Measured on a CPU, the
    networks of the shipped configurations took 0.75 to 1.1 times as much.

    Args:
        model: The connected and frozen model of the stage.
        stage: The settings of the stage.
    """
    total, trainable = parameter_counts(model)
    outputs = [*_outputs(model)]
    first = next((i for i, output in enumerate(outputs) if output.trained), len(outputs))
    passing = sorted((output.size for output in outputs[:first]), reverse=True)[:2]
    kept = [output.size for output in outputs[first:]]
    image = math.prod(model.input_shape[1:])
    ahead = batches_ahead(augmented=bool(stage.augment))
    return StepMemory(
        weights=total * FLOAT,
        gradients=trainable * FLOAT,
        slots=trainable * FLOAT * slots(stage.optimizer),
        activations=stage.batch_size * max(sum(passing), sum(kept) + max(kept, default=0)),
        images=stage.batch_size * image * (FLOAT + 1 + ahead),
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
    """The same of a network in it, for inputs of `shape`: a decoder's own shapes leave out height and width."""
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


@dataclass(frozen=True)
class StageNeeds:
    """What a stage needs: its parameters, those of them that it trains, and the memory of a step."""

    total: int
    trainable: int
    step: StepMemory


def stage_needs(network: Network, stage: StageConfig) -> StageNeeds:
    """Returns what a stage needs; afterwards the network is frozen as the stage has it."""
    model = network.connect(stage)
    return StageNeeds(*parameter_counts(model), step_memory(model, stage))


def checkpoint_bytes(experiment: Experiment, needs: Sequence[StageNeeds]) -> int:
    """Returns how much the checkpoints of a run take at most: a new one is written before the old one is removed."""
    last = max(
        (need.total + need.trainable * slots(stage.optimizer)) * FLOAT
        for need, stage in zip(needs, experiment.stages, strict=True)
    )
    # `last` twice, while it is replaced; `initial`, the best of each stage, `best`.
    others = len(needs) + 2
    return 2 * last + others * max(need.total for need in needs) * FLOAT + (2 + others) * FORMAT_BYTES


def run_bytes(experiment: Experiment, needs: Sequence[StageNeeds], *, masks: int) -> int:
    """Returns how much room a run folder takes at most, with the PNGs of as many predicted masks."""
    height, width = experiment.stages[-1].data.image_size
    return checkpoint_bytes(experiment, needs) + masks * height * width // 8 + SMALL_FILES
