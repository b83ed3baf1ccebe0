"""An allocator that refuses: whatever TensorFlow, JAX and NumPy call it, one message that says what to change."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cvlab.errors import TrainingError
from cvlab.memory import gigabytes

# What errors of TensorFlow and JAX say where their class does not tell; the last is TensorFlow's of a full GPU.
MARKS = (
    "RESOURCE_EXHAUSTED",
    "OOM when allocating",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "_STATUS_ALLOC_FAILED",
    "Dst tensor is not initialized",
)
REFUSED_TENSOR = re.compile(r"OOM when allocating tensor with shape\[([\d,]*)\] and type (\w+)")
BYTES = {"double": 8, "int64": 8, "float": 4, "int32": 4, "half": 2, "bfloat16": 2, "uint8": 1, "bool": 1}
LONGEST = 160


def is_refusal(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory."""
    if isinstance(error, MemoryError):
        return True
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "ResourceExhaustedError" in kinds:
        return True
    return bool(kinds & {"OpError", "JaxRuntimeError", "XlaRuntimeError"}) and any(m in str(error) for m in MARKS)


@contextmanager
def refusals_named(advice: Callable[[], str]) -> Iterator[None]:
    """Raises what an allocator refuses as a TrainingError.

    Args:
        advice: Returns what was tried and what to do, in whole sentences; `{refused}` in it is replaced by what the
            allocator said.

    Raises:
        TrainingError: There is not enough memory.
    """
    try:
        yield
    except Exception as error:
        if not is_refusal(error):
            raise
        raise TrainingError(advice().replace("{refused}", what_was_refused(error))) from error


def what_was_refused(error: BaseException) -> str:
    """Returns what an allocator said, in one short line."""
    text = str(error)
    if found := REFUSED_TENSOR.search(text):
        shape = [int(side) for side in found[1].split(",") if side]
        size = f", {gigabytes(math.prod(shape) * BYTES[found[2]])}" if found[2] in BYTES else ""
        return f"a tensor of shape {shape} ({found[2]}{size}) was refused"
    lines = [line for line in map(str.strip, text.splitlines()) if any(mark in line for mark in MARKS)]
    first = (lines or text.strip().splitlines() or [type(error).__name__])[0]
    return first if len(first) <= LONGEST else f"{first[: LONGEST - 3]}..."
