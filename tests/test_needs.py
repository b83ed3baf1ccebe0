"""What a training will need, against hand counts and against what Keras really makes."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from cvlab.config import Experiment, StageConfig
from cvlab.config_file import load_experiment
from cvlab.config_training import SGD, Adam, AdamW, OptimizerSettings, RMSprop
from cvlab.console import Console
from cvlab.data.pipeline import batches_ahead
from cvlab.errors import RunFolderError
from cvlab.gpu_memory import gpu_room
from cvlab.memory import Room
from cvlab.models.network import Network, build_network
from cvlab.needs import FORMAT_BYTES, StageNeeds, StepMemory, checkpoint_bytes, run_bytes, slots, stage_needs
from cvlab.run_folder import existing, free_bytes
from cvlab.runtime import Machine
from cvlab.shortage import DiskUse, batch_key, check_needs, disk_shortages, memory_use, unwritable
from tests.experiment_fixture import write_toy
from tests.mask_fixture import experiment_of

TERABYTE = 10**12
CPU = Machine(device="CPU", gpu=None, precision="float32", backend="tensorflow")


def stage(tmp_path: Path, **settings: Any) -> StageConfig:
    return experiment_of(tmp_path, "lgg_mri", root=tmp_path).stages[0].model_copy(update=settings)


def experiment(tmp_path: Path, *batch_sizes: int) -> Experiment:
    found = experiment_of(tmp_path, "lgg_mri", root=tmp_path, image_size=(256, 128))
    stages = [found.stages[0].model_copy(update={"batch_size": size, "name": f"s{size}"}) for size in batch_sizes]
    train = found.train.model_copy(update={"batch_size": batch_sizes[0]})
    return found.model_copy(update={"stages": stages, "train": train})


def step(**sizes: int) -> StepMemory:
    return StepMemory(
        **(dict.fromkeys(("weights", "gradients", "slots", "activations", "images", "program"), 0) | sizes)
    )


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "optimizer",
    [Adam(), AdamW(), SGD(), SGD(momentum=0.0), RMSprop(), RMSprop(momentum=0.5)],
    ids=lambda settings: f"{settings.name}-{getattr(settings, 'momentum', '')}",
)
def test_the_slots_are_those_that_keras_makes(tmp_path: Path, optimizer: OptimizerSettings) -> None:
    import keras

    from cvlab.optimizers import make_optimizer

    weight = keras.Variable([1.0, 2.0, 3.0])
    made = make_optimizer(stage(tmp_path, optimizer=optimizer))
    made.build([weight])
    # Besides the number of steps and the learning rate.
    values = sum(math.prod(variable.shape) for variable in made.variables) - 2
    assert values == 3 * slots(optimizer)


@pytest.mark.tensorflow
@pytest.mark.parametrize("trainable", ["all", "head"])
def test_a_step_counts_what_the_layers_return(tmp_path: Path, trainable: str) -> None:
    """The plain U-Net of 16 x 16 images, counted by hand."""
    import keras

    from cvlab.models.network import build_network
    from cvlab.models.unet import Config

    keras.config.set_dtype_policy("float32")
    config = Config(filters=(2, 3, 4, 5, 6), batchnorm=False)
    output = keras.layers.Conv2D(1, 1, activation="sigmoid", dtype="float32")
    network = build_network(config, image_size=(16, 16), output=output)
    settings = stage(tmp_path, batch_size=7, trainable=trainable, optimizer=SGD(momentum=0.9), augment=[])
    need = stage_needs(network, settings)
    sides = [16, 8, 4, 2, 1]
    # Two convolutions and two ReLUs on each level; pooling in front of the lower four.
    encoder = [4 * side**2 * count for side, count in zip(sides, (2, 3, 4, 5, 6), strict=True)]
    pools = [side**2 * count for side, count in zip(sides[1:], (2, 3, 4, 5), strict=True)]
    # Up: a transposed convolution, what it makes beside the skip, then the same four.
    up = [side**2 * (count + 2 * count + 4 * count) for side, count in zip(sides[:4], (2, 3, 4, 5), strict=True)]
    rescaled = 16 * 16 * 3
    behind = sum(up) + 16 * 16
    largest = 16 * 16 * 4
    kept = (sum(encoder) + sum(pools) + behind if trainable == "all" else behind) + largest
    assert need.step.activations == 7 * 4 * kept
    assert need.step.images == 7 * rescaled * (4 + 1 + batches_ahead(augmented=False))
    counted = network.connect(settings)
    trained = sum(math.prod(weight.shape) for weight in counted.trainable_weights)
    assert (need.trainable, need.step.gradients, need.step.slots) == (trained, 4 * trained, 4 * trained)
    assert need.step.on_gpu - need.step.weights + need.step.program == need.step.coming


def test_the_disk_holds_every_checkpoint_and_the_one_under_way(tmp_path: Path) -> None:
    settings = experiment(tmp_path, 4, 8)
    needs = [StageNeeds(total=1000, trainable=100, step=step()), StageNeeds(total=1100, trainable=1100, step=step())]
    # Adam: the second stage is the larger one, 1100 + 2 x 1100; initial, two of stages, best.
    assert checkpoint_bytes(settings, needs) == 4 * (2 * 3300 + 4 * 1100) + 6 * FORMAT_BYTES
    more = run_bytes(settings, needs, masks=80) - run_bytes(settings, needs, masks=0)
    assert more == 80 * 256 * 128 / 8


def test_a_disk_is_too_full_for_the_sum_of_what_goes_there(tmp_path: Path) -> None:
    free = free_bytes(tmp_path)
    two_thirds = int(free * 0.66)
    images = DiskUse("decoded images", tmp_path / "not" / "there", two_thirds, "data.cache_dir")
    run = DiskUse("the run", tmp_path, two_thirds, "--run-dir")
    assert disk_shortages([images]) == disk_shortages([run]) == []
    (text,) = disk_shortages([images, run])
    assert text.startswith(f"The disk is too full: decoded images in {tmp_path}/not/there (")
    assert text.endswith("Make room, or choose another place with data.cache_dir or --run-dir.")
    assert existing(tmp_path / "not" / "there") == tmp_path


def test_a_batch_that_cannot_fit_and_one_that_would(tmp_path: Path) -> None:
    settings = experiment(tmp_path, 100, 7)
    found = memory_use(settings, 0, step(activations=100 * TERABYTE // 10), CPU)
    assert found.is_sure
    assert found.there is not None
    fitting = int(0.8 * found.there.available / (TERABYTE / 10))
    assert fitting == 0 or f"train.batch_size={fitting}" in found.shortage
    assert (
        "a step would not fit into memory: about 10,000.0 GB (an estimate) for 100 images of 256 x 128"
        in found.shortage
    )
    small = memory_use(settings, 1, step(activations=70_000), CPU)
    assert (small.needed, small.shortage, small.is_sure) == (70_000, "", False)


def test_a_smaller_batch_is_proposed_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvlab.shortage.room", lambda: Room(available=8_000, total=9_000, limit="memory group"))
    settings = experiment(tmp_path, 100, 7)
    found = memory_use(settings, 0, step(activations=9_000, images=1_000, program=400), CPU)
    # 80 % of what is free, less the program: 6000 of the 10,000 bytes of a batch of 100.
    assert "Try a smaller batch (train.batch_size=60)" in found.shortage
    assert "a step may not fit" in found.shortage
    assert not found.is_sure
    assert memory_use(settings, 1, step(program=20_000, images=1), CPU).is_sure
    assert batch_key(settings, 1) == "stages.1.batch_size"
    assert "a smaller network (`model`)" in memory_use(settings, 1, step(program=20_000, images=1), CPU).shortage


@pytest.mark.parametrize(("visible", "asked"), [(None, "--id=1"), ("4, GPU-c0ffee", "--id=GPU-c0ffee")])
def test_the_room_of_a_gpu_is_what_its_driver_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, asked: str
) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text(f'#!/bin/sh\n[ "$1" = "{asked}" ] || exit 9\necho "70000, 81559"\n')
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    gpu = replace(CPU, device="GPU 1", gpu=1)
    assert gpu_room(gpu) == Room(available=70000 * 2**20, total=81559 * 2**20, limit="GPU")
    assert gpu_room(CPU) is None
    driver.write_text("#!/bin/sh\necho broken\n")
    assert gpu_room(gpu) is None


@pytest.mark.tensorflow
def test_a_training_stops_at_a_full_disk_and_warns_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cvlab.experiment import train
    from tests.test_experiment import request

    monkeypatch.setattr("cvlab.shortage.room", lambda: Room(available=10**6, total=10**9, limit="memory group"))
    monkeypatch.setattr("cvlab.shortage.free_bytes", lambda place: 1000)
    config, output = write_toy(tmp_path, identities=5), StringIO()
    with pytest.raises(RunFolderError, match=r"The disk is too full: the checkpoints in .*/runs \(.* MB\) would need"):
        train(config, [], request(output), sample=False, parent=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    assert not [*tmp_path.rglob("images.npy")]
    monkeypatch.setattr("cvlab.shortage.free_bytes", free_bytes)
    check_needs(load_experiment(config), plain_networks(config), CPU, Console(output), place=tmp_path)
    assert "WARNING: Stage 'train': a step would not fit into memory: about" in output.getvalue()


def plain_networks(config: Path) -> list[Network]:
    import keras

    settings = load_experiment(config)
    output = keras.layers.Dense(8)
    return [build_network(settings.model, image_size=settings.data.image_size, output=output)]


def test_a_place_where_nothing_can_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("")
    uses = [DiskUse("the run", file / "runs", 1, "--run-dir"), DiskUse("decoded images", tmp_path / "new", 1, "other")]
    assert unwritable(uses) == [
        f"{file}: is no folder: the run cannot be written there. Choose another place with --run-dir."
    ]
    # For root every folder of an ordinary disk may be written to.
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    (text,) = unwritable(uses[1:])
    assert text.startswith(f"{tmp_path}: may not be written to: decoded images cannot be written there.")
    assert unwritable([uses[1]._replace(needed=0)]) == []
