from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvlab.config import StageConfig
from cvlab.config_training import EarlyStopping, ReduceLR
from cvlab.schedule import Patience, improves, learning_rate


def stage(epochs: int = 10, **settings: Any) -> StageConfig:
    parts = {"task": {"name": "none"}, "data": {"name": "none"}}
    return StageConfig.model_validate({"name": "s", "epochs": epochs, "learning_rate": 0.1, **parts, **settings})


def rates(config: StageConfig, steps_per_epoch: int = 4, scale: float = 1.0) -> list[float]:
    return [
        learning_rate(config, step=step, steps_per_epoch=steps_per_epoch, scale=scale)
        for step in range(config.epochs * steps_per_epoch)
    ]


def test_constant() -> None:
    assert set(rates(stage(), scale=0.5)) == {0.05}


def test_cosine_follows_its_formula_after_a_linear_warmup() -> None:
    found = rates(stage(schedule={"name": "cosine", "final": 0.2, "warmup_epochs": 2.0}))
    assert found[:8] == pytest.approx([0.1 * (i + 1) / 9 for i in range(8)])
    expected = [0.1 * (0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * (i - 8) / 32))) for i in range(8, 40)]
    assert found[8:] == pytest.approx(expected, rel=1e-12)


def test_step_falls_after_every_so_many_epochs() -> None:
    found = rates(stage(schedule={"name": "step", "every": 3, "factor": 0.5}), steps_per_epoch=2)
    assert found == pytest.approx([0.1 * 0.5 ** (epoch // 3) for epoch in range(10) for _ in range(2)])


def test_plateau_never_falls_below_its_floor() -> None:
    config = stage(reduce_lr={"min_learning_rate": 0.01})
    assert learning_rate(config, step=0, steps_per_epoch=1, scale=1e-6) == 0.01
    high = stage(reduce_lr={"min_learning_rate": 0.5})
    assert learning_rate(high, step=0, steps_per_epoch=1, scale=1.0) == 0.1


@given(st.floats(0, 9), st.sampled_from(["constant", "cosine", "step"]), st.integers(1, 7))
def test_rates_are_positive_and_at_most_the_full_rate(warmup: float, name: str, steps: int) -> None:
    found = rates(stage(schedule={"name": name, "warmup_epochs": warmup}), steps_per_epoch=steps)
    assert all(0 < rate <= 0.1 for rate in found)


def patience_of(
    values: list[float], settings: EarlyStopping | ReduceLR, *, higher: bool = False, counted: int = 0
) -> int:
    """The epoch in which patience first runs out; 0 if it never does."""
    patience = Patience()
    for epoch, value in enumerate(values, start=1):
        if patience.runs_out(value, settings, higher=higher, counts=epoch > counted):
            return epoch
    return 0


def test_patience_counts_epochs_without_improvement() -> None:
    assert patience_of([3, 2, 2.5, 2.5, 1, 1, 1, 1], EarlyStopping(patience=3)) == 8
    assert patience_of([3, 2, 2.5, 2.5], EarlyStopping(patience=3)) == 0
    assert patience_of([0.1, 0.2, 0.2, 0.1], EarlyStopping(patience=2), higher=True) == 4


def test_small_improvements_do_not_count() -> None:
    assert patience_of([1.0, 0.99, 0.98, 0.97], EarlyStopping(patience=3, min_delta=0.05)) == 4


def test_the_first_steps_are_not_judged() -> None:
    assert patience_of([1, 2, 2, 2, 2, 2], EarlyStopping(patience=2), counted=4) == 6


def test_nan_is_never_better() -> None:
    assert not improves(math.nan, None, higher=False)
    assert not improves(math.nan, 1.0, higher=True)
    assert improves(0.5, 1.0, higher=False)
    assert not improves(1.0, 1.0, higher=False)
