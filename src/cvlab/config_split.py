"""The settings of a split: fractions, or one fold of several, and what is kept together."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from cvlab.config_values import Count, RegularExpression, Seed, Settings, Share

Rounding = Literal["down", "nearest"]


class SplitConfig(Settings):
    """How a pool of samples becomes train, validation and test.

    Without fractions, what is not split yet is split 0.8, 0.1, 0.1, and what is split is taken as it is.

    Attributes:
        rounding: How the share of n samples becomes a whole number: down, `int(n * share)`, or the nearest one.
        folds: In how many parts of equal size the samples are divided, for cross-validation.
        fold: Which of them, counted from 1, is the test split; `val` is then the share of the rest that validates.
        seed: Decides which samples go where; null: the experiment's.
    """

    train: Share | None = None
    val: Share | None = None
    test: Share | None = None
    group_pattern: RegularExpression | None = None
    rounding: Rounding = "down"
    folds: Annotated[int, Field(ge=2)] | None = None
    fold: Count | None = None
    seed: Seed | None = None

    @model_validator(mode="after")
    def _one_fold(self) -> SplitConfig:
        if (self.folds is None) != (self.fold is None):
            raise ValueError(
                "expected `folds` and `fold` together: how many folds there are, and which of them, counted from 1, is "
                "the test split. `cvlab train CONFIG --folds 5` trains all of them"
            )
        if self.folds is None or self.fold is None:
            return self
        if self.fold > self.folds:
            raise ValueError(f"expected `fold` from 1 to {self.folds}, received {self.fold}")
        if self.train is not None or self.test is not None:
            raise ValueError(
                "expected no `train` and `test` with `folds`: the test split is the fold, and `val` is the share of "
                "the rest that validates"
            )
        return self

    @model_validator(mode="after")
    def _fractions(self) -> SplitConfig:
        given = {"train": self.train, "val": self.val, "test": self.test}
        if self.train is None and self.test is None:
            if self.val is not None and not 0 < self.val < 1:
                raise ValueError("expected `val` above 0 and below 1")
            return self
        total = math.fsum(value or 0.0 for value in given.values())
        if abs(total - 1) > 1e-9:
            shown = ", ".join(f"{name}: {value or 0:.12g}" for name, value in given.items())
            raise ValueError(f"expected fractions that sum to 1, received {{{shown}}}, which sum to {total:.12g}")
        if not self.train or not self.val:
            raise ValueError("expected `train` and `val` above 0, since validation chooses the best weights")
        return self
