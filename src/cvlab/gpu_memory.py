"""The memory of the GPU that Keras computes on: what is left, and what was used."""

from __future__ import annotations

import os
import subprocess

from cvlab.memory import Room
from cvlab.runtime import Machine

MEGABYTE = 2**20


def gpu_room(machine: Machine) -> Room | None:
    """Returns how much memory the GPU of TensorFlow has; None on a CPU, or where the driver does not tell."""
    if machine.gpu is None:
        return None
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    name = visible[machine.gpu] if machine.gpu < len(visible) else str(machine.gpu)
    asked = ["nvidia-smi", f"--id={name}", "--query-gpu=memory.free,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=20).stdout
        free, total = (int(cell) * MEGABYTE for cell in answer.split(","))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Room(available=free, total=total, limit="GPU")


def gpu_peak(machine: Machine) -> int | None:
    """Returns the most memory of the GPU that TensorFlow has used so far, in bytes; None on a CPU."""
    if machine.gpu is None:
        return None
    import tensorflow as tf

    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
