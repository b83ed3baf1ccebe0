"""Whether a training waited for its images or for its network, and which setting to change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

INPUT_BOUND = 0.10


def waiting_share(history: Sequence[Mapping[str, Any]]) -> float | None:
    """Returns the share of the training time, 0 to 1, in which the network waited for images, in its steps.

    Args:
        history: The epochs (the lines of `metrics.jsonl`), with their `seconds` and their share `waiting`.

    Returns:
        The mean of the epochs, weighted by their time; None where nothing was measured.
    """
    measured = [
        (epoch["waiting"], epoch["seconds"])
        for epoch in history
        # A head alone waits for next to nothing, and nothing needs to be changed.
        if epoch.get("waiting") is not None and "features" not in epoch
    ]
    total = sum(seconds for _, seconds in measured)
    return sum(share * seconds for share, seconds in measured) / total if total else None


def verdict(history: Sequence[Mapping[str, Any]], *, augmented: bool, precision: str, device: str, backend: str) -> str:
    """Returns a sentence on what the training waited for, and the setting to change; empty if nothing was measured.

    Args:
        history: The epochs.
        augmented: Whether the images were augmented.
        precision: What the network computed in.
        device: What it ran on.
        backend: What Keras computed with; on a CPU, JAX is not faster in bfloat16.
    """
    share = waiting_share(history)
    if share is None:
        return ""
    waited = f"{share:.0%} of the time of the steps went to waiting for images"
    if share >= INPUT_BOUND:
        return f"Input-bound: {waited}. To change it: {_faster_input(augmented=augmented)}."
    return f"Compute-bound: {waited}. To change it: {_faster_network(precision, device.lower(), backend)}."


def _faster_input(*, augmented: bool) -> str:
    if augmented:
        return "fewer or cheaper transforms in `augment`, a smaller `data.image_size`, or more CPU cores"
    return "a faster disk for `data.cache_dir`, a smaller `data.image_size`, or more CPU cores"


def _faster_network(precision: str, device: str, backend: str) -> str:
    wishes = ["a GPU"] if device == "cpu" else []
    if precision == "float32" and (device, backend) != ("cpu", "jax"):
        wishes.insert(0, "`train.precision=mixed_bfloat16` where the device computes in it")
    wishes.append("a smaller network (`model`) or `data.image_size`")
    return ", or ".join(wishes)
