"""Dropout that is always active, at a rate that can be changed. Importing this module imports Keras."""

# Keras has no types, so that its classes are Any.
# mypy: allow-subclassing-any

from __future__ import annotations

from typing import Any

import keras


class InjectedDropout(keras.layers.Layer):
    """Inverted dropout, in training mode or not: a value is 0 with probability `rate`, else divided by 1 - `rate`.

    It computes in float32 whatever the precision of the network: a rate of 0.001 is nothing to bfloat16.

    Args:
        rate: A variable, which several layers may share.
        seeds: Where the random numbers come from; several layers may share it.
    """

    def __init__(self, rate: keras.Variable, seeds: keras.random.SeedGenerator) -> None:
        super().__init__(dtype="float32")
        self.rate = rate
        self.seeds = seeds

    def call(self, inputs: Any) -> Any:
        """Drops values of `inputs`, of any shape."""
        draws = keras.random.uniform(keras.ops.shape(inputs), dtype="float32", seed=self.seeds)
        return keras.ops.where(draws < self.rate, 0.0, inputs / (1 - self.rate))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape stays as it is."""
        return input_shape
