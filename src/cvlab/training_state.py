"""The state of a training that Keras does not keep; it travels inside `last.keras`."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from typing import Any

from pydantic import TypeAdapter

from cvlab.run_folder import RunFolder, write_text
from cvlab.schedule import Patience


@dataclass
class TrainingState:
    """Everything that decides how a training goes on and that Keras does not keep.

    Attributes:
        stage: Number of the stage, from 0.
        epoch: Finished epochs of the stage.
        batch: Finished batches of the epoch under way.
        rate_scale: What ReduceLROnPlateau has made of the learning rate.
        best: The best monitored value of the stage, and the epoch (from 1) that reached it.
        ended: Why the stage is over; empty while it is not.
        running: Values of the metrics' variables in the middle of an epoch.
        seconds: Time spent in the epoch under way.
        history: A record an epoch, of all stages.
    """

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    rate_scale: float = 1.0
    best: float | None = None
    best_epoch: int = 0
    stop_patience: Patience = field(default_factory=Patience)
    rate_patience: Patience = field(default_factory=Patience)
    ended: str = ""
    running: list[Any] = field(default_factory=list)
    seeds: list[list[int]] = field(default_factory=list)
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TrainingState:
        """Reads what `asdict` wrote.

        Raises:
            ValueError: It did not write this.
        """
        known = {item.name for item in fields(cls)}
        if not isinstance(value, dict) or value.keys() - known:
            raise ValueError("expected the state of a training")
        state = TypeAdapter(cls).validate_python(value)
        if min(state.epoch, state.batch, state.best_epoch) < 0 or not 0 <= state.rate_scale < math.inf:
            raise ValueError("expected counts from 0 on, and a rate")
        return state

    def ends(self, stages: int) -> bool:
        """Whether the last of so many stages has ended."""
        return bool(self.ended) and self.stage + 1 == stages

    @property
    def has_begun(self) -> bool:
        """Whether anything has been trained."""
        return bool(self.stage or self.epoch or self.batch)

    def next_stage(self) -> TrainingState:
        """The state at the start of the following stage."""
        return TrainingState(stage=self.stage + 1, history=self.history)

    def write_history(self, run: RunFolder) -> None:
        """Writes `metrics.jsonl`: a line an epoch."""
        write_text(run.history, "".join(json.dumps(record) + "\n" for record in self.history))
