"""What the epochs of each stage say in words, whatever the task.

| finding | rule |
| --- | --- |
| still improving | the last epoch is the best of 3 or more, val_loss at least 1 % below that of 2 epochs before |
| turned | last val_loss at least 5 % above its minimum |
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import isfinite
from typing import Any

from cvlab.errors import counted

TURNED = 1.05
STILL_FALLING = 0.99
FEWEST_EPOCHS = 3
SPLITS = {
    "train": "training images plain",
    "train-augmented": "training images augmented",
    "val": "validation",
    "test": "test",
}

Epoch = dict[str, Any]
Metrics = dict[str, Any]


def stage_sentences(history: Sequence[Epoch], shown: Sequence[str]) -> list[str]:
    """Returns what each stage did: its best epoch, and whether the validation loss turned or still fell.

    Args:
        history: The lines of metrics.jsonl, in order: one an epoch, stage by stage.
        shown: The keys of an epoch whose values are shown for the best one.
    """
    stages = groupby(history, key=lambda epoch: str(epoch["stage"]))
    return [sentence for name, epochs in stages for sentence in _stage(name, list(epochs), shown)]


def running_at_best(history: Sequence[Epoch], key: str) -> float | None:
    """Returns what training itself counted at the best epoch of the last stage."""
    last = [epoch for epoch in history if epoch["stage"] == history[-1]["stage"]]
    best = _best(last)
    return None if best is None else _number(best, key)


def decimals(value: float, *, sign: str = "") -> str:
    """Returns `value` to three decimals, or to three digits where those hide it (below 0.01, from 10 million on)."""
    plain = value == 0 or 0.01 <= abs(value) < 1e7
    return format(value, f"{sign}{',.3f' if plain else '.3g'}")


def _number(epoch: Epoch, key: str) -> float | None:
    value = epoch.get(key)
    return float(value) if isinstance(value, int | float) and isfinite(value) else None


def _best(epochs: Sequence[Epoch]) -> Epoch | None:
    return next((epoch for epoch in reversed(epochs) if epoch.get("best")), None)


def _stage(name: str, epochs: list[Epoch], keys: Sequence[str]) -> list[str]:
    best = _best(epochs)
    if best is None:
        return [f"Stage {name}: no epoch of {len(epochs)} became the best."]
    values = ((key, _number(best, key)) for key in keys)
    shown = ", ".join(f"{key} {decimals(value)}" for key, value in values if value is not None)
    sentences = [f"Stage {name}: best epoch {best['epoch']} of {counted(len(epochs), 'epoch')} ({shown})."]
    return sentences + [text for text in (_turned(name, epochs), _still_improving(name, epochs)) if text]


def _turned(name: str, epochs: list[Epoch]) -> str:
    losses = [(loss, epoch["epoch"]) for epoch in epochs if (loss := _number(epoch, "val_loss")) is not None]
    if not losses:
        return ""
    lowest, turn = min(losses)
    last, end = losses[-1]
    if last == lowest or last < TURNED * lowest:
        return ""
    return (
        f"Stage {name}: validation loss turned after epoch {turn}: from {decimals(lowest)} there to {decimals(last)} "
        f"at epoch {end}; the epochs after it did not improve it."
    )


def _still_improving(name: str, epochs: list[Epoch]) -> str:
    if len(epochs) < FEWEST_EPOCHS or not epochs[-1].get("best"):
        return ""
    before, last = (_number(epochs[place], "val_loss") for place in (-FEWEST_EPOCHS, -1))
    if before is None or last is None or last > STILL_FALLING * before:
        return ""
    return (
        f"Still improving: stage {name} ended at its best epoch, {epochs[-1]['epoch']}, with validation loss "
        f"{decimals(last)} after {decimals(before)} at epoch {epochs[-FEWEST_EPOCHS]['epoch']}; give it more epochs."
    )
