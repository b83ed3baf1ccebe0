"""What a training needs against what is there: room on the disks, memory for a step."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cvlab.config import Experiment
from cvlab.console import Console
from cvlab.errors import RunFolderError
from cvlab.gpu_memory import gpu_room
from cvlab.memory import Room, gigabytes, room
from cvlab.models.network import Network
from cvlab.needs import StepMemory, checkpoint_bytes, stage_needs
from cvlab.run_folder import existing, free_bytes
from cvlab.runtime import Machine

# The estimate may be too high: nothing that was measured took less than this share of it.
SURE = 0.6
# What is left for everything else where a smaller batch is proposed.
USABLE = 0.8


class DiskUse(NamedTuple):
    """What will be written, where, how many bytes at most, and the setting that names another place."""

    what: str
    place: Path
    needed: int
    setting: str


def disk_shortages(uses: Sequence[DiskUse]) -> list[str]:
    """Returns a message for each disk that has too little room for what is to be written to it."""
    disks: dict[int, list[DiskUse]] = defaultdict(list)
    for use in uses:
        disks[existing(use.place).stat().st_dev].append(use)
    found = []
    for parts in disks.values():
        needed, free = sum(use.needed for use in parts), free_bytes(parts[0].place)
        if needed > free:
            listed = " and ".join(f"{use.what} in {use.place} ({gigabytes(use.needed)})" for use in parts)
            settings = " or ".join(dict.fromkeys(use.setting for use in parts))
            found.append(
                f"The disk is too full: {listed} would need {gigabytes(needed)}, and {gigabytes(free)} are free. Make "
                f"room, or choose another place with {settings}."
            )
    return found


def unwritable(uses: Sequence[DiskUse]) -> list[str]:
    """Returns a message for each place where something is to be written and cannot be."""
    found = []
    for use in uses:
        place = existing(use.place)
        if not use.needed or (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
            continue
        why = "may not be written to" if place.is_dir() else "is no folder"
        found.append(f"{place}: {why}: {use.what} cannot be written there. Choose another place with {use.setting}.")
    return found


@dataclass(frozen=True)
class MemoryUse:
    """The memory that a step of a stage needs (an estimate) and that is there.

    Attributes:
        needed: Bytes.
        there: What is there; None where the system does not tell.
        shortage: What is wrong, and what to change; empty if it seems to suffice.
        is_sure: Whether it cannot suffice, though estimates err.
    """

    needed: int
    there: Room | None
    shortage: str
    is_sure: bool


def memory_use(experiment: Experiment, number: int, need: StepMemory, machine: Machine) -> MemoryUse:
    """Compares what a step of a stage needs with the memory that is there.

    Args:
        experiment: The settings.
        number: The stage, from 0.
        need: What the step needs.
        machine: What it runs on.
    """
    stage = experiment.stages[number]
    gpu = gpu_room(machine)
    needed, there = (need.on_gpu, gpu) if gpu else (need.coming, room())
    if there is None or needed <= there.available:
        return MemoryUse(needed, there, "", is_sure=False)
    of_batch = need.activations + need.images
    left = USABLE * there.available - (needed - of_batch)
    fitting = int(stage.batch_size * left / of_batch)
    advice = (
        f"a smaller batch ({batch_key(experiment, number)}={fitting})" if fitting > 0 else "a smaller network (`model`)"
    )
    height, width = stage.data.image_size
    is_sure = SURE * needed > there.available
    return MemoryUse(
        needed,
        there,
        f"Stage '{stage.name}': a step {'would' if is_sure else 'may'} not fit into memory: about {gigabytes(needed)} "
        f"(an estimate) for {stage.batch_size} images of {height} x {width}, and {gigabytes(there.available)} of the "
        f"{gigabytes(there.total)} of this {there.limit} are free. Try {advice}, or a smaller `data.image_size`.",
        is_sure,
    )


def batch_key(experiment: Experiment, number: int) -> str:
    """Returns the setting that holds the batch size of a stage."""
    inherited = experiment.stages[number].batch_size == experiment.train.batch_size
    return "train.batch_size" if inherited else f"stages.{number}.batch_size"


def check_needs(
    experiment: Experiment,
    networks: Sequence[Network],
    machine: Machine,
    console: Console,
    *,
    place: Path,
    written: int = 0,
) -> None:
    """Looks, before a training, whether disk and memory suffice; warns of memory, whose need is an estimate.

    Args:
        experiment: The settings.
        networks: The network of each stage.
        machine: What it runs on.
        console: Where it warns.
        place: Where the run folder is, or will be.
        written: Bytes of checkpoints that are there already.

    Raises:
        RunFolderError: The disk is too full for the checkpoints.
    """
    needs = [stage_needs(network, stage) for network, stage in zip(networks, experiment.stages, strict=True)]
    needed = max(0, checkpoint_bytes(experiment, needs) - written)
    if stops := disk_shortages([DiskUse("the checkpoints", place, needed, "--run-dir")]):
        raise RunFolderError(stops[0])
    for number, need in enumerate(needs):
        if shortage := memory_use(experiment, number, need.step, machine).shortage:
            console.warn(shortage)
